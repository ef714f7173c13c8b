//! What can be looked up again (`seen.json`, `index.json`), requests, and the installation's seed.

use super::{CERTS, MAX_ENTRIES, PRIVATE_FILE, StateRoot, failed};
use crate::disk::{Dir, DiskError, Durability, TEMPORARY};
use crate::ports::{Memory, Request};
use crate::types::{CertName, Class, Failure, RequestId};
use aws_lc_rs::rand;
use nix::errno::Errno;
use serde_json::Value;

/// The largest `seen.json` or `index.json`: ten thousand endpoints or certificates have room.
const MAX_MEMORY: usize = 16 * 1024 * 1024;
/// A request is a few hundred bytes.
const MAX_REQUEST: usize = 64 * 1024;
const SEEN: &str = "seen.json";
const INDEX: &str = "index.json";
const REQUESTS: &str = "requests";
const SEED: &str = "seed";
const SEED_OCTETS: usize = 32;

impl Memory for StateRoot {
    fn seen(&self, name: &CertName) -> Option<Value> {
        recall(&self.existing(&[CERTS, name.as_str()]).ok().flatten()?, SEEN)
    }

    fn remember(&self, name: &CertName, seen: &Value) {
        let written = self.made(&[CERTS, name.as_str()]).and_then(|dir| keep(&dir, SEEN, seen));
        if let Err(error) = written {
            tracing::warn!(certificate = %name, %error, "sightings are not kept; they are looked up again");
        }
    }

    fn index(&self) -> Option<Value> {
        recall(&self.root, INDEX)
    }

    fn set_index(&self, index: &Value) {
        self.sweep_dir(&self.root);
        if let Err(error) = keep(&self.root, INDEX, index) {
            tracing::warn!(%error, "the index is not kept; the next run reads every journal");
        }
    }

    fn requests(&self, name: &CertName) -> Vec<Request> {
        let Ok(Some(dir)) = self.existing(&[CERTS, name.as_str(), REQUESTS]) else { return Vec::new() };
        let mut requests = Vec::new();
        for file in dir.names(MAX_ENTRIES).unwrap_or_default() {
            if file.starts_with(TEMPORARY) {
                continue;
            }
            let Ok(Some(found)) = dir.stat(&file) else { continue };
            match request(&dir, &file) {
                Ok(Some(request)) => requests.push(((found.st_mtime, found.st_mtime_nsec), request)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(request = %dir.path().join(&file).display(), error, "removing a malformed request");
                    let _ = dir.remove_all(&file);
                }
            }
        }
        requests.sort_by(|(at, one), (then, other)| at.cmp(then).then_with(|| one.id.cmp(&other.id)));
        requests.into_iter().map(|(_, request)| request).collect()
    }

    fn drop_request(&self, name: &CertName, request: &Request) -> Result<(), Failure> {
        let json = serde_json::to_vec(request)
            .map_err(|error| Failure::new(Class::Spec, "state:request", request.id.to_string(), error.to_string()))?;
        let dir = self.made(&[CERTS, name.as_str(), REQUESTS]).map_err(failed)?;
        dir.replace(&file_name(&request.id), &json, &PRIVATE_FILE, Durability::Synced).map_err(failed)
    }

    fn request_journaled(&self, name: &CertName, id: &RequestId) {
        let Ok(Some(dir)) = self.existing(&[CERTS, name.as_str(), REQUESTS]) else { return };
        // Left behind, it is found again under the same id, which the ledger knows.
        if let Err(error) = dir.remove(&file_name(id)).and_then(|()| dir.sync()) {
            tracing::warn!(certificate = %name, %error, "a journaled request could not be removed");
        }
    }

    fn install_seed(&self) -> Result<[u8; SEED_OCTETS], Failure> {
        if let Some(seed) = self.stored_seed()? {
            return Ok(seed);
        }
        // Two first runs must agree on one seed.
        let _lock = self.root.lock().map_err(failed)?;
        if let Some(seed) = self.stored_seed()? {
            return Ok(seed);
        }
        let mut seed = [0; SEED_OCTETS];
        rand::fill(&mut seed)
            .map_err(|_| Failure::new(Class::Retry, "state:random", "the system's random source", "it gave nothing"))?;
        let text = format!("{}\n", data_encoding::HEXLOWER.encode(&seed));
        self.root.replace(SEED, text.as_bytes(), &PRIVATE_FILE, Durability::Synced).map_err(failed)?;
        Ok(seed)
    }
}

impl StateRoot {
    /// Does `work`, which reads the index or the status and writes it anew, while no other process does. Both can be lost: where
    /// the lock cannot be had (its holder is stopped, the disk has none), it is done all the same.
    pub fn exclusively<T>(&self, work: impl FnOnce() -> T) -> T {
        let lock = self.root.lock();
        if let Err(error) = &lock {
            tracing::debug!(%error, "the index is written without its lock");
        }
        work()
    }

    /// What changes whenever somebody asks for something or has worked on a certificate: all of them write the index.
    pub fn bell(&self) -> Option<(u64, i64, i64)> {
        let found = self.root.stat(INDEX).ok().flatten()?;
        Some((found.st_ino, found.st_mtime, found.st_mtime_nsec))
    }

    /// The seed; a damaged one counts as none, for another spread of renewals harms nobody.
    fn stored_seed(&self) -> Result<Option<[u8; SEED_OCTETS]>, Failure> {
        let text = self.root.read(SEED, 4 * SEED_OCTETS).map_err(failed)?;
        let octets = text.and_then(|text| data_encoding::HEXLOWER.decode(text.trim_ascii_end()).ok());
        Ok(octets.and_then(|octets| octets.try_into().ok()))
    }
}

fn recall(dir: &Dir, name: &str) -> Option<Value> {
    serde_json::from_slice(&dir.read(name, MAX_MEMORY).ok().flatten()?).ok()
}

fn keep(dir: &Dir, name: &str, value: &Value) -> Result<(), DiskError> {
    dir.replace(name, value.to_string().as_bytes(), &PRIVATE_FILE, Durability::Losable)
}

fn file_name(id: &RequestId) -> String {
    format!("{id}.json")
}

/// The request in a file; nothing when it cannot be read just now. An error is a reason to remove it: what it holds is no request.
fn request(dir: &Dir, file: &str) -> Result<Option<Request>, String> {
    let json = match dir.read(file, MAX_REQUEST) {
        Ok(Some(json)) => json,
        Ok(None) => return Ok(None),
        Err(error) if matches!(error.errno(), Errno::EFBIG | Errno::EINVAL | Errno::EISDIR | Errno::ELOOP) => {
            return Err(error.to_string());
        }
        Err(error) => {
            tracing::warn!(%error, "a request waits until it can be read");
            return Ok(None);
        }
    };
    let request: Request = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if file_name(&request.id) == file { Ok(Some(request)) } else { Err("its name is not its id".to_owned()) }
}
