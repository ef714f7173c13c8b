//! What everleaf asks of the world, as small traits by role.
//!
//! The agent knows these and nothing behind them; `wire` chooses what stands behind each. Adapters implement one trait,
//! know no other adapter, and never see facts. The simulation implements all of them over a synchronous world.
//!
//! Contract for every adapter: look, act, look again (an effect that is already done succeeds and says so); bounded waits on
//! the monotonic clock; a failure is a [`Failure`] sorted by what to do next; dropping a future stops its work.

use crate::config::spec::{Certificate, Endpoint, Issuer, KeyAlgorithm, Node, Notifier, Solver, Usage};
use crate::types::{
    CertName, Digest, Epoch, Failure, Fingerprint, GenId, Identifier, IssuerName, KeyFamily, KeyId, NodeName,
    Printable, RequestId, Secret, Seq, Serial, Timestamp, Window,
};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// Work under way. Everything runs on one thread, so nothing need be `Send`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

// ---------------------------------------------------------------------------------------------------------------- time

/// The only clock.
pub trait Clock {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Waits on the monotonic clock.
    fn sleep(&self, span: Duration) -> Pending<'_, ()>;
}

// --------------------------------------------------------------------------------------------------------------- state

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

/// What is kept of an account, so that a CA's account is registered once and found again (invariant I7).
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

// --------------------------------------------------------------------------------------------------------- generations

/// Issued by the configured production directory.
#[derive(Debug, Clone, Copy)]
pub enum Production {}
/// Issued in a rehearsal. No [`Deployer`] takes it.
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

// ------------------------------------------------------------------------------------------------------------------ CA

/// An account at a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its URL.
    pub url: String,
    /// RFC 7638 thumbprint of its key: what a stateless http-01 rule answers with.
    pub thumbprint: String,
}

/// An order to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Its identifiers.
    pub names: Vec<Identifier>,
    /// Its profile, when the CA has profiles.
    pub profile: Option<String>,
    /// ARI id of the certificate it replaces (RFC 9773 §5). Dropped once by the adapter when the CA refuses it.
    pub replaces: Option<String>,
}

/// Where an order stands (RFC 8555 §7.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// A CSR may be submitted.
    Ready,
    /// The CA is issuing.
    Processing,
    /// The certificate is there.
    Valid,
    /// It failed, with the order's and its challenges' errors.
    Invalid(Failure),
}

/// An order as the CA shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLook {
    /// Its URL.
    pub url: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// When the CA gives it up.
    pub expires: Option<Timestamp>,
    /// When the CA wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether `replaces` was refused and the order opened without it.
    pub replaces_dropped: bool,
}

/// A challenge that was offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// `http-01`, `dns-01`, …; unknown kinds are kept and ignored.
    pub kind: String,
    /// Its URL.
    pub url: String,
    /// Its token, already checked to be base64url.
    pub token: String,
    /// `TOKEN.THUMBPRINT` (RFC 8555 §8.1).
    pub key_authorization: String,
}

/// An authorization of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// For which identifier, `*.` included.
    pub identifier: Identifier,
    /// Already valid: nothing to prove.
    pub valid: bool,
    /// What was offered.
    pub challenges: Vec<Challenge>,
}

/// What the CA suggests (RFC 9773 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalInfo {
    /// When to renew.
    pub window: Window,
    /// When to ask again, clamped to a minute … a day.
    pub retry_after: Duration,
    /// A page for the operator.
    pub explanation: Option<Printable>,
}

/// What a directory offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// Whether it has ARI.
    pub renewal_info: bool,
    /// Its profiles, with their descriptions.
    pub profiles: Vec<(String, Printable)>,
    /// Its terms of service.
    pub terms: Option<String>,
    /// Whether it wants an external account binding.
    pub external_account_required: bool,
}

