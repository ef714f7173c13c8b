//! Kernel locks: `RUN/locks/NAME.lock`, freed by the kernel when its holder dies.
//!
//! Who holds one stands in `NAME.json` beside it, readable by everybody. The lock file itself is not: whoever can open a file can lock it,
//! and a stranger must not be able to stop renewals.

use super::{StateRoot, failed, owned_by_us};
use crate::disk::{Attributes, Dir, DiskError, Durability, lock_at_once, lock_patiently};
use crate::ports::{Holder, LockError, LockGuard, Locks};
use crate::types::{CertName, Failure, Printable};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::File;

/// Far more than any holder's description takes.
const MAX_HOLDER: usize = 16 * 1024;
/// What the daemon's lock is called, in the state directory itself.
const DAEMON: &str = "daemon";

struct Held(#[expect(dead_code, reason = "the kernel's lock lasts as long as this is open")] Flock<File>);

impl LockGuard for Held {}

impl Locks for StateRoot {
    fn try_lock(&self, name: &CertName) -> Result<Box<dyn LockGuard>, LockError> {
        let dir = self.lock_dir().map_err(LockError::Failed)?;
        let held = self.hold(&dir, name.as_str(), |file| lock_at_once(file, FlockArg::LockExclusiveNonblock))?;
        self.sweep(name);
        Ok(held)
    }
}

impl StateRoot {
    /// The lock of the one daemon that a state directory has. Certificates have their own.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn daemon_lock(&self) -> Result<Box<dyn LockGuard>, LockError> {
        // Whoever looks whether there is a daemon holds it for an instant.
        self.hold(&self.root, DAEMON, lock_patiently)
    }

    /// Whether a daemon has its lock.
    pub fn has_daemon(&self) -> bool {
        let file = self.root.file(&format!("{DAEMON}.lock"), OFlag::O_RDWR);
        let free = |file| lock_at_once(file, FlockArg::LockSharedNonblock);
        file.is_ok_and(|file| matches!(free(file), Err(Errno::EWOULDBLOCK)))
    }

    fn lock_dir(&self) -> Result<Dir, Failure> {
        let run = Dir::open_or_make(&self.run, 0o755).map_err(failed)?;
        let dir = match run.sub("locks") {
            Ok(dir) => dir,
            Err(_) => run.make("locks", &Attributes::mode(0o755)).map_err(failed)?,
        };
        owned_by_us(&dir)?;
        Ok(dir)
    }

    /// Takes the lock `STEM.lock` in `dir` and says so in `STEM.json`.
    fn hold(
        &self,
        dir: &Dir,
        stem: &str,
        take: impl FnOnce(File) -> Result<Flock<File>, Errno>,
    ) -> Result<Box<dyn LockGuard>, LockError> {
        let lock = format!("{stem}.lock");
        let file = dir.file(&lock, OFlag::O_RDWR | OFlag::O_CREAT).map_err(|error| LockError::Failed(failed(error)))?;
        match take(file) {
            Ok(held) => {
                self.announce(dir, stem);
                Ok(Box::new(Held(held)))
            }
            Err(Errno::EWOULDBLOCK) => Err(LockError::Held(holder(dir, stem))),
            Err(errno) => Err(LockError::Failed(failed(DiskError::at("lock", &dir.path().join(lock))(errno)))),
        }
    }

    /// Says who holds the lock. Failing costs others a name in a message.
    fn announce(&self, dir: &Dir, stem: &str) {
        let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let holder = Holder { pid: std::process::id(), since: self.clock.now(), command: Printable::new(&command) };
        let written = serde_json::to_vec(&holder).map_err(|error| error.to_string()).and_then(|json| {
            dir.replace(&format!("{stem}.json"), &json, &Attributes::mode(0o644), Durability::Losable)
                .map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(lock = stem, %error, "cannot say who holds the lock");
        }
    }
}

fn holder(dir: &Dir, stem: &str) -> Option<Holder> {
    let json = dir.read(&format!("{stem}.json"), MAX_HOLDER).ok().flatten()?;
    serde_json::from_slice(&json).ok()
}
