//! Journals: one JSON event a line, synced before anybody acts on it.
//!
//! Reading takes no lock. Appending, compacting, cutting off a torn tail and setting a damaged journal aside happen under the kernel's
//! lock on the journal file itself, for a few milliseconds; whoever then finds that another file lies at the path opens that one.

use super::line::{self, Scan, Tail};
use super::{CERTS, MAX_ENTRIES, PRIVATE_FILE, StateRoot, failed};
use crate::disk::{Dir, DiskError, Durability, lock_patiently};
use crate::ports::{AppendError, Journal, Loaded, Scope};
use crate::types::{CertName, Class, Failure, Seq, Timestamp};
use nix::errno::Errno;
use nix::fcntl::{Flock, OFlag};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

const JOURNAL: &str = "journal.jsonl";
const DAMAGED: &str = "journal.damaged-";
/// The largest journal read. Compaction keeps them under a megabyte; this one is wrong in a way that reading cannot help.
const MAX_JOURNAL: u64 = 64 * 1024 * 1024;
/// A journal replaced this often while its lock was being waited for is being replaced by something else than everleaf.
const MAX_REOPENS: usize = 16;

/// Where a journal ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    inode: u64,
    length: u64,
    seq: Seq,
}

impl Journal for StateRoot {
    fn load(&self, scope: &Scope, after: Seq) -> Result<Loaded, Failure> {
        let Some(dir) = self.existing(&parts(scope)).map_err(failed)? else {
            return Ok(gone(after, None));
        };
        match dir.file(JOURNAL, OFlag::O_RDONLY) {
            Ok(file) => {
                let start = self.known(scope, &file).filter(|known| known.seq == after && after > Seq(0));
                let scan = read(&dir, &file, start)?;
                if scan.tail == Tail::Whole {
                    self.loaded(scope, &file, &scan, after, start)
                } else {
                    self.repair(&dir, scope, after)
                }
            }
            Err(error) if error.errno() == Errno::ENOENT => Ok(gone(after, newest_damaged(&dir)?)),
            Err(error) => Err(failed(error)),
        }
    }

    fn append(&self, scope: &Scope, expect: Seq, at: Timestamp, events: &[Value]) -> Result<Seq, AppendError> {
        let dir = self.made(&parts(scope)).map_err(|error| AppendError::Failed(failed(error)))?;
        let file = open_locked(&dir, OFlag::O_CREAT)?;
        let end = self.end(&dir, scope, &file)?;
        if end.seq != expect {
            return Err(AppendError::Stale(end.seq));
        }
        let lines = line::encode(expect, at, events).map_err(|length| AppendError::Failed(too_long(&dir, length)))?;
        if end.length + lines.len() as u64 > MAX_JOURNAL {
            return Err(AppendError::Failed(too_large(&dir, end.length)));
        }
        self.positions.borrow_mut().remove(scope);
        let written = self.write_at(&dir, &file, end.length, &lines);
        written.map_err(|error| AppendError::Failed(failed(error)))?;
        let seq = Seq(expect.0 + events.len() as u64);
        let length = end.length + lines.len() as u64;
        self.positions.borrow_mut().insert(scope.clone(), Position { inode: end.inode, length, seq });
        Ok(seq)
    }

    fn compact(&self, scope: &Scope, expect: Seq, at: Timestamp, snapshot: &Value) -> Result<(), AppendError> {
        let missing = || AppendError::Stale(Seq(0));
        let dir =
            self.existing(&parts(scope)).map_err(|error| AppendError::Failed(failed(error)))?.ok_or_else(missing)?;
        let file = match open_locked(&dir, OFlag::empty()) {
            Err(AppendError::Failed(failure)) if failure.code == "state:enoent" => return Err(missing()),
            opened => opened?,
        };
        let end = self.end(&dir, scope, &file)?;
        if end.seq != expect || expect == Seq(0) {
            return Err(AppendError::Stale(end.seq));
        }
        let contents = line::encode_snapshot(expect, at, snapshot)
            .map_err(|length| AppendError::Failed(too_long(&dir, length)))?;
        self.positions.borrow_mut().remove(scope);
        self.sweep_dir(&dir);
        dir.replace(JOURNAL, &contents, &PRIVATE_FILE, Durability::Synced)
            .map_err(|error| AppendError::Failed(failed(error)))
    }

    fn certificates(&self) -> Result<Vec<CertName>, Failure> {
        let Some(certs) = self.existing(&[CERTS]).map_err(failed)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in certs.names(MAX_ENTRIES).map_err(failed)? {
            let Ok(name) = CertName::new(name) else { continue };
            let Ok(dir) = certs.sub(name.as_str()) else { continue };
            if dir.stat(JOURNAL).map_err(failed)?.is_some() || newest_damaged(&dir)?.is_some() {
                found.push(name);
            }
        }
        Ok(found)
    }
}

