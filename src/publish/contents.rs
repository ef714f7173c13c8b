//! The five files of a generation.

use crate::config::spec::FileContent;
use crate::types::{GenId, Secret};

/// A generation's parts, PEM, each ending in a line feed.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Which generation.
    pub generation: GenId,
    /// The leaf.
    pub cert: &'a str,
    /// The intermediates, the leaf's issuer first.
    pub chain: &'a str,
    /// The key.
    pub privkey: &'a Secret,
}

/// Names, in the order they are written: keys first, while the directory is still private.
pub(super) const NAMES: [(&str, FileContent); 5] = [
    ("privkey.pem", FileContent::Privkey),
    ("bundle.pem", FileContent::Bundle),
    ("cert.pem", FileContent::Cert),
    ("chain.pem", FileContent::Chain),
    ("fullchain.pem", FileContent::Fullchain),
];

/// What each file holds. Wiped when dropped, for some of it is key.
pub(super) struct Contents {
    cert: Secret,
    chain: Secret,
    fullchain: Secret,
    privkey: Secret,
    bundle: Secret,
}

impl Contents {
    pub(super) fn of(files: &Files<'_>) -> Self {
        Self::new(files.cert, files.chain, files.privkey)
    }

    pub(super) fn new(cert: &str, chain: &str, privkey: &Secret) -> Self {
        Self {
            cert: Secret::new(cert.to_owned()),
            chain: Secret::new(chain.to_owned()),
            fullchain: Secret::new([cert, chain].concat()),
            privkey: privkey.clone(),
            bundle: Secret::new([privkey.reveal(), cert, chain].concat()),
        }
    }

    pub(super) fn bytes(&self, content: FileContent) -> &[u8] {
        match content {
            FileContent::Cert => &self.cert,
            FileContent::Chain => &self.chain,
            FileContent::Fullchain => &self.fullchain,
            FileContent::Privkey => &self.privkey,
            FileContent::Bundle => &self.bundle,
        }
        .reveal()
        .as_bytes()
    }
}
