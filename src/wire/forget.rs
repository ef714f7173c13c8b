//! Forgetting a certificate that is no longer configured: the last of its files.

use super::{App, Watch};
use crate::core::Horizon;
use crate::disk::{Dir, DiskError};
use crate::ports::{LockError, LockGuard, Locks};
use crate::types::{CertName, Class, Failure};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(100);

impl App {
    /// The directories kept of `name` on this machine.
    #[must_use]
    pub fn kept(&self, name: &CertName) -> Vec<PathBuf> {
        let places =
            [self.spec.paths.state.join("certs").join(name.as_str()), self.spec.paths.live.join(name.as_str())];
        places.into_iter().filter(|place| place.is_dir()).collect()
    }

    /// Takes down what its orders left up, then removes its keys, generations, journal and live directory on this machine.
    ///
    /// # Errors
    /// Code `forget:configured` while it is configured, `forget:locked` while somebody works on it, or the I/O error.
    pub async fn forget(&self, name: &CertName, watch: &Rc<Watch>) -> Result<Vec<PathBuf>, Failure> {
        if self.spec.certificates.contains_key(name) {
            return Err(Failure::new(Class::Spec, "forget:configured", name.as_str(), "it is still configured")
                .advise("take it out of the configuration first"));
        }
        let places = self.kept(name);
        self.burst(std::slice::from_ref(name), Horizon { span: Duration::ZERO, issue: true, began: None }, watch)
            .await?;
        let _lock = self.lock_patiently(name).await?;
        for place in &places {
            remove(place).map_err(|error| error.failure("forget"))?;
        }
        self.index(|index| index.forget(name));
        self.leave_some(&[]);
        Ok(places)
    }

    /// Takes the lock once whoever has it is done: a daemon that looks at what it was is so in a moment.
    async fn lock_patiently(&self, name: &CertName) -> Result<Box<dyn LockGuard>, Failure> {
        let begun = Instant::now();
        loop {
            let holder = match self.state.try_lock(name) {
                Ok(lock) => return Ok(lock),
                Err(LockError::Failed(failure)) => return Err(failure),
                Err(LockError::Held(holder)) => holder,
            };
            if begun.elapsed() >= PATIENCE {
                let who = holder
                    .map_or_else(|| "somebody else".to_owned(), |it| format!("process {} ({})", it.pid, it.command));
                return Err(Failure::new(Class::Retry, "forget:locked", name.as_str(), format!("{who} works on it"))
                    .advise("wait until it is done, then say it again"));
            }
            self.clock.sleep(POLL).await;
        }
    }
}

fn remove(place: &Path) -> Result<(), DiskError> {
    let (Some(parent), Some(name)) = (place.parent(), place.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let parent = Dir::open(parent)?;
    parent.remove_all(name)?;
    parent.sync()
}