impl StateRoot {
    /// Whether a certificate's journal is another one, or longer, than when this process last read or wrote it.
    pub fn moved_on(&self, name: &CertName) -> bool {
        let found =
            self.existing(&[CERTS, name.as_str()]).ok().flatten().and_then(|dir| dir.stat(JOURNAL).ok().flatten());
        let found = found.map(|found| (found.st_ino, u64::try_from(found.st_size).unwrap_or(0)));
        let positions = self.positions.borrow();
        let known = positions.get(&Scope::Certificate(name.clone())).map(|known| (known.inode, known.length));
        found != known
    }

    /// What this process knows of the journal in `file`: where it ended, if it is the same one and has not shrunk.
    fn known(&self, scope: &Scope, file: &File) -> Option<Position> {
        let found = file.metadata().ok()?;
        let known = *self.positions.borrow().get(scope)?;
        (known.inode == found.ino() && known.length <= found.len()).then_some(known)
    }

    /// Puts together what [`Journal::load`] answers from a sound journal, and remembers where it ended.
    fn loaded(
        &self,
        scope: &Scope,
        file: &File,
        scan: &Scan,
        after: Seq,
        start: Option<Position>,
    ) -> Result<Loaded, Failure> {
        let first = start.map_or_else(|| scan.records.first().map(|record| record.seq), |_| None);
        let last = scan.records.last().map_or(start.map_or(Seq(0), |start| start.seq), |record| record.seq);
        let inode = file.metadata().map_err(|error| unreadable(&error))?.ino();
        let length = start.map_or(0, |start| start.length) + scan.sound as u64;
        self.positions.borrow_mut().insert(scope.clone(), Position { inode, length, seq: last });
        let replaced = first.is_some_and(|first| first > Seq(1) && after < first);
        if after > Seq(0) && (last < after || replaced) {
            return Ok(gone(after, None));
        }
        let records = scan.records.iter().filter(|record| record.seq > after).cloned().collect();
        Ok(Loaded { records, set_aside: None, restarted: false })
    }

    /// Looks again under the lock at a journal that did not read whole: cuts a torn tail off, or sets a damaged one aside.
    fn repair(&self, dir: &Dir, scope: &Scope, after: Seq) -> Result<Loaded, Failure> {
        let file = match open_locked(dir, OFlag::empty()) {
            Ok(file) => file,
            Err(AppendError::Failed(failure)) => return Err(failure),
            Err(AppendError::Stale(_)) => return Ok(gone(after, None)),
        };
        let scan = read(dir, &file, None)?;
        match scan.tail {
            Tail::Whole => {}
            Tail::Torn => {
                tracing::warn!(journal = %dir.path().join(JOURNAL).display(), "cutting off an unfinished last append");
                truncate(&file, scan.sound as u64)
                    .map_err(|error| failed(dir.io("cut off the torn tail of", JOURNAL, &error)))?;
            }
            Tail::Damaged => {
                self.positions.borrow_mut().remove(scope);
                return set_aside(dir);
            }
            Tail::Newer(version) => return Err(newer(dir, version)),
        }
        self.loaded(scope, &file, &scan, after, None)
    }

    /// Where the journal ends, which must be sound up to there, for whoever holds its lock.
    fn end(&self, dir: &Dir, scope: &Scope, file: &File) -> Result<Position, AppendError> {
        let found = file.metadata().map_err(|error| AppendError::Failed(failed(dir.io("look at", JOURNAL, &error))))?;
        if let Some(known) = self.known(scope, file).filter(|known| known.length == found.len()) {
            return Ok(known);
        }
        let scan = read(dir, file, None).map_err(AppendError::Failed)?;
        let seq = scan.records.last().map_or(Seq(0), |record| record.seq);
        let end = Position { inode: found.ino(), length: scan.sound as u64, seq };
        match scan.tail {
            Tail::Whole => Ok(end),
            Tail::Torn => truncate(file, end.length)
                .map(|()| end)
                .map_err(|error| AppendError::Failed(failed(dir.io("cut off the torn tail of", JOURNAL, &error)))),
            Tail::Damaged => Err(AppendError::Failed(damaged(dir))),
            Tail::Newer(version) => Err(AppendError::Failed(newer(dir, version))),
        }
    }

    /// Writes and syncs, or puts the old length back: a full disk must not leave half a record.
    fn write_at(&self, dir: &Dir, file: &File, length: u64, lines: &[u8]) -> Result<(), DiskError> {
        let written = file.write_all_at(lines, length).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // If this fails too, the next reader finds a torn tail and cuts it off.
            let _ = truncate(file, length);
            return Err(dir.io("append to", JOURNAL, &error));
        }
        if length == 0 {
            // Whoever made the file or its directories may have died before syncing them.
            dir.sync()?;
            self.sync_parents(dir)?;
        }
        Ok(())
    }

    fn sync_parents(&self, dir: &Dir) -> Result<(), DiskError> {
        if let Some(parent) = dir.path().parent() {
            Dir::open(parent)?.sync()?;
        }
        self.root.sync()
    }
}

