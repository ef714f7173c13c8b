//! One certificate's live directory.

use super::Done;
use super::access::Modes;
use super::contents::{Contents, NAMES};
use crate::config::spec::FileContent;
use crate::disk::{Attributes, Dir, DiskError, Durability, TEMPORARY, kind};
use crate::types::{Epoch, GenId, Printable};
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::sys::stat::SFlag;
use std::os::fd::OwnedFd;

/// The link that is switched.
pub(super) const DATA: &str = "..data";
/// What a generation's directory begins with.
const GENERATION: &str = "..gen-";
/// The directory that foreign files are copied to while their names become links.
const FOREIGN_GENERATION: &str = "..gen-foreign";
/// What foreign things are renamed to.
const FOREIGN: &str = "..foreign-";
/// The epoch a generation was published at, in decimal.
const EPOCH: &str = "..epoch";
/// Decimal digits of a `u64` and a line feed.
const MAX_EPOCH: usize = 21;
/// The largest foreign file that is kept serving while its name becomes a link.
const MAX_FOREIGN: usize = 1024 * 1024;
/// Names tried for one generation or foreign file: each stands for one edit by hand that everleaf healed.
const MAX_NAMES: u32 = 100;
/// Entries of a live directory; there are some ten.
const MAX_ENTRIES: usize = 10_000;

/// A live directory, locked where the file system has locks.
pub(super) struct Live {
    dir: Dir,
    modes: Modes,
    lock: Option<Flock<OwnedFd>>,
}

/// What `..data` resolves to.
pub(super) struct Current {
    /// The directory's name.
    pub(super) name: String,
    /// The generation in it, when it is one.
    pub(super) generation: Option<GenId>,
    /// The epoch it was published at.
    pub(super) epoch: Option<Epoch>,
}

impl Live {
    /// Locks it against another publisher.
    pub(super) fn open(dir: Dir, modes: Modes) -> Result<Self, DiskError> {
        let lock = dir.lock()?;
        Ok(Self { dir, modes, lock })
    }

    /// For looking only.
    pub(super) fn unlocked(dir: Dir, modes: Modes) -> Self {
        Self { dir, modes, lock: None }
    }

    /// Makes `contents` what is shown, from a directory named after `id`.
    pub(super) fn publish(&self, contents: &Contents, id: &str, epoch: Option<Epoch>) -> Result<Done, DiskError> {
        let mut done = Done::default();
        self.clean()?;
        let before = self.current();
        let name = self.generation(contents, id, epoch, before.as_ref(), &mut done)?;
        if before.is_none() {
            self.adopt()?;
        }
        self.link_names(&mut done)?;
        if self.dir.link_target(DATA)?.as_deref() != Some(&*name) {
            // The names, and what they will lead to, are durable before the switch.
            self.dir.sync()?;
            self.point(DATA, &name, &mut done)?;
        }
        self.dir.sync()?;
        if let Err(error) = self.prune(&name, before.as_ref().map(|before| before.name.as_str())) {
            done.notes.push(Printable::new(&format!("an old generation could not be removed: {error}")));
        }
        Ok(done)
    }

    /// What is shown now; nothing when `..data` is missing, dangling, or leads outside.
    pub(super) fn current(&self) -> Option<Current> {
        let name = self.dir.link_target(DATA).ok().flatten().filter(|target| target.starts_with(GENERATION))?;
        let dir = self.dir.sub(&name).ok()?;
        let id = name.strip_prefix(GENERATION).and_then(|rest| rest.split('.').next());
        let generation = id.and_then(|id| id.parse().ok());
        let epoch = recorded_epoch(&dir);
        Some(Current { name, generation, epoch })
    }