/// One ACME directory, spoken to as one account.
///
/// Every call is bounded (connect, request, body size), repeats badNonce itself, and keeps the CA's problem document,
/// Retry-After and `Link`s in the [`Failure`].
pub trait Ca {
    /// What the directory offers; asked once a process.
    fn offers(&self) -> Pending<'_, Result<Offers, Failure>>;
    /// The account: made if there is none (its key is durable first), found by its key if its URL was lost. Never a second one.
    fn account(&self) -> Pending<'_, Result<Account, Failure>>;
    /// Opens an order and checks that it is for the names asked for.
    fn open_order<'a>(&'a self, order: &'a NewOrder) -> Pending<'a, Result<OrderLook, Failure>>;
    /// The order's authorizations, fetched side by side.
    fn authorizations<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<Authorization>, Failure>>;
    /// Tells the CA that these challenges (URLs) can be checked. One that is no longer pending counts as told.
    fn answer<'a>(&'a self, order: &'a str, challenges: &'a [String]) -> Pending<'a, Result<(), Failure>>;
    /// Where the order stands. Code `acme:orderGone` when the CA no longer knows it.
    fn look<'a>(&'a self, order: &'a str) -> Pending<'a, Result<OrderLook, Failure>>;
    /// Submits a CSR. An order that is already processing or valid is shown as it stands.
    fn finalize<'a>(&'a self, order: &'a str, csr: &'a [u8]) -> Pending<'a, Result<OrderLook, Failure>>;
    /// The certificate chain of a valid order, PEM as sent, at most 256 KiB.
    fn chain<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<u8>, Failure>>;
    /// The suggested window of a certificate, within 10 s. A failure's `retry_after` follows FACTS: 6 h, or backoff for 5xx.
    fn renewal_info<'a>(&'a self, certificate: &'a str) -> Pending<'a, Result<RenewalInfo, Failure>>;
    /// How far our clock is ahead of the CA's last `Date` header, in seconds (negative: behind). `None` before any reply.
    fn clock_offset(&self) -> Option<i64>;
}

/// What must be visible for one challenge. Kept in the journal, so that it can be taken down after a crash or an edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// For which identifier, `*.` included.
    pub identifier: Identifier,
    /// How.
    pub solver: Solver,
    /// The challenge's URL, which names it.
    pub url: String,
    /// Its token.
    pub token: String,
    /// `TOKEN.THUMBPRINT`.
    pub key_authorization: String,
}

/// Puts up what a CA looks for.
pub trait Solvers {
    /// Puts up all proofs and waits until they can be seen. Answers warnings: a self-check that failed never blocks.
    fn put_up<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<Vec<Printable>, Failure>>;
    /// Takes proofs down. One that is not up is done.
    fn take_down<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<(), Failure>>;
}

// -------------------------------------------------------------------------------------------------------- nodes, proof

/// What lies published on a node, as found by looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The generation `..data` resolves to.
    pub generation: Option<GenId>,
    /// The epoch it was published at.
    pub epoch: Option<Epoch>,
    /// Whether the files are byte for byte that generation's.
    pub intact: bool,
}

/// Carries generations to nodes.
pub trait Deployer {
    /// Publishes `generation` on `node`; done already is done. A node refuses an epoch lower than the one it has.
    /// Answers notes for people (an owner that could not be set, an extra file that was healed).
    fn deploy<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
        epoch: Epoch,
        context: &'a HookContext,
    ) -> Pending<'a, Result<Vec<Printable>, Failure>>;
    /// Publishes a self-signed pair where nothing is published yet, so that a server can start.
    fn placeholder<'a>(&'a self, node: &'a Node, certificate: &'a Certificate) -> Pending<'a, Result<(), Failure>>;
    /// What lies there. `Ok(None)`: cannot be known (hook exit 42).
    fn inspect<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
    ) -> Pending<'a, Result<Option<Published>, Failure>>;
}

/// Makes servers read what was published.
pub trait Reloader {
    /// Runs the node's `check`, then its reload verb, once for all `contexts`.
    fn reload<'a>(&'a self, node: &'a Node, contexts: &'a [HookContext]) -> Pending<'a, Result<(), Failure>>;
    /// The `check` alone, for a rehearsal.
    fn check<'a>(&'a self, node: &'a Node) -> Pending<'a, Result<(), Failure>>;
}

/// A certificate's own hooks around an order.
pub trait CertHooks {
    /// Runs `hook` with `event` `pre` or `post`.
    fn run<'a>(
        &'a self,
        event: &'static str,
        hook: &'a crate::config::spec::Hook,
        context: &'a HookContext,
    ) -> Pending<'a, Result<(), Failure>>;
}