fn parts(scope: &Scope) -> [&str; 2] {
    match scope {
        Scope::Certificate(name) => [CERTS, name.as_str()],
        Scope::Issuer(name) => ["issuers", name.as_str()],
        Scope::Node(name) => ["nodes", name.as_str()],
    }
}

/// Opens the journal and takes its lock; the file locked is the one at the path.
fn open_locked(dir: &Dir, create: OFlag) -> Result<Flock<File>, AppendError> {
    let fail = |error: DiskError| AppendError::Failed(failed(error));
    for _ in 0..MAX_REOPENS {
        let file = dir.file(JOURNAL, OFlag::O_RDWR | create).map_err(fail)?;
        let inode = file.metadata().map_err(|error| fail(dir.io("look at", JOURNAL, &error)))?.ino();
        let at = DiskError::at("lock", &dir.path().join(JOURNAL));
        let locked = lock_patiently(file).map_err(|errno| fail(at(errno)))?;
        if dir.stat(JOURNAL).map_err(fail)?.is_some_and(|found| found.st_ino == inode) {
            return Ok(locked);
        }
    }
    Err(fail(DiskError::at("lock", &dir.path().join(JOURNAL))(Errno::EWOULDBLOCK)))
}

fn read(dir: &Dir, mut file: &File, start: Option<Position>) -> Result<Scan, Failure> {
    let fail = |error: &std::io::Error| failed(dir.io("read", JOURNAL, error));
    file.seek(SeekFrom::Start(start.map_or(0, |start| start.length))).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    let length = file.take(MAX_JOURNAL + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))? as u64;
    if length > MAX_JOURNAL {
        return Err(too_large(dir, length));
    }
    let scan = line::scan(&bytes, start.map(|start| start.seq));
    if let Tail::Newer(version) = scan.tail { Err(newer(dir, version)) } else { Ok(scan) }
}

fn truncate(file: &File, length: u64) -> std::io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

/// Nothing to replay: the caller has seen records that are there no longer, or nothing ever was.
fn gone(after: Seq, set_aside: Option<PathBuf>) -> Loaded {
    Loaded { records: Vec::new(), restarted: after > Seq(0), set_aside }
}

fn set_aside(dir: &Dir) -> Result<Loaded, Failure> {
    let number = damaged_numbers(dir)?.into_iter().max().unwrap_or(0) + 1;
    let name = format!("{DAMAGED}{number}.jsonl");
    dir.rename(JOURNAL, &name).and_then(|()| dir.sync()).map_err(failed)?;
    let path = dir.path().join(name);
    tracing::info!(journal = %path.display(), "a damaged journal was set aside");
    Ok(Loaded { records: Vec::new(), set_aside: Some(path), restarted: false })
}

/// The last journal set aside. While no new one is begun, the ledger is still to be rebuilt, also after a crash in between.
fn newest_damaged(dir: &Dir) -> Result<Option<PathBuf>, Failure> {
    let newest = damaged_numbers(dir)?.into_iter().max();
    Ok(newest.map(|number| dir.path().join(format!("{DAMAGED}{number}.jsonl"))))
}

fn damaged_numbers(dir: &Dir) -> Result<Vec<u64>, Failure> {
    let names = dir.names(MAX_ENTRIES).map_err(failed)?;
    let number = |name: &String| name.strip_prefix(DAMAGED)?.strip_suffix(".jsonl")?.parse().ok();
    Ok(names.iter().filter_map(number).collect())
}

fn newer(dir: &Dir, version: u32) -> Failure {
    let message = format!("a newer everleaf wrote it (version {version}; this one knows {})", line::VERSION);
    Failure::new(Class::Operator, "state:newer", dir.path().join(JOURNAL).to_string_lossy(), message)
        .advise("run the newer everleaf; this one only reads, so that nothing is lost")
}

fn damaged(dir: &Dir) -> Failure {
    Failure::new(Class::Retry, "state:damaged", dir.path().join(JOURNAL).to_string_lossy(), "the journal is damaged")
        .advise("nothing: the next run sets it aside and rebuilds from keys, generations and nodes")
}

fn too_long(dir: &Dir, length: usize) -> Failure {
    let message = format!("an event of {length} bytes is too long for one line ({} bytes)", line::MAX_LINE);
    Failure::new(Class::Operator, "state:line", dir.path().join(JOURNAL).to_string_lossy(), message)
}

fn too_large(dir: &Dir, length: u64) -> Failure {
    let message = format!("the journal has {length} bytes or more; {MAX_JOURNAL} is the most that is read");
    Failure::new(Class::Operator, "state:efbig", dir.path().join(JOURNAL).to_string_lossy(), message)
        .advise("keep a copy and report this; moved away, the ledger is rebuilt from keys, generations and nodes")
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Class::Retry, "state:io", JOURNAL, error.to_string())
}

#[cfg(test)]
mod tests;
