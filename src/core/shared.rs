//! What certificates share: a CA's limits and health, a node's health, the installation's seed, the clock's credibility.

use super::budget::Spent;
use super::event::{Entry, IssuerEvent, NodeEvent};
use super::hold::Trouble;
use crate::types::{Digest, IssuerName, NodeName, Seq, Timestamp, humane};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Facts that no single certificate owns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shared {
    /// By issuer.
    pub issuers: BTreeMap<IssuerName, IssuerFacts>,
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// 32 octets made once for this installation: what spreads a fleet's renewals.
    pub seed: [u8; 32],
    /// How far our clock is ahead of a CA's, in seconds, when one has answered.
    pub clock_offset: Option<i64>,
}

/// A CA's `Date` may differ by this much before no new order is made.
pub const CLOCK_TOLERANCE_SECS: i64 = 300;
/// The clock may lie this far behind the journal's newest record.
pub const CLOCK_STEP_BACK: Duration = Duration::from_secs(3_600);

impl Shared {
    /// Why the clock is not to be believed, if so. A CA's word counts for more than a journal's: a clock that was wrong
    /// for an hour leaves records of the future, which must not hold up orders until then.
    #[must_use]
    pub fn clock_suspect(&self, newest: Option<Timestamp>, now: Timestamp) -> Option<String> {
        let Some(offset) = self.clock_offset else {
            let newest = newest.filter(|newest| *newest > now + CLOCK_STEP_BACK)?;
            return Some(format!("the clock says {now}, but the journal's newest record is of {newest}"));
        };
        let direction = if offset > 0 { "ahead of" } else { "behind" };
        let by = humane(Duration::from_secs(offset.unsigned_abs()));
        (offset.abs() > CLOCK_TOLERANCE_SECS).then(|| format!("the clock is {by} {direction} the CA's"))
    }
}

/// What is known of a CA.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerFacts {
    /// The journal's last record.
    pub seq: Seq,
    /// Orders of the last `LEDGER_SPAN`.
    pub orders: Vec<Spent>,
    /// Failures of the CA as a whole.
    pub trouble: Trouble,
    /// The digest of the settings it failed with last.
    pub troubled_with: Option<Digest>,
}

/// Orders older than this count for no known limit.
const LEDGER_SPAN: Duration = Duration::from_secs(8 * 86_400);
/// More orders than this in eight days are not kept apart: no known limit is larger.
const LEDGER_MAX: usize = 20_000;

impl IssuerFacts {
    /// Replays one record.
    pub fn apply(&mut self, entry: &Entry<IssuerEvent>) {
        match &entry.event {
            IssuerEvent::Snapshot { facts } => *self = (**facts).clone(),
            IssuerEvent::OrderCounted { certificate, directory, names, domains, exempt } => {
                self.orders.retain(|spent| entry.at.since(spent.at) < LEDGER_SPAN);
                if self.orders.len() >= LEDGER_MAX {
                    self.orders.remove(0);
                }
                self.orders.push(Spent {
                    at: entry.at,
                    certificate: certificate.clone(),
                    directory: directory.clone(),
                    names: *names,
                    domains: domains.clone(),
                    exempt: *exempt,
                    unissued: false,
                });
            }
            IssuerEvent::Recounted { orders } => {
                self.orders = orders.iter().filter(|spent| entry.at.since(spent.at) < LEDGER_SPAN).cloned().collect();
            }
            IssuerEvent::OrderUnissued { certificate } => {
                if let Some(spent) = self.orders.iter_mut().rfind(|spent| spent.certificate == *certificate) {
                    spent.unissued = true;
                }
            }
            IssuerEvent::Failed { failure, settings } => {
                self.trouble.step(entry.at, failure);
                self.troubled_with = *settings;
            }
            IssuerEvent::Recovered => self.trouble.clear(),
        }
        self.seq = entry.seq;
    }
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// The journal's last record.
    pub seq: Seq,
    /// Failures to reach it.
    pub trouble: Trouble,
}

impl NodeFacts {
    /// Replays one record.
    pub fn apply(&mut self, entry: &Entry<NodeEvent>) {
        match &entry.event {
            NodeEvent::Snapshot { facts } => *self = (**facts).clone(),
            NodeEvent::Failed { failure } => self.trouble.attempt(entry.at, failure),
            NodeEvent::Recovered => self.trouble.clear(),
        }
        self.seq = entry.seq;
    }
}
