//! Why the file system refused, and what a person should do.

use crate::types::{Class, Failure};
use nix::errno::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// A system call that failed: what was tried, on what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskError {
    action: &'static str,
    path: PathBuf,
    errno: Errno,
}

impl DiskError {
    /// Makes an error of `errno` when doing `action` to `path`.
    pub fn at(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self { action, path, errno }
    }

    /// The system's own reason.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// As a failure of `area` (`state`, `publish`), with a code such as `publish:enospc` and what to do about it.
    #[must_use]
    pub fn failure(&self, area: &str) -> Failure {
        let code = format!("{area}:{:?}", self.errno).to_lowercase();
        let message = format!("cannot {} it: {}", self.action, self.errno.desc());
        Failure::new(class(self.errno), code, self.path.to_string_lossy(), message).advise(self.advice())
    }

    /// A file that is too large to be read has nothing to do with limits.
    fn advice(&self) -> &'static str {
        if self.errno == Errno::EFBIG && self.action == "read" { "" } else { advice(self.errno) }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot {} it: {}", self.path.display(), self.action, self.errno.desc())
    }
}

impl std::error::Error for DiskError {}

/// A full or busy disk passes; missing rights and wrong kinds of files need a person.
fn class(errno: Errno) -> Class {
    match errno {
        Errno::EACCES
        | Errno::EPERM
        | Errno::EROFS
        | Errno::ELOOP
        | Errno::ENOENT
        | Errno::ENOTDIR
        | Errno::EISDIR
        | Errno::EINVAL
        | Errno::ENAMETOOLONG => Class::Operator,
        _ => Class::Retry,
    }
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EFBIG => {
            "raise the limit on the size of files (ulimit -f, LimitFSIZE=); what was there before is unchanged"
        }
        Errno::ENOSPC => "free space or inodes on this file system (df -h, df -i); what was there before is unchanged",
        Errno::EDQUOT => "raise this user's quota; what was there before is unchanged",
        Errno::EIO => "look at the kernel's log for disk errors; what was there before is unchanged",
        Errno::EROFS => "remount it writable; under systemd, add the path to the unit's ReadWritePaths",
        Errno::EACCES | Errno::EPERM => {
            "look at the owner, mode and attributes of the path (ls -ld, lsattr), and at the user everleaf runs as"
        }
        Errno::EMFILE | Errno::ENFILE => "raise the limit of open files (LimitNOFILE)",
        Errno::ELOOP | Errno::ENOTDIR | Errno::EISDIR | Errno::EINVAL => {
            "something else lies where everleaf keeps a file or directory of its own: move it away"
        }
        Errno::ENOENT => "make the missing directory",
        Errno::EWOULDBLOCK => "another process holds its lock; a stopped one can be found with lsof",
        _ => "",
    }
}
