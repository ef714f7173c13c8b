//! The only ways everleaf changes a file system, as functions relative to an open directory.
//!
//! They are: make a directory; write a temporary file, sync it and rename it into place; replace a symbolic link by rename; append to a
//! journal and cut off its torn tail (`state::journal`, on a file opened here); move something aside; remove. A durable change is followed
//! by a sync of its directory. A key file is created empty with 0600, given its owner and mode, and only then written. Names are single
//! path components, links are never followed, and modes do not depend on the umask.

mod error;

pub use error::DiskError;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, symlinkat, unlinkat};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a temporary's name begins with. Two dots: HAProxy loads every file of a directory that does not begin with one.
pub const TEMPORARY: &str = "..tmp-";
/// A temporary whose name is taken is left by a process that died; more than this many with our own pid there cannot be.
const MAX_NAME_TRIES: u32 = 64;
/// A system call interrupted this often in a row is not going to succeed.
const MAX_INTERRUPTIONS: u32 = 100;
/// Deeper than anything everleaf lays out below a directory that it removes whole.
const MAX_DEPTH: u32 = 3;
/// Critical sections under a [`Dir::lock`] last milliseconds; whoever holds one for longer is stopped, and is not waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How often a busy lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Who may do what with a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner, when not this process's.
    pub owner: Option<Uid>,
    /// Group, when not this process's.
    pub group: Option<Gid>,
}

impl Attributes {
    /// `mode`, with this process's owner and group.
    #[must_use]
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None, group: None }
    }

    /// Whether `found` is as wanted.
    #[must_use]
    pub fn hold(&self, found: &FileStat) -> bool {
        found.st_mode & 0o7777 == self.mode
            && self.owner.is_none_or(|uid| uid.as_raw() == found.st_uid)
            && self.group.is_none_or(|gid| gid.as_raw() == found.st_gid)
    }
}

