//! Issued certificates, from download to what may be deployed.

use crate::config::spec::{Issuer, Usage};
use crate::types::{
    CertName, Digest, Failure, Fingerprint, GenId, Identifier, IssuerName, KeyFamily, KeyId, Printable, Secret, Serial,
    Timestamp, Window,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::path::PathBuf;

/// Issued by the configured production directory.
#[derive(Debug, Clone, Copy)]
pub enum Production {}
/// Issued in a rehearsal. No [`Deployer`](super::Deployer) takes it.
#[derive(Debug, Clone, Copy)]
pub enum Rehearsed {}

/// What `about.json` says of a generation: enough to rebuild a ledger from generations alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Which generation.
    pub generation: GenId,
    /// The leaf.
    pub leaf: Fingerprint,
    /// Its serial number.
    pub serial: Serial,
    /// Its key.
    pub key: KeyId,
    /// The key's family.
    pub family: KeyFamily,
    /// The leaf's validity.
    pub validity: Window,
    /// The names in it.
    pub names: Vec<Identifier>,
    /// ARI certificate id (RFC 9773 §4.1), when the leaf has an authority key identifier.
    pub ari: Option<String>,
    /// The issuing certificate's subject, for people.
    pub issued_by: Printable,
    /// The issuer in the configuration.
    pub issuer: IssuerName,
    /// The directory it came from.
    pub directory: String,
    /// Whether that directory was a rehearsal's.
    pub rehearsal: bool,
    /// The account that ordered it: `replaces` is refused across accounts.
    pub account: String,
    /// What it was ordered for.
    pub spec_digest: Digest,
    /// When it was accepted by the gate; `None` while staged or rejected.
    #[serde(default)]
    pub accepted: Option<Timestamp>,
}

/// An accepted generation with its bytes. `E` says where it came from: only `Generation<Production>` can be deployed.
#[derive(Debug, Clone)]
pub struct Generation<E> {
    /// What it is.
    pub about: About,
    /// Its directory, with `cert.pem`, `chain.pem`, `fullchain.pem` and `privkey.pem`.
    pub dir: PathBuf,
    /// The leaf, PEM.
    pub cert: String,
    /// The intermediates, PEM, leaf's issuer first; no root.
    pub chain: String,
    /// The key, PKCS#8 PEM.
    pub privkey: Secret,
    /// The certificates a server must send, leaf first, by fingerprint.
    pub served: Vec<Fingerprint>,
    environment: PhantomData<E>,
}

impl<E> Generation<E> {
    /// The same bytes whatever the environment; callers check `about.rehearsal` first.
    fn assume(about: About, dir: PathBuf, material: Material) -> Self {
        let Material { cert, chain, privkey, served } = material;
        Self { about, dir, cert, chain, privkey, served, environment: PhantomData }
    }

    /// Leaf and intermediates, PEM.
    #[must_use]
    pub fn fullchain(&self) -> String {
        format!("{}{}", self.cert, self.chain)
    }

    /// Key, leaf, intermediates in that order: what HAProxy and Postfix read.
    #[must_use]
    pub fn bundle(&self) -> Secret {
        Secret::new(format!("{}{}{}", self.privkey.reveal(), self.cert, self.chain))
    }
}

/// A generation's bytes.
#[derive(Debug, Clone)]
pub struct Material {
    /// The leaf, PEM.
    pub cert: String,
    /// The intermediates, PEM, leaf's issuer first; no root.
    pub chain: String,
    /// The key, PKCS#8 PEM.
    pub privkey: Secret,
    /// The fingerprints of leaf and intermediates, in order.
    pub served: Vec<Fingerprint>,
}

/// A generation read back, in one environment or the other.
#[derive(Debug, Clone)]
pub enum AnyGeneration {
    /// May be deployed.
    Production(Generation<Production>),
    /// May not.
    Rehearsed(Generation<Rehearsed>),
}

