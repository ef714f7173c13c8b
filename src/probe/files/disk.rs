//! What lies on this machine's disk for a service: a live directory or a pair of files, with what could go wrong at the next
//! reload, and whether the service's own configuration loads just these.

use super::access::{Reader, Walk};
use super::{Presented, present, read};
use crate::probe::configured::{Loads, haproxy, nginx};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::{Failure, Identifier};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Files of one directory that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Files that are named in a message.
const NAMED: usize = 4;

/// Which files are published for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A live directory.
    Live(PathBuf),
    /// A chain and its key.
    Pair {
        /// The leaf and its intermediates.
        fullchain: PathBuf,
        /// The key, when it was named.
        key: Option<PathBuf>,
    },
}

/// What was found on the disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The certificates and what is wrong with their files.
    pub presented: Presented,
    /// What the service's own configuration loads instead.
    pub elsewhere: Option<Elsewhere>,
}

/// Files that a service's configuration loads, none of which are those published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which part of which configuration says so.
    pub place: String,
    /// What is loaded and what is published, in words.
    pub what: String,
}

impl Disk {
    /// Reads what lies there. `reader` is the user the service reads as, `loads` what its configuration loads.
    ///
    /// # Errors
    /// Class `Operator`, code `files:…`: a file cannot be read for want of our own rights, or is none.
    pub fn read(source: &Source, reader: Option<&Reader>, loads: &[Loads]) -> Result<Self, Failure> {
        let mut presented = match source {
            Source::Live(dir) if fs::symlink_metadata(dir).is_err() => {
                let seen = format!("{} is not there", dir.display());
                Presented { findings: vec![Finding::new(Label::DiskFileMissing, seen)], ..Presented::default() }
            }
            _ => match source.present() {
                Err(failure)
                    if ["files:no_leaf", "files:no_live", "files:several"].contains(&failure.code.as_str()) =>
                {
                    let seen = format!("{}: {}", failure.place, failure.message);
                    Presented { findings: vec![Finding::new(Label::DiskFileCorrupt, seen)], ..Presented::default() }
                }
                other => other?,
            },
        };
        presented.published = true;
        if let Some(why) = reader.and_then(|reader| source.keys().iter().find_map(|key| reader.obstacle(key))) {
            presented.findings.push(Finding::new(Label::DiskKeyUnreadable, why));
        }
        let elsewhere = loads.iter().find_map(|loads| source.elsewhere(loads));
        Ok(Self { presented, elsewhere })
    }
}

impl Source {
    /// The files; without their key where we may not read it, which says nothing about the service.
    fn present(&self) -> Result<Presented, Failure> {
        let (whole, chain) = match self {
            Self::Live(dir) => (vec![dir.clone()], dir.join("fullchain.pem")),
            Self::Pair { fullchain, key } => {
                (std::iter::once(fullchain).chain(key).cloned().collect(), fullchain.clone())
            }
        };
        match present(&whole) {
            Err(failure) if failure.code == "files:unreadable" => present(&[chain]),
            other => other,
        }
    }