/// Whether a change must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// File and directory are synced.
    Synced,
    /// It may be lost, at the price of one more look; or the caller syncs several changes of one directory at once.
    Losable,
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a configured directory; links in `path` are its administrator's choice and are followed.
    ///
    /// # Errors
    /// The I/O error.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = again(|| nix::fcntl::open(path, flags, Mode::empty())).map_err(DiskError::at("open", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a configured directory, making it with `mode` if it is missing, and its missing parents with 0755, durably.
    ///
    /// # Errors
    /// The I/O error.
    pub fn open_or_make(path: &Path, mode: u32) -> Result<Self, DiskError> {
        match (Self::open(path), path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Err(error), Some(parent), Some(name)) if error.errno() == Errno::ENOENT => {
                Self::open_or_make(parent, 0o755)?.make(name, &Attributes::mode(mode))
            }
            (opened, _, _) => opened,
        }
    }

    /// Its path, for messages and for handing to others.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `name`.
    ///
    /// # Errors
    /// The I/O error; `ENOENT` when it is missing, `ENOTDIR` or `ELOOP` when it is something else.
    pub fn sub(&self, name: &str) -> Result<Self, DiskError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = again(|| openat(&self.fd, name, flags, Mode::empty())).map_err(self.at("open", name))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Opens the directory `name`, made if it is missing, and puts its attributes right. A new one is durable.
    ///
    /// # Errors
    /// As for [`Self::sub`].
    pub fn make(&self, name: &str, attributes: &Attributes) -> Result<Self, DiskError> {
        let made = match again(|| mkdirat(&self.fd, name, Mode::S_IRWXU)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(self.at("make", name)(errno)),
        };
        let dir = self.sub(name)?;
        let found = again(|| fstat(&dir.fd)).map_err(self.at("look at", name))?;
        if !attributes.hold(&found) {
            apply(&dir.fd, attributes).map_err(self.at("set owner and mode of", name))?;
        }
        if made {
            self.sync()?;
        }
        Ok(dir)
    }

    /// Syncs the directory itself: what was renamed, made or removed in it.
    ///
    /// # Errors
    /// The I/O error.
    pub fn sync(&self) -> Result<(), DiskError> {
        again(|| fsync(&self.fd)).map_err(DiskError::at("sync", &self.path))
    }

    /// What is at `name`, links not followed; `None` when nothing is.
    ///
    /// # Errors
    /// The I/O error.
    pub fn stat(&self, name: &str) -> Result<Option<FileStat>, DiskError> {
        match again(|| fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.at("look at", name)(errno)),
        }
    }

    /// What is known of the directory itself.
    ///
    /// # Errors
    /// The I/O error.
    pub fn stat_self(&self) -> Result<FileStat, DiskError> {
        again(|| fstat(&self.fd)).map_err(DiskError::at("look at", &self.path))
    }

    /// The names in it, at most `limit`, sorted. Names that are not UTF-8 are nothing of ours and are left out.
    ///
    /// # Errors
    /// The I/O error.
    pub fn names(&self, limit: usize) -> Result<Vec<String>, DiskError> {
        let entries = std::fs::read_dir(&self.path).map_err(|error| self.io("list", ".", &error))?;
        let mut names = Vec::new();
        for entry in entries.take(limit) {
            let entry = entry.map_err(|error| self.io("list", ".", &error))?;
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens the regular file `name` with `flags`, links not followed and never waiting for the other end of a pipe.
    ///
    /// # Errors
    /// The I/O error; `ENOENT` when it is missing.
    pub fn file(&self, name: &str, flags: OFlag) -> Result<File, DiskError> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = again(|| openat(&self.fd, name, flags, mode)).map_err(self.at("open", name))?;
        let found = again(|| fstat(&fd)).map_err(self.at("look at", name))?;
        match kind(&found) {
            SFlag::S_IFREG => Ok(File::from(fd)),
            SFlag::S_IFDIR => Err(self.at("read", name)(Errno::EISDIR)),
            _ => Err(self.at("read", name)(Errno::EINVAL)),
        }
    }

    /// The contents of the regular file `name`, at most `limit` bytes; `None` when it is missing.
    ///
    /// # Errors
    /// The I/O error; `EFBIG` when it is larger.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let file = match self.file(name, OFlag::O_RDONLY) {
            Ok(file) => file,
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            Err(error) => return Err(error),
        };
        // Room for all of it at once: a key must not leave copies behind in reallocated memory.
        let size = file.metadata().map_or(0, |found| usize::try_from(found.len()).unwrap_or(limit)).min(limit);
        let mut contents = Vec::with_capacity(size + 1);
        let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(bound).read_to_end(&mut contents).map_err(|error| self.io("read", name, &error))?;
        if contents.len() > limit {
            return Err(self.at("read", name)(Errno::EFBIG));
        }
        Ok(Some(contents))
    }

    /// Where the link `name` points; `None` when it is missing or no link.
    ///
    /// # Errors
    /// The I/O error.
    pub fn link_target(&self, name: &str) -> Result<Option<String>, DiskError> {
        match again(|| readlinkat(&self.fd, name)) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(self.at("read", name)(errno)),
        }
    }

    /// Makes `name` a file with `contents`, whole: written aside, synced if durable, and renamed over what was there.
    ///
    /// # Errors
    /// The I/O error; what was there is then still there, or the new contents are.
    pub fn replace(
        &self,
        name: &str,
        contents: &[u8],
        attributes: &Attributes,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let temporary = self.temporary(|temporary| self.create(temporary, contents, attributes, durability))?;
        self.settle(&temporary, name, durability)
    }

    /// The same, written aside as `temporary`, which is always the same for `name`: what a killed run left there is removed by the
    /// next one, in a directory that is not ours to sweep.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_by_way_of(
        &self,
        temporary: &str,
        name: &str,
        contents: &[u8],
        attributes: &Attributes,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let written = self.remove(temporary).and_then(|()| self.create(temporary, contents, attributes, durability));
        if let Err(error) = written {
            // Best effort: the next try removes it, and the first error says more than a second.
            let _ = self.remove(temporary);
            return Err(error);
        }
        self.settle(temporary, name, durability)
    }

    /// Makes `name` a link to `target` in one step. What was there must not be a directory.
    ///
    /// # Errors
    /// The I/O error.
    pub fn link(&self, name: &str, target: &str, durability: Durability) -> Result<(), DiskError> {
        let temporary = self.temporary(|temporary| {
            again(|| symlinkat(target, &self.fd, temporary)).map_err(self.at("make", temporary))
        })?;
        self.settle(&temporary, name, durability)
    }

    /// Makes a new, private directory under a temporary name, to be filled and renamed.
    ///
    /// # Errors
    /// The I/O error.
    pub fn make_temporary(&self) -> Result<(String, Self), DiskError> {
        let name = self.temporary(|temporary| {
            again(|| mkdirat(&self.fd, temporary, Mode::S_IRWXU)).map_err(self.at("make", temporary))
        })?;
        let dir = self.sub(&name)?;
        Ok((name, dir))
    }

    /// Creates the file `name`, which must not exist: empty and 0600 first, then owner and mode, then contents, then synced.
    ///
    /// # Errors
    /// The I/O error; an unfinished file may be left.
    pub fn create(
        &self,
        name: &str,
        contents: &[u8],
        attributes: &Attributes,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let file = self.file(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        apply(&file, attributes).map_err(self.at("set owner and mode of", name))?;
        file.write_all_at(contents, 0).map_err(|error| self.io("write", name, &error))?;
        if durability == Durability::Synced {
            file.sync_all().map_err(|error| self.io("sync", name, &error))?;
        }
        Ok(())
    }

    /// Puts owner and mode of the regular file `name` right. Says whether they were not.
    ///
    /// # Errors
    /// The I/O error; `ENOENT` when it is missing.
    pub fn put_right(&self, name: &str, attributes: &Attributes) -> Result<bool, DiskError> {
        if self.stat(name)?.is_some_and(|found| kind(&found) != SFlag::S_IFREG || attributes.hold(&found)) {
            return Ok(false);
        }
        let file = self.file(name, OFlag::O_RDONLY)?;
        apply(&file, attributes).map_err(self.at("set owner and mode of", name))?;
        Ok(true)
    }

    /// Sets owner and mode of the directory itself.
    ///
    /// # Errors
    /// The I/O error.
    pub fn set_attributes(&self, attributes: &Attributes) -> Result<(), DiskError> {
        apply(&self.fd, attributes).map_err(DiskError::at("set owner and mode of", &self.path))
    }

    /// Renames `from` to `to` in this directory. Not durable before [`Self::sync`].
    ///
    /// # Errors
    /// The I/O error.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        again(|| renameat(&self.fd, from, &self.fd, to)).map_err(self.at("rename to", to))
    }

    /// Lets `one` and `other` change places in one step. Not durable before [`Self::sync`].
    ///
    /// # Errors
    /// The I/O error; `EINVAL` or `ENOSYS` where the file system cannot do it.
    pub fn exchange(&self, one: &str, other: &str) -> Result<(), DiskError> {
        again(|| renameat2(&self.fd, one, &self.fd, other, RenameFlags::RENAME_EXCHANGE))
            .map_err(self.at("exchange", other))
    }

    /// Removes the file or link `name`. Absent is done. Not durable before [`Self::sync`].
    ///
    /// # Errors
    /// The I/O error.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        absent_is_done(again(|| unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir))).map_err(self.at("remove", name))
    }

    /// Removes whatever is at `name`, directories with what is in them. Absent is done. Not durable before [`Self::sync`].
    ///
    /// # Errors
    /// The I/O error; part of a directory may then be left.
    pub fn remove_all(&self, name: &str) -> Result<(), DiskError> {
        self.remove_to_depth(name, MAX_DEPTH)
    }

    /// Takes the kernel's lock on the directory itself, waiting up to three seconds: for critical sections of a few milliseconds.
    /// A file system that has no locks is no obstacle: the certificate's own lock holds there too.
    ///
    /// # Errors
    /// `EWOULDBLOCK` when somebody else held it all the time.
    pub fn lock(&self) -> Result<Option<Flock<OwnedFd>>, DiskError> {
        let fd = self.fd.try_clone().map_err(|error| self.io("lock", ".", &error))?;
        // A lock belongs to the open file description, which a duplicate shares: the directory is opened anew.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let own = again(|| openat(&fd, ".", flags, Mode::empty())).map_err(self.at("lock", "."))?;
        match lock_patiently(own) {
            Ok(lock) => Ok(Some(lock)),
            Err(errno @ Errno::EWOULDBLOCK) => Err(self.at("lock", ".")(errno)),
            Err(_) => Ok(None),
        }
    }

    /// An error of a standard library call on `name`.
    pub fn io(&self, action: &'static str, name: &str, error: &std::io::Error) -> DiskError {
        self.at(action, name)(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    fn at(&self, action: &'static str, name: &str) -> impl FnOnce(Errno) -> DiskError {
        DiskError::at(action, &self.path.join(name))
    }

    /// Runs `make` with fresh temporary names until one is not taken. What a failed `make` left is removed.
    fn temporary(&self, mut make: impl FnMut(&str) -> Result<(), DiskError>) -> Result<String, DiskError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut tries = 0;
        loop {
            let name = format!("{TEMPORARY}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            match make(&name) {
                Ok(()) => return Ok(name),
                Err(error) if error.errno() == Errno::EEXIST && tries < MAX_NAME_TRIES => tries += 1,
                Err(error) if error.errno() == Errno::EEXIST => return Err(error),
                Err(error) => {
                    // Best effort: a leftover is removed as stale later, and the first error says more than a second.
                    let _ = self.remove_all(&name);
                    return Err(error);
                }
            }
        }
    }

    /// Renames a finished temporary into place.
    fn settle(&self, temporary: &str, name: &str, durability: Durability) -> Result<(), DiskError> {
        if let Err(error) = self.rename(temporary, name) {
            let _ = self.remove(temporary);
            return Err(error);
        }
        if durability == Durability::Synced { self.sync() } else { Ok(()) }
    }

    fn remove_to_depth(&self, name: &str, depth: u32) -> Result<(), DiskError> {
        let is_dir = self.stat(name)?.is_some_and(|found| kind(&found) == SFlag::S_IFDIR);
        if !is_dir || depth == 0 {
            return self.remove(name);
        }
        let dir = self.sub(name)?;
        for inner in dir.names(usize::MAX)? {
            dir.remove_to_depth(&inner, depth - 1)?;
        }
        absent_is_done(again(|| unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir))).map_err(self.at("remove", name))
    }
}

