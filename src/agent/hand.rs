//! A certificate at hand: its lock held, its facts in memory, its journal open for one burst.

use super::{CertificateReport, Ports};
use crate::core::{Ask, Entry, Event, Facts, Ledger, Plan, Sightings, Slot, outcome::Standing};
use crate::ports::{AppendError, LockError, LockGuard, Record, Request, Scope};
use crate::types::{CertName, Class, Failure, Seq};
use std::collections::BTreeSet;

/// A certificate at hand.
pub(super) struct Hand {
    pub(super) name: CertName,
    pub(super) facts: Facts,
    /// Why everleaf stopped acting on it, if it did.
    pub(super) broken: Option<Failure>,
    /// What failed in a way that leaves no record; not tried again in this burst.
    pub(super) given_up: BTreeSet<Slot>,
    /// How often something could not begin here, and was planned anew at once.
    pub(super) turned_back: usize,
    changed: bool,
    seen_changed: bool,
    records: usize,
    _lock: Box<dyn LockGuard>,
}

/// What came of opening a certificate.
pub(super) enum Opened {
    Ready(Box<Hand>),
    Locked(Option<crate::ports::Holder>),
    Broken(Failure),
}

impl Hand {
    /// Locks a certificate and reads what is known of it. A damaged journal is rebuilt from its generations.
    pub(super) fn open(ports: &Ports, name: &CertName) -> Opened {
        let lock = match ports.locks.try_lock(name) {
            Ok(lock) => lock,
            Err(LockError::Held(holder)) => return Opened::Locked(holder),
            Err(LockError::Failed(failure)) => return Opened::Broken(failure),
        };
        let mut hand = Self {
            name: name.clone(),
            facts: Facts::default(),
            broken: None,
            given_up: BTreeSet::new(),
            turned_back: 0,
            changed: false,
            seen_changed: false,
            records: 0,
            _lock: lock,
        };
        match hand.load(ports) {
            Ok(()) => {
                hand.facts.seen = recall(ports, name, &hand.facts.ledger);
                Opened::Ready(Box::new(hand))
            }
            Err(failure) => Opened::Broken(failure),
        }
    }

