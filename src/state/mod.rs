//! The state of an installation as files below one directory: journals, locks, keys, accounts, generations and what can be
//! looked up again.
//!
//! Everything durable is written by `disk`'s few operations, so a kill or a power cut at any system call leaves the old or the new.
//! File I/O is synchronous and on the calling thread. Opening is cheap; nothing is scanned before it is asked for.

mod accounts;
mod adopt;
mod generations;
mod journal;
mod keys;
pub mod line;
mod locks;
mod memory;
mod rescue;

pub use accounts::NewAccounts;

pub use accounts::credentials;

use crate::config::spec::Paths;
use crate::disk::{Attributes, Dir, DiskError, TEMPORARY};
use crate::pki::RootStore;
use crate::ports::{Clock, Scope};
use crate::types::{CertName, Class, Failure};
use journal::Position;
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::geteuid;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Everything below the state directory is for its owner alone: there are keys in it.
const PRIVATE_DIR: Attributes = Attributes::mode(0o700);
/// So is every file.
const PRIVATE_FILE: Attributes = Attributes::mode(0o600);
/// What any one directory of ours may hold before the rest is ignored: no installation comes near it.
const MAX_ENTRIES: usize = 100_000;
/// A temporary this old belongs to a process that died: writing one takes milliseconds.
const STALE: Duration = Duration::from_secs(3600);
/// The directory of certificates.
const CERTS: &str = "certs";

/// The state directory, and the run directory beside it.
///
/// A rehearsal has a `StateRoot` of its own; `wire` is the one place that chooses.
pub struct StateRoot {
    root: Dir,
    run: PathBuf,
    clock: Rc<dyn Clock>,
    /// What the gate trusts, loaded when it is first asked.
    roots: RootStore,
    /// Where each journal ended when this process last read or wrote it: an optimisation, checked against the file each time.
    positions: RefCell<HashMap<Scope, Position>>,
}

impl StateRoot {
    /// Opens the state directory, making it with 0700 if it is missing. The run directory is opened when it is first needed.
    ///
    /// # Errors
    /// Class `Operator`: code `state:owner` or `state:mode` when another user owns it or could look inside, or the I/O error.
    pub fn open(paths: &Paths, clock: Rc<dyn Clock>) -> Result<Self, Failure> {
        let root = Dir::open_or_make(&paths.state, PRIVATE_DIR.mode).map_err(|error| closed(paths, error))?;
        owned_by_us(&root)?;
        let found = root.stat_self().map_err(failed)?;
        if found.st_mode & 0o077 != 0 {
            let message =
                format!("its mode is {:04o}: others can look inside, and it holds private keys", mode(&found));
            return Err(Failure::new(Class::Operator, "state:mode", root.path().to_string_lossy(), message)
                .advise(format!("chmod 0700 {}; consider what others may have read", root.path().display())));
        }
        Ok(Self { root, run: paths.run.clone(), clock, roots: RootStore::default(), positions: RefCell::default() })
    }

    /// The directory at `parts` below the root, if it is there.
    fn existing(&self, parts: &[&str]) -> Result<Option<Dir>, DiskError> {
        let mut dir: Option<Dir> = None;
        for part in parts {
            match dir.as_ref().unwrap_or(&self.root).sub(part) {
                Ok(inner) => dir = Some(inner),
                Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(dir)
    }

    /// The directory at `parts` below the root, with 0700 for every part that is missing.
    fn made(&self, parts: &[&str]) -> Result<Dir, DiskError> {
        let (first, rest) = parts.split_first().unwrap_or((&CERTS, &[]));
        rest.iter().try_fold(self.root.make(first, &PRIVATE_DIR)?, |dir, part| dir.make(part, &PRIVATE_DIR))
    }

    /// Removes what a process that died left in a certificate's directories. For whoever has just taken its lock.
    fn sweep(&self, name: &CertName) {
        let certificate = [CERTS, name.as_str()];
        for inner in [&[][..], &["keys"], &["requests"], &["gen"]] {
            if let Ok(Some(dir)) = self.existing(&[&certificate, inner].concat()) {
                self.sweep_dir(&dir);
            }
        }
        self.close_to_others(name);
    }

    /// Takes back rights that somebody gave to others on files with keys in them.
    fn close_to_others(&self, name: &CertName) {
        let below = |inner: &str| self.existing(&[CERTS, name.as_str(), inner]).ok().flatten();
        let generations = below("gen").into_iter();
        let generations = generations.flat_map(|all| {
            let names = all.names(MAX_ENTRIES).unwrap_or_default();
            names.into_iter().filter_map(move |entry| all.sub(&entry).ok())
        });
        for dir in below("keys").into_iter().chain(generations) {
            for file in dir.names(MAX_ENTRIES).unwrap_or_default() {
                match dir.put_right(&file, &PRIVATE_FILE) {
                    Ok(false) => {}
                    Ok(true) => tracing::warn!(
                        "{}: others could read it, or its owner not; its mode is 0600 again. \
                         If it is a key that somebody may have read: everleaf renew {name} --new-key",
                        dir.path().join(file).display()
                    ),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
    }

    /// Removes stale temporaries. Failing costs a few bytes until the next time.
    fn sweep_dir(&self, dir: &Dir) {
        let limit = (self.clock.now() - STALE).as_secs();
        for name in dir.names(MAX_ENTRIES).unwrap_or_default() {
            let stale = |found: FileStat| found.st_mtime < limit;
            if name.starts_with(TEMPORARY) && dir.stat(&name).ok().flatten().is_some_and(stale) {
                let _ = dir.remove_all(&name);
            }
        }
    }
}

/// Why the state directory cannot be opened. One that belongs to somebody else is no riddle.
fn closed(paths: &Paths, error: DiskError) -> Failure {
    let us = geteuid().as_raw();
    let owner = std::fs::symlink_metadata(&paths.state).ok().map(|found| found.uid()).filter(|owner| *owner != us);
    match owner.filter(|_| error.errno() == Errno::EACCES) {
        Some(owner) => another_user(&paths.state, owner, us),
        None => failed(error),
    }
}

fn another_user(place: &Path, owner: u32, us: u32) -> Failure {
    let place = place.to_string_lossy();
    let message = format!("it belongs to user {owner}, and everleaf runs as user {us}");
    Failure::new(Class::Operator, "state:owner", &place, message).advise(format!(
        "run everleaf as its owner (status, check and why need no rights), or, if its owner is wrong: chown -R {us} {place}"
    ))
}

/// Refuses a directory of another user, who could replace anything in it.
fn owned_by_us(dir: &Dir) -> Result<(), Failure> {
    let (owner, us) = (dir.stat_self().map_err(failed)?.st_uid, geteuid().as_raw());
    if owner == us {
        return Ok(());
    }
    Err(another_user(dir.path(), owner, us))
}

fn mode(found: &FileStat) -> u32 {
    found.st_mode & 0o7777
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn failed(error: DiskError) -> Failure {
    error.failure("state")
}

#[cfg(test)]
mod tests;
