//! What the state has lost, put back from the copies that lie elsewhere: a key from a generation, a generation from what is
//! published. Nothing is taken on trust: keys and leaves are known by their digests.

use super::generations::{ABOUT, CERT, CHAIN, FULLCHAIN, GENERATIONS, MAX_KEY, PRIVKEY, build, damaged, json, text};
use super::{CERTS, MAX_ENTRIES, StateRoot, failed};
use crate::pki::chain::{Link, link};
use crate::pki::{self, Certificate, key};
use crate::ports::{About, Rescued};
use crate::types::{CertName, Failure, GenId, KeyId, Secret};

/// What a damaged generation's directory is renamed to: its key may be the only copy of something.
const DAMAGED: &str = "damaged-";

impl StateRoot {
    /// The key `id` from whichever generation has it, damaged ones too.
    pub(super) fn key_of_a_generation(&self, name: &CertName, id: &KeyId) -> Option<Secret> {
        let generations = self.existing(&[CERTS, name.as_str(), GENERATIONS]).ok().flatten()?;
        let mut entries = generations.names(MAX_ENTRIES).ok()?.into_iter();
        entries.find_map(|entry| {
            let pem = text(&generations.sub(&entry).ok()?, PRIVKEY, MAX_KEY).ok().map(Secret::new)?;
            key::id_of(&pem).is_ok_and(|found| found == *id).then_some(pem)
        })
    }

    /// Builds the generation of `about` anew from `found`; what is left of the old one is kept aside.
    pub(super) fn rebuild(&self, name: &CertName, about: &About, found: &Rescued) -> Result<(), Failure> {
        let generations = self.made(&[CERTS, name.as_str(), GENERATIONS]).map_err(failed)?;
        let refuse = |why: &str| Err(damaged(&generations, why));
        let sent = pki::parse::chain([found.cert.as_str(), &found.chain].concat().as_bytes())?;
        if sent.first().map(Certificate::fingerprint) != Some(about.leaf) {
            return refuse("what is published is another certificate");
        }
        if !sent.windows(2).all(|pair| link(&pair[0], &pair[1]) == Link::Issued) {
            return refuse("what is published has another chain");
        }
        let matches = |pem: &Secret| key::id_of(pem).is_ok_and(|id| id == about.key);
        let privkey = found.privkey.clone().filter(matches);
        let privkey = privkey.map_or_else(|| self.key(name, &about.key), Ok)?;
        let id = about.generation.to_string();
        if generations.stat(&id).map_err(failed)?.is_some() {
            generations.rename(&id, &free_name(&generations, about.generation)?).map_err(failed)?;
        }
        let fullchain = [found.cert.as_str(), &found.chain].concat();
        let files =
            [(CERT, found.cert.clone()), (CHAIN, found.chain.clone()), (FULLCHAIN, fullchain), (ABOUT, json(about)?)];
        build(&generations, &id, &files, &privkey).map_err(failed)
    }
}

/// A name that nothing has yet, for what is left of a generation.
fn free_name(generations: &crate::disk::Dir, id: GenId) -> Result<String, Failure> {
    let taken = generations.names(MAX_ENTRIES).map_err(failed)?;
    let names = (1_usize..).map(|number| format!("{DAMAGED}{id}.{number}"));
    let free = names.take(taken.len() + 1).find(|name| !taken.contains(name));
    free.ok_or_else(|| damaged(generations, "no name is free for what is left of it"))
}
