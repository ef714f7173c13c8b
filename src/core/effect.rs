//! What should be done, in the imperative. Adapters do it; the planner never does.

use super::budget::Spent;
use super::event::{Alert, Event};
use crate::config::spec::{Endpoint, KeyAlgorithm};
use crate::ports::{NewOrder, NoticeKind, Proof};
use crate::types::{
    Attempt, Digest, Epoch, GenId, Identifier, IssuerName, KeyId, NodeName, NotifierName, Printable, SpecDigest,
    Timestamp,
};

/// What an effect works on. One effect a slot and certificate is under way at a time: the stable key of the design.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Decisions and requests.
    Want,
    /// The issue track.
    Issue,
    /// The ARI answer.
    Ari,
    /// Challenges left behind.
    Cleanup,
    /// The `post` hook.
    Post,
    /// The wake-up outside this process.
    Timer,
    /// What time it is.
    Clock,
    /// A node.
    Node(NodeName),
    /// An endpoint.
    Endpoint(Digest),
    /// A notifier.
    Tell(NotifierName),
    /// Pruning and retiring.
    Upkeep,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write a decision into the journal; nothing outside changes.
    Record(Event),
    /// Make a leaf key and store it.
    MakeKey {
        /// Its algorithm.
        algorithm: KeyAlgorithm,
    },
    /// Run the `pre` hook.
    RunPre,
    /// Run the `post` hook.
    RunPost,
    /// Ask the CA what time it is: nothing is spent by that.
    AskTime {
        /// Whom.
        issuer: IssuerName,
    },
    /// Open an order.
    OpenOrder {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// What is asked for.
        order: NewOrder,
        /// The intent, journaled before the request.
        intent: Box<Event>,
        /// What the issuer's budget counts, journaled before the request.
        counted: Spent,
        /// Whether a person forced it past the budget.
        forced: bool,
        /// When what it replaces ends; nothing when it replaces nothing.
        ends: Option<Timestamp>,
    },
    /// Fetch an order's authorizations.
    FetchAuthorizations {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// Its URL.
        url: String,
    },
    /// Put all challenges of an order up.
    PutUp {
        /// Its number.
        attempt: Attempt,
        /// One an identifier.
        proofs: Vec<Proof>,
    },
    /// Tell the CA to look.
    Answer {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// Its URL.
        url: String,
        /// The challenges' URLs.
        challenges: Vec<String>,
    },
    /// Look where an order stands.
    LookAtOrder {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// Its URL.
        url: String,
    },
    /// Submit the CSR.
    SubmitCsr {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// Its URL.
        url: String,
        /// The key to sign it with.
        key: KeyId,
        /// The names in it.
        names: Vec<Identifier>,
    },
    /// Fetch the chain and store it aside.
    FetchChain {
        /// Where.
        issuer: IssuerName,
        /// Its number.
        attempt: Attempt,
        /// Its URL.
        url: String,
        /// The key it is for.
        key: KeyId,
        /// The number the generation gets.
        number: u32,
        /// The account that ordered it.
        account: String,
        /// What it is for.
        spec_digest: SpecDigest,
    },
    /// Hold a staged generation against the specification.
    Judge {
        /// Which.
        generation: GenId,
        /// The names ordered.
        names: Vec<Identifier>,
    },
    /// Take challenges down.
    TakeDown {
        /// Those of which order.
        attempt: Attempt,
        /// Which.
        proofs: Vec<Proof>,
    },
    /// Ask for the suggested window.
    PollAri {
        /// Where.
        issuer: IssuerName,
        /// Of which generation.
        generation: GenId,
        /// Its ARI id.
        id: String,
    },
    /// Arm a wake-up outside this process.
    Arm {
        /// When.
        at: Timestamp,
    },
    /// Publish a self-signed pair.
    Placeholder {
        /// Where.
        node: NodeName,
    },
    /// Publish a generation.
    Deploy {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// Which.
        generation: GenId,
        /// The digest of where and how it is published there.
        placement: Digest,
    },
    /// Look what lies on a node.
    Inspect {
        /// Where.
        node: NodeName,
        /// Against which generation.
        generation: GenId,
    },
    /// Tell a node's servers to read what is published.
    Reload {
        /// Where.
        node: NodeName,
        /// At which epoch.
        epoch: Epoch,
        /// Which generation is published there.
        generation: GenId,
        /// The digest of the reload command.
        verb: Digest,
    },
    /// Look at an endpoint.
    Look {
        /// Where.
        endpoint: Endpoint,
        /// What should be served.
        generation: GenId,
        /// A whole proof, or one glance.
        whole: bool,
    },
    /// Tell people.
    Tell {
        /// By whom.
        notifier: NotifierName,
        /// Of what.
        alert: Alert,
        /// Whether it is over.
        recovered: bool,
        /// How bad.
        kind: NoticeKind,
        /// What merges several into one.
        cause: Printable,
        /// One line.
        summary: Printable,
        /// What to do.
        advice: Printable,
        /// Particulars.
        details: Vec<Printable>,
    },
    /// Remove a generation.
    Prune {
        /// Which.
        generation: GenId,
    },
}

impl Effect {
    /// The event that must be durable before this effect begins: it spends something or leaves something behind.
    #[must_use]
    pub fn intent(&self) -> Option<Event> {
        match self {
            Self::OpenOrder { intent, .. } => Some((**intent).clone()),
            Self::PutUp { attempt, proofs } => {
                Some(Event::ChallengesIntended { attempt: *attempt, proofs: proofs.clone() })
            }
            Self::SubmitCsr { attempt, .. } => Some(Event::CsrIntended { attempt: *attempt }),
            Self::RunPre => Some(Event::PreIntended),
            _ => None,
        }
    }

    /// A stable word for logs, progress and the simulation's coverage.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Record(_) => "record",
            Self::MakeKey { .. } => "make_key",
            Self::RunPre => "run_pre",
            Self::RunPost => "run_post",
            Self::AskTime { .. } => "ask_time",
            Self::OpenOrder { .. } => "open_order",
            Self::FetchAuthorizations { .. } => "fetch_authorizations",
            Self::PutUp { .. } => "put_up",
            Self::Answer { .. } => "answer",
            Self::LookAtOrder { .. } => "look_at_order",
            Self::SubmitCsr { .. } => "submit_csr",
            Self::FetchChain { .. } => "fetch_chain",
            Self::Judge { .. } => "judge",
            Self::TakeDown { .. } => "take_down",
            Self::PollAri { .. } => "poll_ari",
            Self::Arm { .. } => "arm",
            Self::Placeholder { .. } => "placeholder",
            Self::Deploy { .. } => "deploy",
            Self::Inspect { .. } => "inspect",
            Self::Reload { .. } => "reload",
            Self::Look { .. } => "look",
            Self::Tell { .. } => "tell",
            Self::Prune { .. } => "prune",
        }
    }
}