    /// Whether nothing is shown and nothing foreign stands where it would be.
    pub(super) fn is_empty(&self) -> Result<bool, DiskError> {
        if self.current().is_some() {
            return Ok(false);
        }
        for (name, _) in NAMES {
            let ours = self.dir.link_target(name)?.is_some_and(|target| target == through_data(name));
            if !ours && self.dir.stat(name)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every name leads through `..data`.
    pub(super) fn is_linked(&self) -> Result<bool, DiskError> {
        for (name, _) in NAMES {
            if self.dir.link_target(name)? != Some(through_data(name)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the generation's directory `name` holds exactly `contents`, with owner and modes as configured.
    pub(super) fn is_intact(&self, name: &str, contents: &Contents) -> bool {
        let Ok(dir) = self.dir.sub(name) else { return false };
        dir.stat_self().is_ok_and(|found| self.modes.dir.hold(&found))
            && dir.stat(EPOCH).is_ok_and(|found| found.is_none_or(|found| kind(&found) == SFlag::S_IFREG))
            && NAMES.iter().all(|(file, content)| {
                let wanted = contents.bytes(*content);
                let attributes = self.attributes(*content);
                dir.stat(file).is_ok_and(|found| found.is_some_and(|found| attributes.hold(&found)))
                    && dir.read(file, wanted.len()).is_ok_and(|found| found.as_deref() == Some(wanted))
            })
    }

    /// A directory that holds `contents` and is durable: one that is there and intact, or a new one. Answers its name.
    fn generation(
        &self,
        contents: &Contents,
        id: &str,
        epoch: Option<Epoch>,
        before: Option<&Current>,
        done: &mut Done,
    ) -> Result<String, DiskError> {
        let shown = before.map(|before| before.name.as_str());
        let base = format!("{GENERATION}{id}");
        // The one shown comes first: a switch between equals would only disturb those who watch.
        let first = shown.filter(|shown| numbered(&base).any(|name| name == *shown)).map(str::to_owned);
        for name in first.filter(|name| self.is_intact(name, contents)).into_iter().chain(numbered(&base)) {
            if self.is_intact(&name, contents) {
                self.record_epoch(&name, epoch, done)?;
                return Ok(name);
            }
            if shown == Some(name.as_str()) {
                done.notes.push(Printable::new(&format!("{name} was not as it was published: built anew")));
                continue;
            }
            done.changed = true;
            self.dir.remove_all(&name)?;
            self.build(&name, &self.modes.dir, |dir| {
                for (file, content) in NAMES {
                    dir.create(file, contents.bytes(content), &self.attributes(content), Durability::Synced)?;
                }
                match epoch {
                    Some(epoch) => dir.create(EPOCH, line(epoch).as_bytes(), &self.modes.cert, Durability::Synced),
                    None => Ok(()),
                }
            })?;
            return Ok(name);
        }
        Err(DiskError::at("find a free name for", &self.dir.path().join(id))(Errno::EEXIST))
    }

    /// Fills a private directory, syncs it and renames it whole.
    fn build(
        &self,
        name: &str,
        attributes: &Attributes,
        fill: impl FnOnce(&Dir) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let (temporary, dir) = self.dir.make_temporary()?;
        let built = fill(&dir)
            .and_then(|()| dir.set_attributes(attributes))
            .and_then(|()| dir.sync())
            .and_then(|()| self.dir.rename(&temporary, name))
            .and_then(|()| self.dir.sync());
        if built.is_err() {
            // Best effort: the next publisher cleans up, and the first error says more than a second.
            let _ = self.dir.remove_all(&temporary);
        }
        built
    }

    /// Keeps the epoch beside the files it belongs to, so that one rename switches both.
    fn record_epoch(&self, name: &str, epoch: Option<Epoch>, done: &mut Done) -> Result<(), DiskError> {
        let dir = self.dir.sub(name)?;
        let Some(epoch) = epoch.filter(|epoch| recorded_epoch(&dir) != Some(*epoch)) else { return Ok(()) };
        done.changed = true;
        dir.replace(EPOCH, line(epoch).as_bytes(), &self.modes.cert, Durability::Synced)
    }

    /// Copies foreign files behind `..data`, so that turning their names into links one by one changes nothing that a server reads.
    /// Links are not copied: one could lead anywhere, and its target would become readable here.
    fn adopt(&self) -> Result<(), DiskError> {
        let data = self.dir.stat(DATA)?;
        if data.is_some_and(|found| kind(&found) != SFlag::S_IFLNK) || self.leads_somewhere() {
            return Ok(());
        }
        let mut files = Vec::new();
        for (name, _) in NAMES {
            let plain = self.dir.stat(name)?.is_some_and(|found| kind(&found) == SFlag::S_IFREG && found.st_nlink == 1);
            if plain && let Ok(Some(contents)) = self.dir.read(name, MAX_FOREIGN) {
                files.push((name, contents));
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        self.dir.remove_all(FOREIGN_GENERATION)?;
        self.build(FOREIGN_GENERATION, &self.modes.dir, |dir| {
            files
                .iter()
                .try_for_each(|(name, contents)| dir.create(name, contents, &self.modes.key, Durability::Synced))
        })?;
        self.dir.link(DATA, FOREIGN_GENERATION, Durability::Synced)
    }

    /// Whether `..data` leads to a directory that is not ours.
    fn leads_somewhere(&self) -> bool {
        self.dir.path().join(DATA).is_dir()
    }

    fn link_names(&self, done: &mut Done) -> Result<(), DiskError> {
        NAMES.iter().try_for_each(|(name, _)| self.point(name, &through_data(name), done))
    }

    /// Makes `name` a link to `target`. Something foreign there changes places with the link in one step and is kept.
    fn point(&self, name: &str, target: &str, done: &mut Done) -> Result<(), DiskError> {
        let found = self.dir.link_target(name)?;
        if found.as_deref() == Some(target) {
            return Ok(());
        }
        done.changed = true;
        let ours = found.is_some_and(|found| name == DATA && found.starts_with(GENERATION));
        if ours || self.dir.stat(name)?.is_none() {
            return self.dir.link(name, target, Durability::Losable);
        }
        let aside = self.aside(name, target)?;
        match self.dir.exchange(&aside, name) {
            Ok(()) => {}
            Err(error) if matches!(error.errno(), Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => {
                self.dir.remove(&aside)?;
                self.dir.rename(name, &aside)?;
                self.dir.link(name, target, Durability::Losable)?;
            }
            Err(error) => return Err(error),
        }
        done.notes.push(Printable::new(&format!("{name} was not everleaf's: it is kept as {aside}")));
        Ok(())
    }

    /// A free name for something foreign, with the link to `target` there that will change places with it.
    fn aside(&self, name: &str, target: &str) -> Result<String, DiskError> {
        for aside in numbered(&format!("{FOREIGN}{}", name.trim_start_matches('.'))) {
            let left_by_a_kill = self.dir.link_target(&aside)?.as_deref() == Some(target);
            if left_by_a_kill {
                return Ok(aside);
            }
            if self.dir.stat(&aside)?.is_none() {
                self.dir.link(&aside, target, Durability::Losable)?;
                return Ok(aside);
            }
        }
        Err(DiskError::at("find a free name for", &self.dir.path().join(name))(Errno::EEXIST))
    }

    /// Removes what a publisher that died left. Without a lock, a temporary may be another's work.
    fn clean(&self) -> Result<(), DiskError> {
        if self.lock.is_some() {
            for name in self.dir.names(MAX_ENTRIES)?.iter().filter(|name| name.starts_with(TEMPORARY)) {
                self.dir.remove_all(name)?;
            }
        }
        Ok(())
    }

    /// Removes generations other than the one shown and the one before it.
    fn prune(&self, shown: &str, before: Option<&str>) -> Result<(), DiskError> {
        let names = self.dir.names(MAX_ENTRIES)?;
        let mut old = Vec::new();
        for name in names.into_iter().filter(|name| name.starts_with(GENERATION) && name != shown) {
            let built = self.dir.stat(&name)?.map(|found| (found.st_mtime, found.st_mtime_nsec));
            old.push((before == Some(name.as_str()), built, name));
        }
        old.sort_unstable();
        // The one before, or, when nothing was switched, the one that was written to last.
        old.pop();
        if old.is_empty() {
            return Ok(());
        }
        old.iter().try_for_each(|(_, _, name)| self.dir.remove_all(name))?;
        self.dir.sync()
    }

    fn attributes(&self, content: FileContent) -> Attributes {
        match content {
            FileContent::Privkey | FileContent::Bundle => self.modes.key,
            FileContent::Cert | FileContent::Chain | FileContent::Fullchain => self.modes.cert,
        }
    }
}

fn through_data(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// `name`, `name.1`, `name.2`, …
fn numbered(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((1..MAX_NAMES).map(move |number| format!("{name}.{number}")))
}

fn line(epoch: Epoch) -> String {
    format!("{epoch}\n")
}

fn recorded_epoch(dir: &Dir) -> Option<Epoch> {
    let text = dir.read(EPOCH, MAX_EPOCH).ok().flatten()?;
    std::str::from_utf8(&text).ok()?.trim_end().parse().ok().map(Epoch)
}
