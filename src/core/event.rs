//! What happened, in the past tense. The journals hold these and nothing else.
//!
//! Compatibility: a kind is never reused and never loses a field; a new field has a default. `tests/data/journals` replays
//! what older versions wrote.

use super::ledger::Ledger;
use crate::config::spec::KeyAlgorithm;
use crate::ports::{About, Proof, Violation};
use crate::types::{
    Attempt, CertName, Digest, Epoch, Failure, GenId, Identifier, IssuerName, KeyId, NodeName, NotifierName, Printable,
    RequestId, Seq, SpecDigest, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An event with its place in the journal and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<E> {
    /// Its place; the first has 1.
    pub seq: Seq,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: E,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Look now, without regard to local backoff; with `force`, order now.
    Renew {
        /// Order although nothing is due.
        force: bool,
        /// With a key made after this request.
        new_key: bool,
        /// Although a good generation is not yet live.
        yes: bool,
    },
    /// Publish, reload and confirm again. No CA.
    Deploy {
        /// Only there.
        node: Option<NodeName>,
    },
    /// Go back to an earlier generation, and stay there until one newer than the one left is accepted.
    Rollback {
        /// To which; the one before the wanted one when not given.
        to: Option<GenId>,
        /// Only there.
        node: Option<NodeName>,
    },
}

/// What happened to one certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Everything before this record, in one. Written by compaction only.
    Snapshot {
        /// The replay of all that it replaces.
        ledger: Box<Ledger>,
    },
    /// The journal was damaged and set aside; what follows was found again.
    Rebuilt {
        /// Generations found on disk, accepted ones first to last.
        generations: Vec<About>,
        /// What was said about it.
        note: Printable,
    },
    /// A request was taken from `requests/`.
    Asked {
        /// Which.
        id: RequestId,
        /// What for.
        ask: Ask,
        /// Who.
        by: Printable,
    },
    /// A request was refused, or needs nothing more.
    AskClosed {
        /// Which.
        id: RequestId,
        /// Why.
        why: Printable,
    },
    /// A key is on disk.
    KeyMade {
        /// Which.
        key: KeyId,
        /// Its algorithm.
        algorithm: KeyAlgorithm,
    },
    /// A key that no generation uses was removed.
    KeyDiscarded {
        /// Which.
        key: KeyId,
    },
    /// An order is about to be requested. Counts against the budget whether or not a reply is seen.
    OrderIntended {
        /// Its number.
        attempt: Attempt,
        /// The key it is for.
        key: KeyId,
        /// Where.
        issuer: IssuerName,
        /// The directory's URL.
        directory: String,
        /// What it is for.
        spec_digest: SpecDigest,
        /// Its identifiers.
        names: Vec<Identifier>,
        /// Its profile.
        profile: Option<String>,
        /// ARI id of the certificate it replaces.
        replaces: Option<String>,
        /// The request it settles: a force fires once.
        asked: Option<RequestId>,
        /// Whether an ARI window that began before the certificate itself called for it. Such a window renews once.
        #[serde(default)]
        early_window: bool,
        /// The digest of the issuer's settings it is tried with.
        #[serde(default)]
        settings: Option<Digest>,
        /// Why, for people.
        why: Printable,
    },
    /// The CA has the order.
    OrderOpened {
        /// Which.
        attempt: Attempt,
        /// Its URL, by which it is resumed.
        url: String,
        /// The account that owns it.
        account: String,
        /// When the CA gives it up.
        expires: Option<Timestamp>,
        /// Whether all authorizations were valid already.
        ready: bool,
    },
    /// The authorizations were fetched; these challenges are still to be met.
    ChallengesOffered {
        /// Which order.
        attempt: Attempt,
        /// One for each identifier that is not yet authorized.
        proofs: Vec<Proof>,
    },
    /// Challenges are about to be put up. From here on they must be taken down, whatever happens.
    ChallengesIntended {
        /// Which order.
        attempt: Attempt,
        /// What will be left behind.
        proofs: Vec<Proof>,
    },
    /// They can be seen.
    ChallengesUp {
        /// Which order.
        attempt: Attempt,
        /// What the self-check said.
        warnings: Vec<Printable>,
    },
    /// The CA was told to look.
    ChallengesAnswered {
        /// Which order.
        attempt: Attempt,
    },
    /// All authorizations are valid.
    OrderReady {
        /// Which order.
        attempt: Attempt,
    },
    /// A CSR is about to be submitted.
    CsrIntended {
        /// Which order.
        attempt: Attempt,
    },
    /// The CA has it.
    CsrSubmitted {
        /// Which order.
        attempt: Attempt,
    },
    /// The order was looked at and is not further; when to look again.
    OrderPending {
        /// Which order.
        attempt: Attempt,
        /// The CA's wish, in milliseconds.
        retry_after: Option<u64>,
    },
    /// The certificate can be fetched.
    OrderValid {
        /// Which order.
        attempt: Attempt,
    },
    /// The chain is stored aside, not yet judged.
    ChainStaged {
        /// Which order.
        attempt: Attempt,
        /// What it is.
        about: About,
    },
    /// The gate let it pass. It is what should be served from here on.
    Accepted {
        /// Which.
        generation: GenId,
        /// The epoch that wants it.
        epoch: Epoch,
        /// What people should know.
        notes: Vec<Printable>,
    },
    /// The gate refused it.
    Rejected {
        /// Which.
        generation: GenId,
        /// All that is wrong with it.
        violations: Vec<Violation>,
    },
    /// A step of an open order failed; the order stands.
    StepFailed {
        /// Which order.
        attempt: Attempt,
        /// How.
        failure: Failure,
    },
    /// The order is over.
    OrderFailed {
        /// Which order.
        attempt: Attempt,
        /// How.
        failure: Failure,
    },
    /// The order was given up without anybody's failure: the specification changed, or the reply was lost in a crash.
    OrderAbandoned {
        /// Which order.
        attempt: Attempt,
        /// Whether the reply was lost: it may exist, and counts.
        lost: bool,
        /// Why, for people.
        why: Printable,
    },
    /// Making a key, a hook before the order, or something else before the order failed.
    PreparationFailed {
        /// How.
        failure: Failure,
        /// What the order was to be for: trouble with another specification is no trouble of this one.
        #[serde(default)]
        spec_digest: Option<SpecDigest>,
        /// The digest of the issuer's settings.
        #[serde(default)]
        settings: Option<Digest>,
    },
    /// Challenges were taken down.
    ChallengesDown {
        /// Those of which order.
        attempt: Attempt,
    },
    /// They could not be.
    CleanupFailed {
        /// Those of which order.
        attempt: Attempt,
        /// How.
        failure: Failure,
    },
    /// The `pre` hook is about to run: from here on `post` is owed.
    PreIntended,
    /// The `pre` hook succeeded.
    PreDone,
    /// The `post` hook succeeded.
    PostDone,
    /// The `post` hook failed.
    PostFailed {
        /// How.
        failure: Failure,
    },
    /// Another generation, or the same one again, is wanted; everywhere or on one node.
    WantSet {
        /// The new epoch.
        epoch: Epoch,
        /// Which generation.
        generation: GenId,
        /// Only there.
        node: Option<NodeName>,
        /// Whether this goes back: it pins until something newer than what was left is accepted.
        rollback: bool,
        /// The request it settles.
        asked: Option<RequestId>,
        /// Why, for people.
        why: Printable,
    },
    /// A self-signed pair was published where nothing was.
    PlaceholderPublished {
        /// Where.
        node: NodeName,
    },
    /// A generation is published on a node.
    Deployed {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// Which.
        generation: GenId,
        /// What people should know.
        #[serde(default)]
        notes: Vec<Printable>,
        /// The digest of where and how it was published there: when that is edited, it is published again.
        #[serde(default)]
        placement: Option<Digest>,
    },
    /// It could not be published.
    DeployFailed {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// How.
        failure: Failure,
    },
    /// A node's servers were told to read what is published. Proves nothing.
    Reloaded {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// The digest of the reload command: a hold on another command does not count.
        verb: Digest,
    },
    /// They could not be told.
    ReloadFailed {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// The digest of the reload command.
        verb: Digest,
        /// How.
        failure: Failure,
    },
    /// After `drain`, a node still does not serve what it should.
    Lagging {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// Whether it had been confirmed at this epoch before.
        drift: bool,
        /// What it shows instead.
        failure: Failure,
    },
    /// Every endpoint of a node serves what it should.
    NodeConfirmed {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// Which.
        generation: GenId,
    },
    /// Nodes of a roll-out with pauses are about to begin together.
    WaveBegun {
        /// The roll-out's epoch.
        epoch: Epoch,
        /// Which nodes.
        nodes: Vec<NodeName>,
    },
    /// All of them have come through, or have failed: the pause before the next ones begins, or begins anew because the clock
    /// was set back.
    WaveEnded {
        /// The roll-out's epoch.
        epoch: Epoch,
    },
    /// Every endpoint of every node serves what it should.
    WentLive {
        /// At which epoch.
        epoch: Epoch,
        /// Which.
        generation: GenId,
    },
    /// People were told.
    Told {
        /// By whom.
        notifier: NotifierName,
        /// Of what.
        alert: Alert,
        /// That it is over.
        recovered: bool,
    },
    /// They could not be told.
    TellFailed {
        /// By whom.
        notifier: NotifierName,
        /// Of what.
        alert: Alert,
        /// How.
        failure: Failure,
    },
    /// A generation was removed.
    Pruned {
        /// Which.
        generation: GenId,
    },
    /// The certificate is no longer configured.
    Retired,
    /// It is configured again.
    Revived,
}