    fn load(&mut self, ports: &Ports) -> Result<(), Failure> {
        let loaded = ports.journal.load(&self.scope(), Seq(0))?;
        self.records = loaded.records.len();
        for record in &loaded.records {
            replay(&mut self.facts.ledger, record)?;
        }
        // A first order must not be made because a file is gone: what was issued lies there still.
        let lost = loaded.set_aside.is_none() && loaded.records.is_empty();
        let generations =
            if lost || loaded.set_aside.is_some() { ports.generations.list(&self.name)? } else { Vec::new() };
        if loaded.set_aside.is_some() || !generations.is_empty() {
            let note = match loaded.set_aside {
                Some(aside) => format!("the journal was damaged and is set aside as {}", aside.display()),
                None => "the journal is gone".to_owned(),
            } + "; what it said is rebuilt from the certificates that are kept";
            let name = &self.name;
            tracing::warn!(
                "{name}: {note}; for a day nothing is ordered, but at the last call or by `everleaf renew {name} --force`"
            );
            self.append(ports, vec![Event::Rebuilt { generations, note: note.into() }]);
            self.broken.clone().map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Journals the requests that commands dropped.
    pub(super) fn take_requests(&mut self, ports: &Ports) {
        for Request { id, by, ask } in ports.memory.requests(&self.name) {
            // One whose file could not be removed before is no new request.
            if self.facts.ledger.knows_request(&id) {
                ports.memory.request_journaled(&self.name, &id);
                continue;
            }
            match serde_json::from_value::<Ask>(ask) {
                Ok(ask) => {
                    if !self.append(ports, vec![Event::Asked { id: id.clone(), ask, by }]) {
                        return;
                    }
                }
                Err(error) => tracing::warn!(certificate = %self.name, request = %id, "dropped a request: {error}"),
            }
            ports.memory.request_journaled(&self.name, &id);
        }
    }

    /// Makes events durable, then known. Says whether it worked; if not, nothing more is done for this certificate.
    pub(super) fn append(&mut self, ports: &Ports, events: Vec<Event>) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let at = ports.clock.now();
        let mut ledger = self.facts.ledger.clone();
        let mut values = Vec::with_capacity(events.len());
        for event in events {
            self.changed |= changes_the_world(&event);
            let value = serde_json::to_value(&event).map_err(|error| internal(&self.name, &error.to_string()));
            let applied = ledger
                .apply(&Entry { seq: ledger.seq.next(), at, event })
                .map_err(|error| internal(&self.name, &error.to_string()));
            match value.and_then(|value| applied.map(|()| value)) {
                Ok(value) => values.push(value),
                Err(failure) => return self.give_up(failure),
            }
        }
        match ports.journal.append(&self.scope(), self.facts.ledger.seq, at, &values) {
            Ok(_) => {}
            Err(AppendError::Failed(failure)) => return self.give_up(failure),
            // Nobody else may write while we hold the lock: whoever did, did not ask. Stop rather than act on old facts.
            Err(AppendError::Stale(seq)) => {
                let why = format!("its journal grew to {seq} under our lock");
                return self.give_up(Failure::new(Class::Retry, "state:stale", self.name.as_str(), why));
            }
        }
        self.records += values.len();
        self.facts.ledger = ledger;
        true
    }

    fn give_up(&mut self, failure: Failure) -> bool {
        tracing::info!(certificate = %self.name, "{failure}");
        self.broken = Some(failure);
        false
    }

    /// Takes in what was seen.
    pub(super) fn see(&mut self, saw: impl FnOnce(&mut Sightings)) {
        saw(&mut self.facts.seen);
        self.seen_changed = true;
    }

    /// Ends the burst: writes down what was seen, compacts a long journal, lets go of the lock.
    pub(super) fn close(
        self,
        ports: &Ports,
        compact_after: usize,
        standing: Standing,
        plan: Plan,
    ) -> CertificateReport {
        if self.seen_changed
            && let Ok(seen) = serde_json::to_value(&self.facts.seen)
        {
            ports.memory.remember(&self.name, &seen);
        }
        if self.records >= compact_after && self.broken.is_none() {
            self.compact(ports);
        }
        let Self { facts, changed, broken, .. } = self;
        CertificateReport { facts, standing, plan, looked: ports.clock.now(), changed, broken, locked: None }
    }

    fn compact(&self, ports: &Ports) {
        let snapshot = Event::Snapshot { ledger: Box::new(self.facts.ledger.clone()) };
        let Ok(snapshot) = serde_json::to_value(&snapshot) else { return };
        let now = ports.clock.now();
        if let Err(error) = ports.journal.compact(&self.scope(), self.facts.ledger.seq, now, &snapshot) {
            tracing::warn!(certificate = %self.name, "its journal could not be shortened: {error}");
        }
    }

    fn scope(&self) -> Scope {
        Scope::Certificate(self.name.clone())
    }
}

/// Reads what is known of a certificate without locking it.
///
/// # Errors
/// The journal's failure, or a record that cannot follow those before it.
pub(super) fn read(ports: &Ports, name: &CertName) -> Result<Facts, Failure> {
    let mut ledger = Ledger::default();
    for record in &ports.journal.load(&Scope::Certificate(name.clone()), Seq(0))?.records {
        replay(&mut ledger, record)?;
    }
    let seen = recall(ports, name, &ledger);
    Ok(Facts { ledger, seen })
}

fn recall(ports: &Ports, name: &CertName, ledger: &Ledger) -> Sightings {
    let seen = ports.memory.seen(name).and_then(|seen| serde_json::from_value::<Sightings>(seen).ok());
    seen.unwrap_or_default().beside(ledger.rebuilt)
}

fn replay(ledger: &mut Ledger, record: &Record) -> Result<(), Failure> {
    let unreadable = |why: String| {
        Failure::new(Class::Operator, "state:unreadable", format!("journal record {}", record.seq), why)
            .advise("was it edited by hand, or written by a newer everleaf? move it away to have it rebuilt")
    };
    let event = serde_json::from_value(record.event.clone()).map_err(|error| unreadable(error.to_string()))?;
    ledger.apply(&Entry { seq: record.seq, at: record.at, event }).map_err(|error| unreadable(error.to_string()))
}

fn internal(name: &CertName, why: &str) -> Failure {
    Failure::new(Class::Operator, "internal", name.as_str(), why)
        .advise("this is a defect of everleaf; what is published is not touched")
}

/// Whether an event changed what is issued, published or served.
fn changes_the_world(event: &Event) -> bool {
    matches!(
        event,
        Event::Accepted { .. }
            | Event::WantSet { .. }
            | Event::PlaceholderPublished { .. }
            | Event::Deployed { .. }
            | Event::Reloaded { .. }
            | Event::WentLive { .. }
    )
}