/// What a hook is told, as environment and as JSON on stdin (DESIGN §7). Holds paths, never key material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookContext {
    /// `EVERLEAF_NAME`.
    pub name: CertName,
    /// `EVERLEAF_DOMAINS`, space separated there.
    pub domains: Vec<Identifier>,
    /// `EVERLEAF_NODE`.
    pub node: Option<NodeName>,
    /// `EVERLEAF_GENERATION`.
    pub generation: Option<GenId>,
    /// `EVERLEAF_EPOCH`.
    pub epoch: Option<Epoch>,
    /// `EVERLEAF_LIVE_DIR`: the certificate's live directory on the node.
    pub live_dir: PathBuf,
    /// The generation's directory on this machine, from which FULLCHAIN, PRIVKEY, CERT, CHAIN and BUNDLE are named.
    pub files: Option<PathBuf>,
    /// `EVERLEAF_SERIAL`.
    pub serial: Option<Serial>,
    /// `EVERLEAF_NOT_AFTER`.
    pub not_after: Option<Timestamp>,
    /// `EVERLEAF_PREV_SERIAL`.
    pub prev_serial: Option<Serial>,
    /// `EVERLEAF_REASON`.
    pub reason: Printable,
    /// `EVERLEAF_DRY_RUN` is `1` when set.
    pub dry_run: bool,
    /// `EVERLEAF_ATTEMPT`; 0 when there is none, as on a look.
    pub attempt: u64,
}

/// What a confirming look asks.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// Where.
    pub endpoint: &'a Endpoint,
    /// The leaf that should be served.
    pub leaf: Fingerprint,
    /// The complete chain that should be served, leaf first, by fingerprint.
    pub chain: &'a [Fingerprint],
    /// The key family to restrict signature schemes to.
    pub family: KeyFamily,
    /// What a valid certificate chains to, for `expect: valid`.
    pub issuer: &'a Issuer,
    /// So many handshakes in a row…
    pub handshakes: u32,
    /// …over at least this span. The first one that does not match ends the look.
    pub over: Duration,
}

/// What one address showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "saw")]
pub enum Shown {
    /// Every handshake showed what was wanted.
    Wanted,
    /// A certificate that is not the wanted one.
    Other {
        /// The leaf seen.
        leaf: Fingerprint,
        /// Its serial number.
        serial: Serial,
        /// The end of its validity.
        not_after: Timestamp,
    },
    /// The wanted leaf with a chain that is incomplete or otherwise wrong.
    BrokenChain {
        /// What is wrong with it.
        message: Printable,
    },
    /// TLS itself failed: an alert, a reset, something that is not TLS.
    HandshakeFailed {
        /// What was seen.
        failure: Failure,
    },
    /// Nobody answered: says nothing about what is served, and never rolls back.
    Unreachable {
        /// What was seen.
        failure: Failure,
    },
}

/// One address of an endpoint, observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The address connected to; `None` when the host has none.
    pub address: Option<SocketAddr>,
    /// What it showed.
    pub shown: Shown,
    /// How many handshakes matched.
    pub matched: u32,
    /// Findings that do not block, in the vocabulary of FINDINGS.
    pub notes: Vec<Printable>,
}

/// Looks from outside. There is one prober, and the confirm step uses it.
pub trait Prober {
    /// Looks at every address of an endpoint side by side.
    fn observe<'a>(&'a self, look: &'a Look<'a>) -> Pending<'a, Vec<Observation>>;
}

// -------------------------------------------------------------------------------------------------------------- people

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A failure was overcome.
    Recovery,
    /// The first failure after a success.
    Failure,
    /// Past the last call, or under a tenth of the life left.
    Danger,
}

/// What people are told: one cause, with every certificate it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `everleaf.notice/1`.
    pub schema: String,
    /// How bad.
    pub kind: NoticeKind,
    /// What merged them: a failure's code and place.
    pub cause: Printable,
    /// One line.
    pub summary: Printable,
    /// What to do.
    pub advice: Printable,
    /// Particulars.
    pub details: Vec<Printable>,
    /// The certificates concerned.
    pub certificates: Vec<CertName>,
    /// This machine.
    pub host: Printable,
    /// When.
    pub at: Timestamp,
}

/// Tells people.
pub trait Notify {
    /// Delivers `notice`, or says why not.
    fn tell<'a>(&'a self, notifier: &'a Notifier, notice: &'a Notice) -> Pending<'a, Result<(), Failure>>;
}

/// Arms a wake-up outside this process.
pub trait Alarm {
    /// Arms a transient systemd timer that calls `everleaf run` at `at`.
    fn arm(&self, at: Timestamp) -> Pending<'_, Result<(), Failure>>;
}
