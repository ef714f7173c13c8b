//! Machines that terminate TLS: carrying a certificate there, reloading, looking from outside.

use super::{Generation, Pending, Production, Rescued};
use crate::config::spec::{Certificate, Endpoint, Node, Roots};
use crate::types::{
    CertName, Epoch, Failure, Fingerprint, GenId, Identifier, KeyFamily, NodeName, Printable, Serial, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The files that lie there, where this machine can read them. Whether they are what they should be is not looked at.
    fn read_back(&self, node: &Node, certificate: &Certificate) -> Option<Rescued>;
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

/// What a hook is told, as environment and as JSON on stdin. Holds paths, never key material.
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
    pub roots: &'a Roots,
    /// So many handshakes in a row…
    pub handshakes: u32,
    /// …over at least this span. The first one that does not match ends the look.
    pub over: Duration,
    /// Whether to look as well whether the leaf's CRL, where it names one, lists it.
    pub revocation: bool,
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
    /// Nobody looked, since the vantage could not: says nothing about the endpoint at all.
    NotLooked {
        /// Why it could not.
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
