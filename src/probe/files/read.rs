//! Reading a file that may be anything: bounded, and never waiting.

use super::failure;
use crate::types::Failure;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// What is read of a file; a chain of a hundred certificates has a tenth of it.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// What lies at a path.
pub(super) enum Read {
    /// A file. Its text is wiped on drop, since it may be a key.
    File { text: Zeroizing<Vec<u8>>, exposed: bool },
    /// Nothing, with why.
    Missing(String),
    /// A file of so many bytes, which was not read.
    TooLarge(u64),
}

/// Reads the regular file at `path`, links followed.
///
/// # Errors
/// Class `Operator`: code `files:unreadable` with the system's reason, or `files:no_file` for a pipe, device or directory.
pub(super) fn read(path: &Path) -> Result<Read, Failure> {
    let unreadable = |error: std::io::Error| failure("files:unreadable", path, format!("it cannot be read: {error}"));
    // Without O_NONBLOCK opening a pipe would wait for somebody to write.
    let file = match open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Ok(Read::Missing(missing(path))),
        Err(errno) => return Err(unreadable(errno.into())),
    };
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(failure("files:no_file", path, "it is no regular file").advise("Name a file of PEM or DER."));
    }
    if about.len() > MAX_BYTES {
        return Ok(Read::TooLarge(about.len()));
    }
    // Room for all of it at once: a key must not leave copies behind in reallocated memory.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default() + 1));
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(Read::File { text, exposed: about.mode() & 0o004 != 0 })
}

/// Nothing there, or a link to nothing.
fn missing(path: &Path) -> String {
    match std::fs::read_link(path) {
        Ok(target) => format!("is a symlink to {}, which is not there", target.display()),
        Err(_) => "is not there".to_owned(),
    }
}
