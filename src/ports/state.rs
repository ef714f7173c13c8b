//! What must be remembered: journals, locks, keys, accounts, and what may be forgotten.

use super::Pending;
use crate::config::spec::KeyAlgorithm;
use crate::types::{
    CertName, Failure, Identifier, IssuerName, KeyId, NodeName, Printable, RequestId, Secret, Seq, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A journal's owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One certificate: `certs/NAME/journal.jsonl`.
    Certificate(CertName),
    /// What an issuer's certificates share: `issuers/NAME/journal.jsonl`.
    Issuer(IssuerName),
    /// What a node's certificates share: `nodes/NAME/journal.jsonl`.
    Node(NodeName),
}

/// One durable event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the journal; the first has 1.
    pub seq: Seq,
    /// When it was written.
    pub at: Timestamp,
    /// The event, in the owner's own vocabulary.
    pub event: serde_json::Value,
}

/// What a journal held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// The records after the sequence number asked for, in order.
    pub records: Vec<Record>,
    /// Whether the journal was damaged beyond a torn last line, and was set aside: the ledger must be rebuilt.
    pub set_aside: Option<PathBuf>,
    /// Whether a compaction has replaced records the caller had already seen: load again from 0.
    pub restarted: bool,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended: load, plan again.
    #[error("the journal has moved on to {0}")]
    Stale(Seq),
    /// It could not be made durable. Stop acting on this scope.
    #[error("{0}")]
    Failed(Failure),
}

/// Durable, ordered events.
pub trait Journal {
    /// The records after `after`. A torn last line is dropped and cut off; other damage sets the journal aside.
    ///
    /// # Errors
    /// A [`Failure`] with code `state:newer` when a newer everleaf wrote it (exit 78), or the I/O error.
    fn load(&self, scope: &Scope, after: Seq) -> Result<Loaded, Failure>;
    /// Appends `events`, all or nothing, and syncs, if the last record is still `expect`. Answers the new last number.
    ///
    /// # Errors
    /// [`AppendError`].
    fn append(
        &self,
        scope: &Scope,
        expect: Seq,
        at: Timestamp,
        events: &[serde_json::Value],
    ) -> Result<Seq, AppendError>;
    /// Replaces everything up to `expect` by one `snapshot` event with the same number. Readers behind it see `restarted`.
    ///
    /// # Errors
    /// [`AppendError`].
    fn compact(
        &self,
        scope: &Scope,
        expect: Seq,
        at: Timestamp,
        snapshot: &serde_json::Value,
    ) -> Result<(), AppendError>;
    /// The certificates that have a journal, also those no longer configured.
    ///
    /// # Errors
    /// The I/O error.
    fn certificates(&self) -> Result<Vec<CertName>, Failure>;
}

/// Held while it lives; released by the kernel when the process dies.
pub trait LockGuard {}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// Its command line, cut.
    pub command: Printable,
}

/// A lock that could not be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LockError {
    /// Somebody has it. `None` when the holder could not be read in that instant.
    #[error("held by another process")]
    Held(Option<Holder>),
    /// It cannot be locked at all.
    #[error("{0}")]
    Failed(Failure),
}

/// Kernel locks, one a certificate.
pub trait Locks {
    /// Takes `name`'s lock without waiting.
    ///
    /// # Errors
    /// [`LockError`].
    fn try_lock(&self, name: &CertName) -> Result<Box<dyn LockGuard>, LockError>;
}

/// A request that a command dropped: `certs/NAME/requests/ID.json`. `ask` is in the core's vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which request.
    pub id: RequestId,
    /// Who asked: the user and command.
    pub by: Printable,
    /// What for.
    pub ask: serde_json::Value,
}

/// What can be lost at the price of one more look: sightings, the index, the status file; and requests, which cannot.
pub trait Memory {
    /// The certificate's `seen.json`; nothing when it is missing or unreadable.
    fn seen(&self, name: &CertName) -> Option<serde_json::Value>;
    /// Writes `seen.json` by rename, without fsync. Failing costs one more look; it is logged and forgotten.
    fn remember(&self, name: &CertName, seen: &serde_json::Value);
    /// The run index.
    fn index(&self) -> Option<serde_json::Value>;
    /// Writes the run index by rename, without fsync.
    fn set_index(&self, index: &serde_json::Value);
    /// The requests waiting for a certificate, oldest first. Malformed ones are removed and logged.
    fn requests(&self, name: &CertName) -> Vec<Request>;
    /// Drops a request for whoever holds the lock (temp + rename).
    ///
    /// # Errors
    /// The I/O error.
    fn drop_request(&self, name: &CertName, request: &Request) -> Result<(), Failure>;
    /// Removes a request that is in the journal.
    fn request_journaled(&self, name: &CertName, id: &RequestId);
    /// 32 random octets made once for this installation: what spreads a fleet's renewals.
    ///
    /// # Errors
    /// The I/O error.
    fn install_seed(&self) -> Result<[u8; 32], Failure>;
}

/// What is kept of an account, so that a CA's account is registered once and found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// The directory it belongs to.
    pub directory: String,
    /// Its private key: PKCS#8 DER in base64url without padding.
    pub key_pkcs8: Secret,
    /// Its URL; `None` until the CA's reply to the registration is known.
    pub url: Option<String>,
}

/// ACME accounts: `accounts/ISSUER/credentials.json`, 0600. The key is durable before any request signed with it.
pub trait AccountStore {
    /// What is kept for `issuer` at the directory with this URL.
    ///
    /// # Errors
    /// The I/O error; code `account:damaged` when something is there that cannot be read: never register anew over it.
    fn load(&self, issuer: &IssuerName, directory: &str) -> Result<Option<StoredAccount>, Failure>;
    /// Keeps `account`, durably. An account of another directory under the same issuer name stays beside it.
    ///
    /// # Errors
    /// The I/O error; code `account:other_key` when another key is already kept for this directory.
    fn save(&self, issuer: &IssuerName, account: &StoredAccount) -> Result<(), Failure>;
    /// The URL of an account that must have been kept for this directory once: certificates here were ordered with it.
    fn ordered_before(&self, directory: &str) -> Option<String>;
}

/// Private keys and the requests signed with them. A key is on disk, synced, before anybody hears its name.
pub trait Keys {
    /// Makes a key and stores it, 0600 from its first instant.
    fn make(&self, name: &CertName, algorithm: KeyAlgorithm) -> Pending<'_, Result<KeyId, Failure>>;
    /// A CSR (DER) for `names`, signed with a stored key.
    ///
    /// # Errors
    /// A [`Failure`] with code `key:missing` when the key is not there.
    fn csr(&self, name: &CertName, key: &KeyId, names: &[Identifier]) -> Result<Vec<u8>, Failure>;
    /// Removes a key that no generation uses. Absent is done.
    ///
    /// # Errors
    /// The I/O error.
    fn discard(&self, name: &CertName, key: &KeyId) -> Result<(), Failure>;
}
