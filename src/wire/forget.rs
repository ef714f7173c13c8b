//! Forgetting a certificate that is no longer configured: the last of its files.

use super::{App, Watch};
use crate::core::Horizon;
use crate::disk::{Dir, DiskError};
use crate::ports::{LockError, Locks};
use crate::types::{CertName, Class, Failure};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

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
        let _lock = self.state.try_lock(name).map_err(|error| match error {
            LockError::Held(_) => {
                Failure::new(Class::Retry, "forget:locked", name.as_str(), "somebody else works on it just now")
            }
            LockError::Failed(failure) => failure,
        })?;
        for place in &places {
            remove(place).map_err(|error| error.failure("forget"))?;
        }
        self.leave_some(&[]);
        Ok(places)
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
