//! What must hold after every step, whatever went wrong before it. Each invariant is a function; its name is what fails.

mod acts;
mod ends;
mod records;
mod waves;

use crate::coverage;
use crate::forge::FakeCertificate;
use crate::nodes::served;
use crate::world::State;
use everleaf::agent::Report;
use everleaf::config::spec::{Confirm, Endpoint, Quota};
use everleaf::core::event::{Alert, IssuerEvent, NodeEvent};
use everleaf::core::ledger::{Gate, Phase, Want};
use everleaf::core::outcome::{Stage, standing};
use everleaf::core::schedule::last_call;
use everleaf::core::{Entry, Event, Facts, Horizon, Ledger, Plan, Reason, Shared, Sightings, plan};
use everleaf::ports::{Generation, NewOrder, Production, Proof, Record, Scope};
use everleaf::types::{
    Attempt, CertName, Digest, Fingerprint, GenId, Identifier, IssuerName, KeyId, NodeName, RequestId, Seq, SpecDigest,
    Timestamp,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const DAY: u64 = 86_400_000;

/// What is remembered in order to judge; the agent knows nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    pub(crate) violations: Vec<String>,
    /// Every certificate is planned after each of its records, or, where it goes to hundreds of nodes, after one in so many.
    pub(crate) plans_one_in: u64,
    /// Challenges that are up now.
    pub(crate) proofs_up: BTreeMap<(CertName, String), Proof>,
    /// The replay of everything ever appended.
    pub(crate) truth: BTreeMap<CertName, Rc<Ledger>>,
    certificates: BTreeMap<Fingerprint, FakeCertificate>,
    looks: BTreeMap<CertName, Vec<Looked>>,
    drawn: BTreeMap<(CertName, Timestamp, Timestamp), Timestamp>,
    ordered_names: BTreeMap<SpecDigest, Vec<Identifier>>,
    counted: Vec<Counted>,
    intended: BTreeMap<CertName, Vec<(u64, SpecDigest)>>,
    asked: BTreeMap<CertName, Vec<u64>>,
    fired: BTreeSet<RequestId>,
    /// How many orders failed in a row, and when the last one did.
    failed: BTreeMap<CertName, (usize, u64)>,
    /// What was wanted until the last decision, and when that was.
    wanted_before: BTreeMap<CertName, (u64, Want)>,
    /// When journals were rebuilt.
    rebuilt: BTreeMap<CertName, u64>,
    /// Intents that were followed by a request.
    opened: BTreeSet<(CertName, Attempt)>,
    demands: BTreeMap<CertName, u64>,
    pub(crate) one_shots: Vec<u64>,
    reloads: BTreeMap<(CertName, NodeName), Vec<u64>>,
    /// Certificates whose journal was damaged or lost.
    harmed: BTreeSet<CertName>,
    /// Whether anything was ever rehearsed.
    pub(crate) rehearsed: bool,
    /// When the clock was last set, in true time.
    pub(crate) clock_set: Option<u64>,
    courses: waves::Courses,
}

#[derive(Debug)]
struct Looked {
    endpoint: Endpoint,
    leaf: Fingerprint,
    began: u64,
    handshakes: u32,
    /// Something else was shown since, which is forgotten where the run ends before it can write that down.
    doubted: bool,
}

#[derive(Debug)]
struct Counted {
    issuer: IssuerName,
    certificate: CertName,
    domains: Vec<String>,
    names: Digest,
    exempt: bool,
    at: u64,
    /// Whether it ended before a CSR was sent.
    unissued: bool,
}

impl Watcher {
    pub(crate) fn violated(&mut self, invariant: &str, how: impl Into<String>) {
        self.violations.push(format!("{invariant}: {}", how.into()));
    }

    pub(crate) fn issued(&mut self, certificate: &FakeCertificate) {
        self.certificates.insert(certificate.leaf(), certificate.clone());
    }

    pub(crate) fn certificate(&self, leaf: &Fingerprint) -> Option<&FakeCertificate> {
        self.certificates.get(leaf)
    }

    pub(crate) fn ledger(&self, name: &CertName) -> Rc<Ledger> {
        self.truth.get(name).cloned().unwrap_or_default()
    }

    fn clock_was_set_within(&self, mono: u64, span: u64) -> bool {
        self.clock_set.is_some_and(|at| mono.saturating_sub(at) < span)
    }
}

// ------------------------------------------------------------------------------------------------------------- journals