/// The kind of file, by its type bits.
#[must_use]
pub fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

/// Takes a lock, now or not at all; a signal in between is no answer.
///
/// # Errors
/// `EWOULDBLOCK`, or what the file system says.
pub fn lock_at_once<T: nix::fcntl::Flockable>(mut file: T, how: FlockArg) -> Result<Flock<T>, Errno> {
    for _ in 0..MAX_INTERRUPTIONS {
        match Flock::lock(file, how) {
            Err((returned, Errno::EINTR)) => file = returned,
            taken => return taken.map_err(|(_, errno)| errno),
        }
    }
    Err(Errno::EINTR)
}

/// Takes an exclusive lock, trying for three seconds and never blocking: a stopped holder stops nobody else.
///
/// # Errors
/// `EWOULDBLOCK`, or what the file system says.
#[expect(clippy::disallowed_methods, reason = "a lock held for milliseconds")]
pub fn lock_patiently<T: nix::fcntl::Flockable>(mut file: T) -> Result<Flock<T>, Errno> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((returned, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => {
                file = returned;
                std::thread::sleep(LOCK_POLL);
            }
            Err((_, errno)) => return Err(errno),
        }
    }
}

fn apply(fd: impl std::os::fd::AsFd, attributes: &Attributes) -> Result<(), Errno> {
    if attributes.owner.is_some() || attributes.group.is_some() {
        again(|| fchown(&fd, attributes.owner, attributes.group))?;
    }
    again(|| fchmod(&fd, Mode::from_bits_truncate(attributes.mode)))
}

fn absent_is_done(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::ENOENT) { Ok(()) } else { result }
}

/// Repeats a call that a signal interrupted.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..MAX_INTERRUPTIONS {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
    Err(Errno::EINTR)
}

#[cfg(test)]
mod tests;
