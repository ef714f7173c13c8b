//! What certificates share: a CA's limits and health, a node's health, the installation's seed, the clock's credibility.

use super::event::{Entry, IssuerEvent, NodeEvent};
use super::hold::Trouble;
use crate::config::spec::{Budget, Quota};
use crate::types::{CertName, Digest, IssuerName, NodeName, Seq, Timestamp};
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
    /// Why the clock is not to be believed, if so.
    #[must_use]
    pub fn clock_suspect(&self, newest: Option<Timestamp>, now: Timestamp) -> Option<String> {
        if let Some(newest) = newest.filter(|newest| *newest > now + CLOCK_STEP_BACK) {
            return Some(format!("the clock says {now}, but the journal's newest record is of {newest}"));
        }
        let offset = self.clock_offset.filter(|offset| offset.abs() > CLOCK_TOLERANCE_SECS)?;
        let direction = if offset > 0 { "ahead of" } else { "behind" };
        Some(format!("the clock is {} s {direction} the CA's", offset.abs()))
    }
}

/// An order that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// When it was intended.
    pub at: Timestamp,
    /// For which certificate.
    pub certificate: CertName,
    /// The digest of its exact set of names.
    pub names: Digest,
    /// The registered domains of its names.
    pub domains: Vec<String>,
    /// Whether it is exempt from limits.
    pub exempt: bool,
    /// Whether it ended before a CSR was sent: it counts as an order, not as a certificate.
    #[serde(default)]
    pub unissued: bool,
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
            IssuerEvent::OrderCounted { certificate, names, domains, exempt } => {
                self.orders.retain(|spent| entry.at.since(spent.at) < LEDGER_SPAN);
                if self.orders.len() >= LEDGER_MAX {
                    self.orders.remove(0);
                }
                self.orders.push(Spent {
                    at: entry.at,
                    certificate: certificate.clone(),
                    names: *names,
                    domains: domains.clone(),
                    exempt: *exempt,
                    unissued: false,
                });
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

    /// When the budget allows one more order for these names; `None` when it does now. `also` were admitted in this pass.
    #[must_use]
    pub fn budget_until(&self, budget: &Budget, order: &Spent, also: &[Spent], now: Timestamp) -> Option<Timestamp> {
        if order.exempt {
            return None;
        }
        let counted = || self.orders.iter().chain(also).filter(|spent| !spent.exempt);
        let full = |quota: Option<Quota>, of: &dyn Fn(&Spent) -> bool| {
            quota.and_then(|quota| quota_until(quota, counted().filter(|spent| of(spent)).map(|spent| spent.at), now))
        };
        // Limits on a set of names and on a domain are on certificates; the one on an account is on orders.
        let per_set = full(budget.per_set, &|spent| !spent.unissued && spent.names == order.names);
        let per_account = full(budget.per_account, &|_| true);
        let per_domain = order
            .domains
            .iter()
            .filter_map(|domain| full(budget.per_domain, &|spent| !spent.unissued && spent.domains.contains(domain)))
            .max();
        [per_set, per_account, per_domain].into_iter().flatten().max()
    }
}

/// When one more fits into `quota`, given when the others were; `None` when it does now.
fn quota_until(quota: Quota, spent: impl Iterator<Item = Timestamp>, now: Timestamp) -> Option<Timestamp> {
    // A record from the future (the clock was set back) counts as if it were of now: never less than it should.
    let mut recent: Vec<Timestamp> = spent.map(|at| at.min(now)).filter(|at| now.since(*at) < quota.per).collect();
    let count = usize::try_from(quota.count).unwrap_or(usize::MAX);
    if recent.len() < count {
        return None;
    }
    recent.sort_unstable();
    let leaves = recent.len() - count;
    Some(recent.get(leaves).map_or(now + quota.per, |at| *at + quota.per))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;

    fn spent(at: i64, names: &[u8]) -> Spent {
        Spent {
            at: Timestamp::from_secs(at),
            certificate: "a".parse().expect("name"),
            names: sha256(&[names]),
            domains: vec!["example.org".into()],
            exempt: false,
            unissued: false,
        }
    }

    #[test]
    fn an_order_that_came_to_nothing_is_no_certificate() {
        let one = Some(Quota { count: 1, per: Duration::from_secs(100) });
        let mut facts = IssuerFacts { orders: vec![spent(10, b"x")], ..IssuerFacts::default() };
        let event = IssuerEvent::OrderUnissued { certificate: "a".parse().expect("name") };
        facts.apply(&Entry { seq: Seq(2), at: Timestamp::from_secs(11), event });
        let until = |budget| facts.budget_until(&budget, &spent(20, b"x"), &[], Timestamp::from_secs(20));
        assert_eq!(until(Budget { per_set: one, per_domain: one, ..Budget::default() }), None);
        assert!(until(Budget { per_account: one, ..Budget::default() }).is_some(), "it was an order all the same");
    }

    #[test]
    fn the_budget_opens_when_the_oldest_order_leaves_the_span() {
        let quota = Quota { count: 2, per: Duration::from_secs(100) };
        let budget = Budget { per_set: Some(quota), ..Budget::default() };
        let orders = vec![spent(10, b"x"), spent(50, b"x"), spent(60, b"y")];
        let facts = IssuerFacts { orders, ..IssuerFacts::default() };
        let now = Timestamp::from_secs(70);
        assert_eq!(facts.budget_until(&budget, &spent(70, b"x"), &[], now), Some(Timestamp::from_secs(110)));
        assert_eq!(facts.budget_until(&budget, &spent(70, b"y"), &[], now), None);
        assert!(facts.budget_until(&budget, &spent(70, b"y"), &[spent(70, b"y")], now).is_some());
        let exempt = Spent { exempt: true, ..spent(70, b"x") };
        assert_eq!(facts.budget_until(&budget, &exempt, &[], now), None);
    }
}
