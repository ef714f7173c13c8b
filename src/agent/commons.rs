//! What certificates share, with its journals: CAs and nodes.

use super::Ports;
use super::recount::recount;
use crate::config::spec::Spec;
use crate::core::Shared;
use crate::core::event::{Entry, IssuerEvent, NodeEvent};
use crate::core::shared::{IssuerFacts, NodeFacts};
use crate::ports::{AppendError, Scope};
use crate::types::{CertName, Class, Digest, Failure, IssuerName, NodeName, Seq, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// How often an append is repeated when another process was quicker.
const RETRIES: usize = 8;
/// Facts that no certificate owns, and where they are written.
pub(super) struct Commons {
    pub(super) shared: Shared,
    /// Issuers whose orders were counted again, because their journal is new or lost, and not written down yet.
    recounted: Vec<IssuerName>,
    /// Records read of each journal since its last snapshot.
    records: BTreeMap<Scope, usize>,
}

impl Commons {
    /// Reads the journals of every issuer and node in use.
    pub(super) fn open(ports: &Ports, spec: &Spec) -> Result<Self, Failure> {
        let mut shared = Shared { seed: ports.memory.install_seed()?, ..Shared::default() };
        for issuer in spec.issuers.keys() {
            shared.issuers.entry(issuer.clone()).or_default();
        }
        for node in spec.nodes.keys() {
            shared.nodes.entry(node.clone()).or_default();
        }
        let mut commons = Self { shared, recounted: Vec::new(), records: BTreeMap::new() };
        commons.catch_up(ports)?;
        commons.recount(ports, spec)?;
        Ok(commons)
    }

    /// Counts the orders of issuers without a journal again.
    fn recount(&mut self, ports: &Ports, spec: &Spec) -> Result<(), Failure> {
        let mut new = self.shared.issuers.iter_mut().filter(|(_, facts)| facts.seq == Seq(0)).peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        let Some(mut orders) = recount(ports, spec)? else { return Ok(()) };
        for (name, facts) in new {
            facts.orders = orders.remove(name).unwrap_or_default();
            self.recounted.push(name.clone());
        }
        Ok(())
    }

    /// Writes down what was counted again, so that it is counted once.
    pub(super) fn keep_recount(&mut self, ports: &Ports) {
        for issuer in std::mem::take(&mut self.recounted) {
            self.note_issuer(ports, &issuer, |facts, _| {
                (facts.seq == Seq(0)).then(|| IssuerEvent::Recounted { orders: facts.orders.clone() })
            });
        }
    }

    /// Reads what other processes have added.
    pub(super) fn catch_up(&mut self, ports: &Ports) -> Result<(), Failure> {
        for (name, facts) in &mut self.shared.issuers {
            let scope = Scope::Issuer(name.clone());
            let (entries, anew) = read::<IssuerEvent>(ports, &scope, facts.seq)?;
            if anew {
                *facts = IssuerFacts::default();
                self.records.remove(&scope);
            }
            for entry in &entries {
                facts.apply(entry);
            }
            *self.records.entry(scope).or_default() += entries.len();
        }
        for (name, facts) in &mut self.shared.nodes {
            let scope = Scope::Node(name.clone());
            let (entries, anew) = read::<NodeEvent>(ports, &scope, facts.seq)?;
            if anew {
                *facts = NodeFacts::default();
                self.records.remove(&scope);
            }
            for entry in &entries {
                facts.apply(entry);
            }
            *self.records.entry(scope).or_default() += entries.len();
        }
        Ok(())
    }

    /// Replaces journals that have become long by a snapshot each. Failing costs a longer reading next time.
    pub(super) fn compact(&mut self, ports: &Ports, after: usize) {
        let at = ports.clock.now();
        let long: Vec<Scope> =
            self.records.iter().filter(|(_, count)| **count >= after).map(|(scope, _)| scope.clone()).collect();
        for scope in long {
            let snapshot = match &scope {
                Scope::Issuer(name) => self.shared.issuers.get(name).map(|facts| {
                    let snapshot = IssuerEvent::Snapshot { facts: Box::new(facts.clone()) };
                    (facts.seq, serde_json::to_value(&snapshot))
                }),
                Scope::Node(name) => self.shared.nodes.get(name).map(|facts| {
                    let snapshot = NodeEvent::Snapshot { facts: Box::new(facts.clone()) };
                    (facts.seq, serde_json::to_value(&snapshot))
                }),
                Scope::Certificate(_) => None,
            };
            let Some((seq, Ok(snapshot))) = snapshot else { continue };
            match ports.journal.compact(&scope, seq, at, &snapshot) {
                Ok(()) => drop(self.records.insert(scope, 1)),
                // Another process wrote or compacted it just now.
                Err(AppendError::Stale(_)) => {}
                Err(AppendError::Failed(failure)) => {
                    tracing::warn!("the journal of {scope:?} could not be shortened: {failure}");
                }
            }
        }
    }

    /// Counts an order, durably, if nobody else added anything since the budget was looked at.
    pub(super) fn count_order(
        &mut self,
        ports: &Ports,
        issuer: &IssuerName,
        event: IssuerEvent,
    ) -> Result<(), AppendError> {
        let facts = self.shared.issuers.entry(issuer.clone()).or_default();
        let at = ports.clock.now();
        let seq = append(ports, &Scope::Issuer(issuer.clone()), facts.seq, at, &event)?;
        facts.apply(&Entry { seq, at, event });
        Ok(())
    }

    /// Gives back what an order that came to nothing was counted as. Failing costs a place in the budget.
    pub(super) fn order_unissued(&mut self, ports: &Ports, issuer: &IssuerName, name: &CertName) {
        self.note_issuer(ports, issuer, |_, _| Some(IssuerEvent::OrderUnissued { certificate: name.clone() }));
    }

    /// Takes note of how a CA as a whole fares. One failure a hold: a hundred orders that fail at once are one outage. Says
    /// whether that is news.
    pub(super) fn issuer_fared(
        &mut self,
        ports: &Ports,
        issuer: &IssuerName,
        settings: Option<Digest>,
        failure: Option<&Failure>,
    ) -> bool {
        self.note_issuer(ports, issuer, |facts, now| match failure {
            Some(failure) if facts.trouble.until(now) >= Some(now + failure.retry_after.unwrap_or_default()) => None,
            Some(failure) => Some(IssuerEvent::Failed { failure: failure.clone(), settings }),
            None if facts.trouble.failures == 0 => None,
            // Another request's success does not end a wait that the CA asked for.
            None if facts.trouble.demanded_until(now).is_some() => None,
            None => Some(IssuerEvent::Recovered),
        })
    }

    /// Writes what `news` makes of an issuer's facts, judged anew when another process was quicker. Says whether it did.
    fn note_issuer(
        &mut self,
        ports: &Ports,
        issuer: &IssuerName,
        news: impl Fn(&IssuerFacts, Timestamp) -> Option<IssuerEvent>,
    ) -> bool {
        let now = ports.clock.now();
        for _ in 0..RETRIES {
            let facts = self.shared.issuers.entry(issuer.clone()).or_default();
            let Some(event) = news(facts, now) else { return false };
            match append(ports, &Scope::Issuer(issuer.clone()), facts.seq, now, &event) {
                Ok(seq) => {
                    facts.apply(&Entry { seq, at: now, event });
                    return true;
                }
                Err(error) => {
                    if !self.try_again(ports, error) {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Takes note of whether a node can be reached. Says whether that is news.
    pub(super) fn node_fared(&mut self, ports: &Ports, node: &NodeName, failure: Option<&Failure>) -> bool {
        let now = ports.clock.now();
        for _ in 0..RETRIES {
            let facts = self.shared.nodes.entry(node.clone()).or_default();
            let event = match failure {
                Some(_) if facts.trouble.until(now).is_some() => return false,
                Some(failure) => NodeEvent::Failed { failure: failure.clone() },
                None if facts.trouble.failures == 0 => return false,
                None => NodeEvent::Recovered,
            };
            match append(ports, &Scope::Node(node.clone()), facts.seq, now, &event) {
                Ok(seq) => {
                    facts.apply(&Entry { seq, at: now, event });
                    return true;
                }
                Err(error) => {
                    if !self.try_again(ports, error) {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// After a refused append: reads what others wrote. Says whether that is worth another try.
    fn try_again(&mut self, ports: &Ports, error: AppendError) -> bool {
        match error {
            AppendError::Stale(_) => self.catch_up(ports).is_ok(),
            AppendError::Failed(failure) => {
                tracing::warn!("{failure}");
                false
            }
        }
    }
}

fn append<E: Serialize>(
    ports: &Ports,
    scope: &Scope,
    expect: Seq,
    at: Timestamp,
    event: &E,
) -> Result<Seq, AppendError> {
    let value = serde_json::to_value(event).map_err(|error| {
        AppendError::Failed(Failure::new(Class::Operator, "internal", format!("{scope:?}"), error.to_string()))
    })?;
    ports.journal.append(scope, expect, at, &[value])
}

/// The records after `after`, and whether they replace what was known: the journal was compacted, set aside or lost meanwhile.
fn read<E: DeserializeOwned>(ports: &Ports, scope: &Scope, after: Seq) -> Result<(Vec<Entry<E>>, bool), Failure> {
    let mut loaded = ports.journal.load(scope, after)?;
    let anew = loaded.restarted || loaded.set_aside.is_some();
    if loaded.restarted {
        loaded = ports.journal.load(scope, Seq(0))?;
    }
    if let Some(aside) = &loaded.set_aside {
        tracing::warn!(
            "{}: the journal is damaged and was set aside; the waits in it are forgotten, its orders counted again",
            aside.display()
        );
    }
    let unreadable = |seq: Seq, why: String| {
        Failure::new(Class::Operator, "state:unreadable", format!("{scope:?} record {seq}"), why)
            .advise("was it edited by hand, or written by a newer everleaf? move it away to start anew")
    };
    let entry = |record: crate::ports::Record| {
        let event = serde_json::from_value(record.event).map_err(|error| unreadable(record.seq, error.to_string()))?;
        Ok(Entry { seq: record.seq, at: record.at, event })
    };
    let entries: Result<Vec<Entry<E>>, Failure> = loaded.records.into_iter().map(entry).collect();
    Ok((entries?, anew))
}