    /// Every file that counts as published.
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Live(dir) => super::live::files().map(|name| dir.join(name)).collect(),
            Self::Pair { fullchain, key } => std::iter::once(fullchain).chain(key).cloned().collect(),
        }
    }

    /// Those that hold a key: the service reads one of them.
    fn keys(&self) -> Vec<PathBuf> {
        match self {
            Self::Live(dir) => vec![dir.join("privkey.pem")],
            Self::Pair { key: Some(key), .. } => vec![key.clone()],
            Self::Pair { fullchain, key: None } => vec![fullchain.clone()],
        }
    }

    /// What `loads` names, when nothing of it, or not its key, is published.
    fn elsewhere(&self, loads: &Loads) -> Option<Elsewhere> {
        let published: Vec<Published> = self.files().iter().filter_map(|path| Published::of(path)).collect();
        // What is not there cannot be held against anything, and is told as missing.
        if published.is_empty() {
            return None;
        }
        let is_one = |path: &PathBuf| published.iter().any(|it| it.is(path));
        let mut certificates: Vec<PathBuf> = loads.certificates.iter().flat_map(|path| entries(path)).collect();
        for list in &loads.lists {
            certificates.extend(listed(list)?);
        }
        let own = |path: &&PathBuf| !is_one(path);
        let strays: Vec<&PathBuf> = if certificates.iter().any(is_one) {
            // The certificate is ours; a key from elsewhere will not belong to the next one.
            let key = loads.keys.iter().any(is_one) || loads.keys.is_empty() || loads.certificates.len() > 1;
            if key { Vec::new() } else { loads.keys.iter().filter(own).collect() }
        } else {
            certificates.iter().collect()
        };
        if strays.is_empty() {
            return None;
        }
        let mut names: Vec<String> = strays.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        names.extend((strays.len() > NAMED).then(|| format!("{} more", strays.len() - NAMED)));
        let here = self.files().first().map(|path| path.display().to_string()).unwrap_or_default();
        Some(Elsewhere { place: loads.place.clone(), what: format!("loads {}, and not {here}", names.join(", ")) })
    }
}

/// A published file, and the links in its directory that the next publication turns.
struct Published {
    end: PathBuf,
    switches: Vec<PathBuf>,
}

impl Published {
    fn of(path: &Path) -> Option<Self> {
        let walk = Walk::of(path)?;
        let dir = Walk::of(path.parent()?)?.end;
        let switches = walk.links.into_iter().filter(|link| link.parent() == Some(&dir)).collect();
        Some(Self { end: walk.end, switches })
    }

    /// Whether `path` is this file, now and after the next publication: a path past the link that is turned is not.
    fn is(&self, path: &Path) -> bool {
        Walk::of(path).is_some_and(|walk| {
            let turned = self.switches.is_empty() || walk.links.iter().any(|link| self.switches.contains(link));
            walk.end == self.end && turned
        })
    }
}

/// The file, or all files of the directory that HAProxy would load.
fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(dir) = fs::read_dir(path) else { return vec![path.to_owned()] };
    let names = dir.take(MAX_ENTRIES).flatten().map(|entry| entry.file_name());
    names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).map(|name| path.join(name)).collect()
}

/// The files of a list; nothing when it cannot be read.
fn listed(path: &Path) -> Option<Vec<PathBuf>> {
    let Ok(read::Read::File { text, .. }) = read::read(path) else { return None };
    let files = haproxy::list(&String::from_utf8_lossy(&text));
    files.iter().all(|path| path.is_absolute()).then_some(files)
}

/// A service on this machine: what is published for it, who it reads as, and what its configuration says.
#[derive(Debug, Clone)]
pub struct Service {
    /// What is published for it.
    pub source: Source,
    /// The user it reads keys as; none for root, as nginx and HAProxy do.
    pub reader: Option<Reader>,
    /// What `nginx -T` printed.
    pub nginx: Option<String>,
    /// HAProxy's configuration, or its answer to `show ssl cert`.
    pub haproxy: Option<String>,
}

impl Service {
    /// Reads what lies there for `name` at `addresses`.
    ///
    /// # Errors
    /// As [`Disk::read`].
    pub fn read(&self, name: &Identifier, addresses: &[SocketAddr]) -> Result<Disk, Failure> {
        let mut loads: Vec<Loads> = Vec::new();
        for address in addresses {
            let said = self.nginx.as_ref().and_then(|dump| nginx::loads(dump, Some(name), *address));
            let proxied = |text: &String| haproxy::listed(text).or_else(|| haproxy::loads(text, address.port()));
            loads.extend(said);
            loads.extend(self.haproxy.as_ref().and_then(proxied));
        }
        Disk::read(&self.source, self.reader.as_ref(), &loads)
    }
}