/// What can be wrong with a certificate, as far as people are told once. Written as one word, so that it can be a map's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Alert {
    /// It cannot be issued.
    Issue,
    /// It is not served as it should be on a node.
    Node(NodeName),
    /// Too many nodes failed: the others are held.
    Rollout,
    /// A challenge could not be taken down.
    Cleanup,
    /// A `post` hook fails.
    Post,
    /// Its life is nearly over.
    Danger,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issue => f.write_str("issue"),
            Self::Node(node) => write!(f, "node:{node}"),
            Self::Rollout => f.write_str("rollout"),
            Self::Cleanup => f.write_str("cleanup"),
            Self::Post => f.write_str("post"),
            Self::Danger => f.write_str("danger"),
        }
    }
}

impl From<Alert> for String {
    fn from(alert: Alert) -> Self {
        alert.to_string()
    }
}

impl TryFrom<String> for Alert {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("node", node)) => node.parse().map(Self::Node).map_err(|error| format!("{error}")),
            _ => match text.as_str() {
                "issue" => Ok(Self::Issue),
                "rollout" => Ok(Self::Rollout),
                "cleanup" => Ok(Self::Cleanup),
                "post" => Ok(Self::Post),
                "danger" => Ok(Self::Danger),
                _ => Err(format!("{text:?} is not an alert")),
            },
        }
    }
}