impl State {
    /// Records were appended.
    pub(crate) fn appended(&mut self, scope: &Scope, expect: Seq, at: Timestamp, events: &[Value]) {
        let mut seq = expect;
        for event in events {
            seq = seq.next();
            match scope {
                Scope::Certificate(name) => {
                    if let Some(event) = self.readable::<Event>(event) {
                        self.count_event(&event);
                        self.happened(name, &Entry { seq, at, event });
                    }
                }
                Scope::Issuer(issuer) => {
                    let at = self.mono;
                    let event = self.readable(event);
                    if let Some(event) = &event {
                        self.count("issuer event", coverage::issuer_event(event));
                    }
                    match event {
                        Some(IssuerEvent::OrderCounted { certificate, names, domains, exempt, .. }) => {
                            let issuer = issuer.clone();
                            let counted = Counted { issuer, certificate, domains, names, exempt, at, unissued: false };
                            self.watcher.counted.push(counted);
                        }
                        Some(IssuerEvent::OrderUnissued { certificate }) => {
                            let sent = self.watcher.truth.get(&certificate).and_then(|ledger| ledger.order.as_ref());
                            if sent.is_some() {
                                self.watcher.violated("only_what_ended_is_given_back", certificate.to_string());
                            }
                            let mine = |it: &&mut Counted| it.certificate == certificate && it.issuer == *issuer;
                            let last = self.watcher.counted.iter_mut().rfind(mine);
                            if let Some(counted) = last {
                                counted.unissued = true;
                            }
                        }
                        _ => {}
                    }
                }
                Scope::Node(node) => {
                    if let Some(event) = self.readable(event) {
                        if matches!(event, NodeEvent::Failed { .. }) {
                            self.node_failed(node);
                        }
                        self.count("node event", coverage::node_event(&event));
                    }
                }
            }
        }
        if let Scope::Certificate(name) = scope
            && self.points.is_multiple_of(self.watcher.plans_one_in.max(1))
        {
            self.plan_moves_on(name);
        }
    }

    fn count_event(&mut self, event: &Event) {
        self.count("event", coverage::event(event));
        match event {
            Event::Asked { ask, .. } => self.count("ask", coverage::ask(ask)),
            Event::Told { alert, .. } => self.count("alert", coverage::alert(alert)),
            _ => {}
        }
    }

    fn readable<E: serde::de::DeserializeOwned>(&mut self, event: &Value) -> Option<E> {
        match serde_json::from_value(event.clone()) {
            Ok(event) => Some(event),
            Err(error) => {
                self.watcher.violated("what_is_written_can_be_read", format!("{error}: {event}"));
                None
            }
        }
    }

    fn happened(&mut self, name: &CertName, entry: &Entry<Event>) {
        let before = self.watcher.truth.remove(name).unwrap_or_default();
        let violations = self.watcher.violations.len();
        self.force_fires_once(name, &entry.event);
        self.orders_are_paced(name, &before, &entry.event);
        self.budget_is_never_exceeded(name, &entry.event);
        self.retry_after_is_kept(name, &before, &entry.event);
        self.rollback_is_not_undone(name, &before, &entry.event);
        self.failures_are_remembered(name, &before, &entry.event);
        self.a_lost_reply_costs_no_certificate(name, &before, &entry.event);
        self.a_rebuilt_journal_is_cautious(name, &before, &entry.event);
        self.live_only_if_seen(name, &before, &entry.event);
        self.reloads_are_paced(name, &entry.event);
        self.a_wave_comes_after_the_pause(name, &before, entry);
        if let (Event::Accepted { .. } | Event::WantSet { .. }, Some(want)) = (&entry.event, &before.want) {
            self.watcher.wanted_before.insert(name.clone(), (self.mono, want.clone()));
        }
        if matches!(entry.event, Event::Lagging { .. }) {
            self.sightings_are_durable(name);
        }
        let mut ledger = before;
        // At most one open order, each step after the one before: the ledger refuses anything else.
        if let Err(illegal) = Rc::make_mut(&mut ledger).apply(entry) {
            self.watcher.violated("journal_is_legal", illegal.to_string());
        }
        self.note_stop(name, &ledger);
        self.watcher.truth.insert(name.clone(), ledger);
        if self.watcher.violations.len() > violations {
            self.say(|| format!("VIOLATED by {:?}", entry.event));
        }
    }

    /// A journal was damaged or lost: what it said is known no longer.
    pub(crate) fn forgotten(&mut self, scope: &Scope) {
        match scope {
            Scope::Certificate(name) => {
                self.watcher.truth.remove(name);
                self.watcher.demands.remove(name);
                self.watcher.harmed.insert(name.clone());
                // Which challenges are up, only the journal knew.
                self.watcher.proofs_up.retain(|(of, _), _| of != name);
            }
            Scope::Issuer(issuer) => self.watcher.counted.retain(|counted| counted.issuer != *issuer),
            Scope::Node(_) => {}
        }
    }

    /// A journal was compacted: its replay must be what it was.
    pub(crate) fn compacted(&mut self, scope: &Scope) {
        self.count(
            match scope {
                Scope::Certificate(_) => "event",
                Scope::Issuer(_) => "issuer event",
                Scope::Node(_) => "node event",
            },
            "Snapshot",
        );
        if let Scope::Certificate(name) = scope {
            self.replay_is_the_ledger(name);
        }
    }

    /// `replay(journal) == ledger`, through compaction.
    pub(crate) fn replay_is_the_ledger(&mut self, name: &CertName) {
        let mut replayed = Ledger::default();
        for Record { seq, at, event } in self.store.journal(name).to_vec() {
            let Some(event) = self.readable::<Event>(&event) else { return };
            if let Err(illegal) = replayed.apply(&Entry { seq, at, event }) {
                self.watcher.violated("replay_is_the_ledger", illegal.to_string());
            }
        }
        if replayed != *self.watcher.ledger(name) {
            self.watcher.violated("replay_is_the_ledger", format!("{name} replays to something else"));
        }
    }
}
