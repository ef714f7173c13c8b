//! Issued certificates: `certs/NAME/gen/0007-3fa94c1b/` with `cert.pem`, `chain.pem`, `fullchain.pem`, `privkey.pem` and `about.json`.
//!
//! A generation is built aside and renamed whole. Until the gate has accepted it, `fullchain.pem` holds the certificates in the order
//! they came; acceptance puts the files right first and marks `about.json` last, so that a crash in between is judged again.

use super::{CERTS, MAX_ENTRIES, PRIVATE_DIR, PRIVATE_FILE, StateRoot, failed};
use crate::disk::{Dir, Durability, TEMPORARY};
use crate::pki::gate::{self, Expected, Origin};
use crate::pki::{self, MAX_CHAIN_BYTES, key};
use crate::ports::{About, AnyGeneration, Criteria, Download, Generations, Material, Rescued, Verdict, Violation};
use crate::types::{CertName, Class, Failure, GenId, Secret};

pub(super) const GENERATIONS: &str = "gen";
pub(super) const ABOUT: &str = "about.json";
pub(super) const CERT: &str = "cert.pem";
pub(super) const CHAIN: &str = "chain.pem";
pub(super) const FULLCHAIN: &str = "fullchain.pem";
pub(super) const PRIVKEY: &str = "privkey.pem";
/// A leaf with a hundred names makes 40 KB of `about.json`.
const MAX_ABOUT: usize = 1024 * 1024;
/// As for stored keys.
pub(super) const MAX_KEY: usize = 64 * 1024;
/// Room for the armour: the chain is stored as it was bounded when it was downloaded, re-encoded.
const MAX_PEM: usize = 2 * MAX_CHAIN_BYTES;

impl Generations for StateRoot {
    fn stage(&self, name: &CertName, download: &Download<'_>) -> Result<About, Failure> {
        let sent = pki::parse::chain(download.pem)?;
        let leaf_at = sent.iter().position(|certificate| certificate.key() == *download.key).unwrap_or(0);
        let privkey = self.key(name, download.key)?;
        let about = about(&sent[leaf_at], download, &privkey)?;
        let fullchain: String = sent.iter().map(pki::Certificate::pem).collect();
        let others = sent.iter().enumerate().filter(|(at, _)| *at != leaf_at);
        let chain: String = others.map(|(_, certificate)| certificate.pem()).collect();

        let generations = self.made(&[CERTS, name.as_str(), GENERATIONS]).map_err(failed)?;
        let id = about.generation.to_string();
        if let Ok(dir) = generations.sub(&id) {
            match read_about(&dir, about.generation) {
                Ok(stored) if stored.leaf == about.leaf && stored.key == about.key => return Ok(stored),
                _ => generations.remove_all(&id).map_err(failed)?,
            }
        }
        let files = [(CERT, sent[leaf_at].pem()), (CHAIN, chain), (FULLCHAIN, fullchain), (ABOUT, json(&about)?)];
        build(&generations, &id, &files, &privkey).map_err(failed)?;
        Ok(about)
    }

    fn judge(&self, name: &CertName, generation: GenId, criteria: &Criteria<'_>) -> Result<Verdict, Failure> {
        let dir = self.generation(name, generation)?;
        let mut about = read_about(&dir, generation)?;
        let sent = pki::parse::chain(text(&dir, FULLCHAIN, MAX_PEM)?.as_bytes())?;
        let anchors = self.roots.load(&criteria.issuer.roots)?;
        let judgement = gate::judge(
            &sent,
            &Expected {
                key: about.key,
                names: criteria.names,
                usage: criteria.usage,
                origin: Origin { directory: &criteria.issuer.directory, rehearsal: criteria.rehearsal },
                came_from: Origin { directory: &about.directory, rehearsal: about.rehearsal },
                old_serials: criteria.old_serials,
                previous_issuer: criteria.previous.map(|previous| &previous.issued_by),
                anchors: &anchors,
                now: criteria.now,
            },
        );
        if !judgement.accepted() {
            let violation = |found: gate::Violation| Violation { code: found.code.to_owned(), message: found.message };
            return Ok(Verdict::Rejected { violations: judgement.violations.into_iter().map(violation).collect() });
        }
        if about.accepted.is_none() {
            about.accepted = Some(criteria.now);
            let fullchain = format!("{}{}", judgement.cert, judgement.chain);
            let about = json(&about)?;
            let files = [(CERT, &judgement.cert), (CHAIN, &judgement.chain), (FULLCHAIN, &fullchain), (ABOUT, &about)];
            for (file, contents) in files {
                dir.replace(file, contents.as_bytes(), &PRIVATE_FILE, Durability::Synced).map_err(failed)?;
            }
        }
        Ok(Verdict::Accepted { notes: judgement.notes })
    }

    fn read(&self, name: &CertName, generation: GenId) -> Result<AnyGeneration, Failure> {
        let dir = self.generation(name, generation)?;
        let about = read_about(&dir, generation)?;
        if about.accepted.is_none() {
            return Err(missing(&dir.path().to_string_lossy(), "the gate has not accepted it"));
        }
        let [cert, chain] = [text(&dir, CERT, MAX_PEM)?, text(&dir, CHAIN, MAX_PEM)?];
        let privkey = Secret::new(text(&dir, PRIVKEY, MAX_KEY)?);
        let leaf = pki::parse::chain(cert.as_bytes()).map_err(|failure| damaged(&dir, failure.message.as_str()))?;
        if leaf.len() != 1 || leaf[0].fingerprint() != about.leaf {
            return Err(damaged(&dir, "cert.pem is not the certificate that about.json describes"));
        }
        if !key::id_of(&privkey).is_ok_and(|id| id == leaf[0].key()) {
            return Err(damaged(&dir, "privkey.pem is not the key of cert.pem"));
        }
        let mut served = vec![about.leaf];
        if !chain.is_empty() {
            let intermediates = pki::parse::chain(chain.as_bytes());
            let intermediates = intermediates.map_err(|_| damaged(&dir, "chain.pem cannot be read"))?;
            served.extend(intermediates.iter().map(pki::Certificate::fingerprint));
        }
        let path = dir.path().to_owned();
        Ok(AnyGeneration::new(about, path, Material { cert, chain, privkey, served }))
    }

