//! http-01 by files below `WEBROOT/.well-known/acme-challenge/`.

use super::WELL_KNOWN;
use crate::disk::{Attributes, Dir, DiskError, Durability};
use crate::ports::Proof;
use crate::types::{CertName, Failure, sha256};
use nix::errno::Errno;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Whoever runs the web server must be able to read the answers, whatever our umask.
const FILE: Attributes = Attributes::mode(0o644);
const DIRECTORY: Attributes = Attributes::mode(0o755);

/// The files put up by this process.
#[derive(Default)]
pub(super) struct Webroots {
    /// Who needs a file: a CA may give two orders the same pending authorization.
    owners: RefCell<BTreeMap<(PathBuf, String), BTreeSet<CertName>>>,
}

impl Webroots {
    /// Writes the answer. The webroot itself may be a link; below it none is followed, so nothing is written outside.
    pub(super) fn put_up(&self, name: &CertName, proof: &Proof, root: &Path) -> Result<(), Failure> {
        let directory = challenges(root, true).map_err(|error| explain(&error))?;
        if let Some(directory) = directory {
            let (token, answer) = (&proof.token, proof.key_authorization.as_bytes());
            // A reader sees all of it or nothing; after a power cut the CA is asked anew, so nothing is synced.
            let put = directory.replace_by_way_of(&temporary(token), token, answer, &FILE, Durability::Losable);
            // Another process, for another certificate, may have been quicker with the same answer.
            if let Err(error) = put
                && directory.read(token, answer.len()).ok().flatten().as_deref() != Some(answer)
            {
                return Err(explain(&error));
            }
        }
        self.owners.borrow_mut().entry((root.to_owned(), proof.token.clone())).or_default().insert(name.clone());
        Ok(())
    }

    /// Removes the answer, unless another certificate needs it. The directories stay: they may be the administrator's.
    pub(super) fn take_down(&self, name: &CertName, proof: &Proof, root: &Path) -> Result<(), Failure> {
        let key = (root.to_owned(), proof.token.clone());
        let mut owners = self.owners.borrow_mut();
        if let Some(others) = owners.get_mut(&key) {
            others.remove(name);
            if !others.is_empty() {
                return Ok(());
            }
        }
        owners.remove(&key);
        match challenges(root, false).map_err(|error| explain(&error))? {
            Some(directory) => directory
                .remove(&temporary(&proof.token))
                .and_then(|()| directory.remove(&proof.token))
                .map_err(|error| explain(&error)),
            None => Ok(()),
        }
    }
}

/// What an answer is called until all of it is there. A token may be as long as a name may be.
fn temporary(token: &str) -> String {
    format!("..everleaf-{}", sha256(&[token.as_bytes()]))
}

/// The directory of the answers; `None` when it is missing and not to be made.
fn challenges(root: &Path, make: bool) -> Result<Option<Dir>, DiskError> {
    let mut directory = match Dir::open(root) {
        Err(error) if error.errno() == Errno::ENOENT && !make => return Ok(None),
        opened => opened?,
    };
    for name in WELL_KNOWN {
        directory = match directory.sub(name) {
            Err(error) if error.errno() == Errno::ENOENT && make => directory.make(name, &DIRECTORY)?,
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            opened => opened?,
        };
    }
    Ok(Some(directory))
}

fn explain(error: &DiskError) -> Failure {
    let failure = error.failure("solver");
    match error.errno() {
        Errno::ELOOP | Errno::ENOTDIR => failure.advise(
            "A link or file stands where a directory belongs, and links below a webroot are not followed: set `webroot:` \
             to the directory that the server really serves.",
        ),
        Errno::ENOENT => failure.advise("Make the directory, or correct `webroot:`."),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Http01, Solver};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn proof(token: &str, root: &Path) -> Proof {
        Proof {
            identifier: "a.example".parse().unwrap(),
            solver: Solver::Http01(Http01::Webroot(root.to_owned())),
            url: String::new(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumbprint"),
        }
    }

    fn cert(name: &str) -> CertName {
        CertName::new(name).unwrap()
    }

    #[test]
    fn an_answer_can_be_read_by_all_and_goes_when_nobody_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let (webroots, proof) = (Webroots::default(), proof("token", root.path()));
        let file = root.path().join(".well-known/acme-challenge/token");
        webroots.put_up(&cert("one"), &proof, root.path()).unwrap();
        webroots.put_up(&cert("two"), &proof, root.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "token.thumbprint");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary is left");

        webroots.take_down(&cert("one"), &proof, root.path()).unwrap();
        assert!(file.exists(), "the other certificate still needs it");
        webroots.take_down(&cert("two"), &proof, root.path()).unwrap();
        assert!(!file.exists() && file.parent().unwrap().exists());
        webroots.take_down(&cert("two"), &proof, root.path()).unwrap();
    }

    #[test]
    fn directories_that_are_there_keep_their_modes() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join(".well-known");
        fs::create_dir(&kept).unwrap();
        fs::set_permissions(&kept, std::os::unix::fs::PermissionsExt::from_mode(0o2775)).unwrap();
        Webroots::default().put_up(&cert("one"), &proof("token", root.path()), root.path()).unwrap();
        assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o7777, 0o2775);
    }

    #[test]
    fn no_link_leads_out_of_the_webroot() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join(".well-known")).unwrap();
        let failure = Webroots::default().put_up(&cert("one"), &proof("token", root.path()), root.path()).unwrap_err();
        assert!(failure.advice.as_str().contains("links below a webroot are not followed"), "{failure:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(".well-known/acme-challenge");
        fs::create_dir_all(&directory).unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, directory.join("token")).unwrap();
        Webroots::default().put_up(&cert("one"), &proof("token", root.path()), root.path()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    }

    #[test]
    fn what_a_crashed_run_left_is_removed_and_a_missing_webroot_is_clean() {
        let root = tempfile::tempdir().unwrap();
        Webroots::default().put_up(&cert("one"), &proof("token", root.path()), root.path()).unwrap();
        let directory = root.path().join(".well-known/acme-challenge");
        fs::write(directory.join(temporary("token")), "half of").unwrap();
        Webroots::default().take_down(&cert("one"), &proof("token", root.path()), root.path()).unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
        let gone = root.path().join("gone");
        Webroots::default().take_down(&cert("one"), &proof("token", &gone), &gone).unwrap();
        let failure = Webroots::default().put_up(&cert("one"), &proof("token", &gone), &gone).unwrap_err();
        assert!(failure.advice.as_str().contains("webroot"), "{failure:?}");
    }
}