impl AnyGeneration {
    /// Sorts a generation by what its `about` says.
    #[must_use]
    pub fn new(about: About, dir: PathBuf, material: Material) -> Self {
        if about.rehearsal {
            Self::Rehearsed(Generation::assume(about, dir, material))
        } else {
            Self::Production(Generation::assume(about, dir, material))
        }
    }
}

/// What a downloaded chain is stored with.
#[derive(Debug, Clone)]
pub struct Download<'a> {
    /// The number the new generation gets.
    pub number: u32,
    /// What the CA sent, at most 256 KiB.
    pub pem: &'a [u8],
    /// The key it was ordered with.
    pub key: &'a KeyId,
    /// Who issued it.
    pub issuer: &'a Issuer,
    /// Whether this is a rehearsal.
    pub rehearsal: bool,
    /// The account that ordered it.
    pub account: &'a str,
    /// What it was ordered for.
    pub spec_digest: Digest,
}

/// What the gate holds a generation against.
#[derive(Debug, Clone)]
pub struct Criteria<'a> {
    /// The names ordered.
    pub names: &'a [Identifier],
    /// What it must be good for.
    pub usage: Usage,
    /// Who issued it, with the roots it must chain to.
    pub issuer: &'a Issuer,
    /// Whether this is a rehearsal: a production spec refuses a rehearsal's generation and the reverse.
    pub rehearsal: bool,
    /// Serial numbers it must not have: those of all earlier generations.
    pub old_serials: &'a [Serial],
    /// The generation before, to note a changed issuer.
    pub previous: Option<&'a About>,
    /// The time to judge at.
    pub now: Timestamp,
}

/// One thing wrong with a downloaded chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// A stable word, such as `san_missing`, `key_mismatch`, `missing_intermediate` (the gate's table has them all).
    pub code: String,
    /// One sentence with the particulars.
    pub message: Printable,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be published.
    Accepted {
        /// What people should know: a dropped root, a changed issuer, unchecked trust.
        notes: Vec<Printable>,
    },
    /// It may not.
    Rejected {
        /// Everything wrong with it, not only the first thing.
        violations: Vec<Violation>,
    },
}

/// What is published of a generation, to put back what the state has lost.
#[derive(Debug, Clone)]
pub struct Rescued {
    /// The leaf, PEM.
    pub cert: String,
    /// The intermediates, PEM.
    pub chain: String,
    /// The key, PEM, when it can be read there.
    pub privkey: Option<Secret>,
}

/// Issued certificates on disk: `certs/NAME/gen/ID/`.
pub trait Generations {
    /// Parses what came and stores it aside as a staged generation, durably. Storing the same bytes again is done.
    ///
    /// # Errors
    /// Class `Operator` and code `gate:unreadable` when no leaf can be read from it: there is nothing to judge.
    fn stage(&self, name: &CertName, download: &Download<'_>) -> Result<About, Failure>;
    /// The gate. An accepted generation has its chain put right (root dropped) and its acceptance stored, durably.
    ///
    /// # Errors
    /// I/O errors; a bad chain is a [`Verdict`], not an error.
    fn judge(&self, name: &CertName, generation: GenId, criteria: &Criteria<'_>) -> Result<Verdict, Failure>;
    /// An accepted generation's bytes.
    ///
    /// # Errors
    /// Code `generation:missing` or `generation:damaged`.
    fn read(&self, name: &CertName, generation: GenId) -> Result<AnyGeneration, Failure>;
    /// Builds the generation of `about` anew from what is published of it. What is left of the damaged one is kept aside.
    ///
    /// # Errors
    /// Code `generation:damaged` when what was found is another certificate, or its key is nowhere; or the I/O error.
    fn rescue(&self, name: &CertName, about: &About, found: &Rescued) -> Result<(), Failure>;
    /// What is stored, oldest first; damaged directories are left out and logged.
    ///
    /// # Errors
    /// The I/O error.
    fn list(&self, name: &CertName) -> Result<Vec<About>, Failure>;
    /// Removes a generation. Absent is done.
    ///
    /// # Errors
    /// The I/O error.
    fn prune(&self, name: &CertName, generation: GenId) -> Result<(), Failure>;
}