/// What happened between everleaf and a CA, shared by the CA's certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IssuerEvent {
    /// Everything before this record.
    Snapshot {
        /// The replay.
        facts: Box<super::shared::IssuerFacts>,
    },
    /// An order is about to be requested.
    OrderCounted {
        /// For which certificate.
        certificate: CertName,
        /// At which directory; empty in a record of an everleaf that did not say.
        #[serde(default)]
        directory: String,
        /// The digest of its exact set of names.
        names: Digest,
        /// The registered domains of its names.
        domains: Vec<String>,
        /// Whether it is exempt: placed inside its ARI window, with `replaces`.
        exempt: bool,
    },
    /// The journal was new or lost: the orders that the certificates' own journals and generations tell of.
    Recounted {
        /// The orders, oldest first.
        orders: Vec<super::budget::Spent>,
    },
    /// The last order counted for a certificate ended before a CSR was sent: no certificate came of it, and limits on
    /// certificates do not count it.
    OrderUnissued {
        /// Which certificate's.
        certificate: CertName,
    },
    /// The CA as a whole failed: not reachable, 5xx, the account refused.
    Failed {
        /// How.
        failure: Failure,
        /// The digest of the issuer's settings: a hold on other settings does not count.
        #[serde(default)]
        settings: Option<Digest>,
    },
    /// It works again.
    Recovered,
}

/// What happened between everleaf and a node, shared by the node's certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeEvent {
    /// Everything before this record.
    Snapshot {
        /// The replay.
        facts: Box<super::shared::NodeFacts>,
    },
    /// It could not be reached.
    Failed {
        /// How.
        failure: Failure,
    },
    /// It works again.
    Recovered,
}