    fn rescue(&self, name: &CertName, about: &About, found: &Rescued) -> Result<(), Failure> {
        self.rebuild(name, about, found)
    }

    fn list(&self, name: &CertName) -> Result<Vec<About>, Failure> {
        let Some(generations) = self.existing(&[CERTS, name.as_str(), GENERATIONS]).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in generations.names(MAX_ENTRIES).map_err(failed)? {
            let Ok(id) = entry.parse::<GenId>() else { continue };
            match generations.sub(&entry).map_err(failed).and_then(|dir| read_about(&dir, id)) {
                Ok(about) => found.push(about),
                Err(failure) => tracing::warn!(certificate = %name, generation = %id, %failure, "left out"),
            }
        }
        found.sort_by_key(|about| about.generation);
        Ok(found)
    }

    fn prune(&self, name: &CertName, generation: GenId) -> Result<(), Failure> {
        let Some(generations) = self.existing(&[CERTS, name.as_str(), GENERATIONS]).map_err(failed)? else {
            return Ok(());
        };
        let id = generation.to_string();
        if generations.stat(&id).map_err(failed)?.is_none() {
            return Ok(());
        }
        // Renamed first, so that no half of a generation is ever listed; what a kill leaves is swept later.
        let doomed = format!("{TEMPORARY}{id}");
        generations
            .remove_all(&doomed)
            .and_then(|()| generations.rename(&id, &doomed))
            .and_then(|()| generations.remove_all(&doomed))
            .and_then(|()| generations.sync())
            .map_err(failed)
    }
}

impl StateRoot {
    fn generation(&self, name: &CertName, generation: GenId) -> Result<Dir, Failure> {
        let id = generation.to_string();
        let dir = self.existing(&[CERTS, name.as_str(), GENERATIONS, &id]).map_err(failed)?;
        dir.ok_or_else(|| {
            let path = self.root.path().join(CERTS).join(name.as_str()).join(GENERATIONS).join(id);
            missing(&path.to_string_lossy(), "there is no such generation")
        })
    }
}

/// Writes a generation aside and renames it into place, durably.
pub(super) fn build(
    generations: &Dir,
    id: &str,
    files: &[(&str, String)],
    privkey: &Secret,
) -> Result<(), crate::disk::DiskError> {
    let (temporary, dir) = generations.make_temporary()?;
    let filled = || {
        dir.create(PRIVKEY, privkey.reveal().as_bytes(), &PRIVATE_FILE, Durability::Synced)?;
        for (file, contents) in files {
            dir.create(file, contents.as_bytes(), &PRIVATE_FILE, Durability::Synced)?;
        }
        dir.set_attributes(&PRIVATE_DIR)?;
        dir.sync()?;
        generations.rename(&temporary, id)
    };
    if let Err(error) = filled() {
        // Best effort: what is left is swept later, and the first error says more than a second.
        let _ = generations.remove_all(&temporary);
        return Err(error);
    }
    generations.sync()
}

fn about(leaf: &pki::Certificate, download: &Download<'_>, privkey: &Secret) -> Result<About, Failure> {
    Ok(About {
        generation: GenId::new(download.number, &leaf.fingerprint()),
        leaf: leaf.fingerprint(),
        serial: leaf.serial().clone(),
        key: *download.key,
        family: key::family_of(privkey)?,
        validity: leaf.validity(),
        names: leaf.names().to_vec(),
        ari: leaf.ari_id(),
        issued_by: leaf.issuer().clone(),
        issuer: download.issuer.name.clone(),
        directory: download.issuer.directory.clone(),
        rehearsal: download.rehearsal,
        account: download.account.to_owned(),
        spec_digest: download.spec_digest,
        accepted: None,
    })
}

pub(super) fn json(about: &About) -> Result<String, Failure> {
    serde_json::to_string_pretty(about)
        .map(|json| json + "\n")
        .map_err(|error| Failure::new(Class::Retry, "generation:damaged", ABOUT, error.to_string()))
}

fn read_about(dir: &Dir, generation: GenId) -> Result<About, Failure> {
    let about: About = serde_json::from_str(&text(dir, ABOUT, MAX_ABOUT)?)
        .map_err(|error| damaged(dir, &format!("about.json: {error}")))?;
    let itself = about.generation == generation && GenId::new(generation.number(), &about.leaf) == generation;
    if itself { Ok(about) } else { Err(damaged(dir, "about.json describes another generation")) }
}

pub(super) fn text(dir: &Dir, file: &str, limit: usize) -> Result<String, Failure> {
    let contents = dir.read(file, limit).map_err(failed)?.ok_or_else(|| damaged(dir, &format!("{file} is missing")))?;
    String::from_utf8(contents).map_err(|_| damaged(dir, &format!("{file} is not text")))
}

fn missing(place: &str, why: &str) -> Failure {
    Failure::new(Class::Operator, "generation:missing", place, why)
}

pub(super) fn damaged(dir: &Dir, why: &str) -> Failure {
    Failure::new(Class::Operator, "generation:damaged", dir.path().to_string_lossy(), why).advise(
        "what is published is not touched; `everleaf renew NAME --force` issues another, or put it back from a backup",
    )
}

#[cfg(test)]
mod tests;
