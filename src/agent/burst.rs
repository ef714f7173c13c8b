//! One burst: certificates at hand, work under way, and the loop between them.

use super::commons::Commons;
use super::hand::{Hand, Opened};
use super::perform::{Bench, Done, Saw, perform};
use super::{AT_HAND, Agent, Effort, Lead, Next};
use crate::config::spec::{Certificate, Issuer};
use crate::core::event::IssuerEvent;
use crate::core::outcome::standing;
use crate::core::{Batch, Docket, Effect, Event, LONGEST_PAUSE, Reason, Slot, Work, admit, plan};
use crate::ports::{AppendError, Clock, HookContext, Pending};
use crate::types::{CertName, Failure, GenId, NodeName, Timestamp};
use futures_util::StreamExt;
use futures_util::future::{Either, FutureExt, Shared, select};
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Decisions recorded one after another before anything is done; more than this is a loop, and a defect.
const MOST_DECISIONS: usize = 32;
/// …beside those on each node: many come through, or fall behind, at one instant.
const MOST_DECISIONS_A_NODE: usize = 4;

/// When a burst ends, by the monotonic clock: a wall clock that jumps neither cuts it short nor makes it endless.
#[derive(Clone)]
pub(super) struct Deadline {
    whole: Shared<Pending<'static, ()>>,
    half: Shared<Pending<'static, ()>>,
}

impl Deadline {
    pub(super) fn new(clock: &Rc<dyn Clock>, span: Duration) -> Self {
        let after = |span: Duration| {
            let clock = Rc::clone(clock);
            let over: Pending<'static, ()> = Box::pin(async move { clock.sleep(span).await });
            over.shared()
        };
        Self { whole: after(span), half: after(span / 2) }
    }

    fn is_over(&self) -> bool {
        self.whole.clone().now_or_never().is_some()
    }

    fn is_half_over(&self) -> bool {
        self.half.clone().now_or_never().is_some()
    }
}

pub(super) struct Burst<'a> {
    agent: &'a Agent,
    lead: &'a dyn Lead,
    commons: Commons,
    deadline: Deadline,
    hands: BTreeMap<CertName, Hand>,
    docket: Docket,
    /// Certificates of which something changed since they were planned.
    stale: BTreeSet<CertName>,
    /// When anything was planned last.
    planned: Timestamp,
    under_way: FuturesUnordered<Pending<'static, Done>>,
}

impl<'a> Burst<'a> {
    pub(super) fn new(agent: &'a Agent, lead: &'a dyn Lead, commons: Commons, deadline: Deadline) -> Self {
        Self {
            agent,
            lead,
            commons,
            deadline,
            hands: BTreeMap::new(),
            docket: Docket::default(),
            stale: BTreeSet::new(),
            planned: agent.ports.clock.now(),
            under_way: FuturesUnordered::new(),
        }
    }

    pub(super) async fn run(mut self, names: &[CertName]) {
        self.open(names);
        loop {
            match self.lead.next() {
                Next::End => break,
                Next::WindDown if self.under_way.is_empty() => break,
                Next::WindDown => {
                    self.wait(None).await;
                    continue;
                }
                Next::Take(names) => self.take_in(&names),
            }
            if self.hands.is_empty() || self.deadline.is_over() {
                break;
            }
            let (decided, planned) = self.decide();
            let batch = self.admit();
            self.agent.observer.turned(&Effort { planned, examined: batch.examined });
            let began = self.begin(&batch);
            self.let_go(&decided, &batch);
            if self.hands.is_empty() {
                continue;
            }
            // Work that could not begin because somebody else was quicker is planned again at once.
            if began || batch.work.is_empty() {
                if !self.may_wait(&batch) {
                    break;
                }
                self.wait(self.docket.pause()).await;
            }
        }
        // At the deadline what is under way is dropped, which stops it; its intents are in the journal.
        self.under_way.clear();
        let left: Vec<CertName> = self.hands.keys().cloned().collect();
        for name in left {
            self.close(&name);
        }
    }

    /// Takes in what the lead names, as far as there is room and time.
    fn take_in(&mut self, names: &[CertName]) {
        let mut more = Vec::new();
        for name in names {
            if self.hands.contains_key(name) {
                self.stale.insert(name.clone());
            } else {
                more.push(name.clone());
            }
        }
        if more.is_empty() || self.deadline.is_half_over() {
            return;
        }
        more.truncate(AT_HAND.saturating_sub(self.hands.len()));
        // Others may have written to what is shared since this burst began.
        if let Err(failure) = self.commons.catch_up(&self.agent.ports) {
            tracing::warn!("{failure}");
        }
        self.open(&more);
    }

    fn open(&mut self, names: &[CertName]) {
        for name in names {
            let (broken, locked) = match Hand::open(&self.agent.ports, name) {
                Opened::Ready(hand) => {
                    self.lead.took(name);
                    self.stale.insert(name.clone());
                    self.hands.insert(name.clone(), *hand);
                    continue;
                }
                Opened::Locked(holder) => (None, Some(holder)),
                Opened::Broken(failure) => (Some(failure), None),
            };
            let facts = super::hand::read(&self.agent.ports, name).unwrap_or_default();
            let mut account = self.agent.account_for(name, facts, broken, None, &self.commons);
            account.locked = locked.map(|holder| holder.unwrap_or_else(|| super::nobody(self.agent.ports.clock.now())));
            self.lead.let_go(name, account);
        }
    }

    // ------------------------------------------------------------------------------------------------------- deciding

    /// Plans whatever changed, and records decisions until only effects are left. Says for which certificates, and how many
    /// plans that took.
    fn decide(&mut self) -> (BTreeSet<CertName>, usize) {
        let offsets = self.agent.ports.cas.values().filter_map(|ca| ca.clock_offset());
        self.commons.shared.clock_offset = offsets.max_by_key(|offset| offset.abs());
        let now = self.agent.ports.clock.now();
        // A clock that was set back: waits are of another length than they were planned.
        if now < std::mem::replace(&mut self.planned, now) {
            self.stale.extend(self.hands.keys().cloned());
        }
        let mut names = std::mem::take(&mut self.stale);
        names.extend(self.docket.woken(now).cloned());
        let planned = names.iter().map(|name| self.decide_one(name)).sum();
        (names, planned)
    }

    fn decide_one(&mut self, name: &CertName) -> usize {
        let ports = &self.agent.ports;
        let nodes = self.agent.spec.certificates.get(name).map_or(0, |certificate| certificate.nodes.len());
        let most = MOST_DECISIONS + nodes * MOST_DECISIONS_A_NODE;
        for made in 0..most {
            let Some(hand) = self.hands.get_mut(name) else { return made };
            self.stale.remove(name);
            if hand.broken.is_some() {
                self.docket.strike(name);
                return made;
            }
            // Only now: whoever drops a request waits for the lock, and a thousand directories take time to list.
            hand.take_requests(ports);
            let now = ports.clock.now();
            let mut plan =
                plan(&self.agent.spec, name, &hand.facts, &self.commons.shared, now, self.agent.settings.horizon);
            plan.steps.retain(|step| !hand.given_up.contains(&step.slot));
            if self.agent.settings.rehearsal {
                plan.steps.retain(|step| rehearsed(&step.slot));
            }
            let record = plan
                .steps
                .iter()
                .position(|step| matches!(step.effect, Effect::Record(_)) && !self.docket.holds(name, &step.slot));
            let decision = record.map(|at| plan.steps.remove(at));
            self.docket.enter(name, plan, hand.facts.ledger.order.as_ref().map(|order| &order.issuer));
            let Some(Effect::Record(event)) = decision.map(|step| step.effect) else { return made + 1 };
            self.happened(name, vec![event]);
        }
        self.goes_round(name);
        most
    }

    /// A defect of everleaf, which must not fill a disk: the certificate is left alone until the next run.
    fn goes_round(&mut self, name: &CertName) {
        let Some(hand) = self.hands.get_mut(name) else { return };
        let why = "its decisions do not come to an end";
        let failure = Failure::new(crate::types::Class::Operator, "internal", name.as_str(), why);
        tracing::error!("{failure}");
        hand.broken = Some(failure);
        self.stale.insert(name.clone());
    }

    fn admit(&self) -> Batch {
        admit(&self.docket, &self.agent.spec, &self.commons.shared, self.agent.ports.clock.now())
    }

    // -------------------------------------------------------------------------------------------------------- working

    /// Begins what was admitted, each intent durable first. Says whether everything could begin.
    fn begin(&mut self, batch: &Batch) -> bool {
        let mut all = true;
        for work in &batch.work {
            all &= self.begin_one(work);
        }
        all
    }

    fn begin_one(&mut self, work: &Work) -> bool {
        let (Some((name, _)), Some(effect)) = (work.parts.first(), work.effect()) else { return true };
        if let Some(trouble) = self.unready(name, effect) {
            // What is recorded is planned from at once; nothing was begun.
            self.happened(name, vec![trouble]);
            self.turn_back(name);
            return false;
        }
        if !self.count(name, effect) {
            return false;
        }
        if let Some(intent) = effect.intent()
            && !self.happened(name, vec![intent])
        {
            return false;
        }
        let Some(hand) = self.hands.get(name) else { return false };
        let contexts = work.parts.iter().filter_map(|(name, step)| self.context(name, &step.effect)).collect();
        let bench = Bench {
            spec: Rc::clone(&self.agent.spec),
            ports: self.agent.ports.clone(),
            name: name.clone(),
            ledger: hand.facts.ledger.clone(),
            rehearsal: self.agent.settings.rehearsal,
            host: self.agent.settings.host.clone(),
        };
        for (name, step) in &work.parts {
            match &step.why {
                Reason::Drifted { .. } => tracing::warn!(certificate = %name, "{}: it is published anew", step.why),
                Reason::Lost { .. } if matches!(step.effect, Effect::OpenOrder { .. }) => {
                    tracing::warn!(certificate = %name, "{}: another one is ordered", step.why);
                }
                _ => {}
            }
        }
        self.agent.observer.began(work);
        self.docket.begin(work);
        self.under_way.push(perform(bench, contexts, work.clone()));
        true
    }

    /// Counts a piece of work that could not begin: what is planned in its stead may not begin either, and that has a bound.
    fn turn_back(&mut self, name: &CertName) {
        let Some(hand) = self.hands.get_mut(name) else { return };
        hand.turned_back += 1;
        if hand.turned_back > MOST_DECISIONS {
            self.goes_round(name);
        }
    }

    /// What on this machine alone stands against an order, before it is counted and intended.
    fn unready(&self, name: &CertName, effect: &Effect) -> Option<Event> {
        let Effect::OpenOrder { issuer, intent, .. } = effect else { return None };
        let Event::OrderIntended { key, names, spec_digest, settings, .. } = &**intent else { return None };
        let ports = &self.agent.ports;
        let ready =
            ports.keys.csr(name, key, names).and_then(|_| ports.cas.get(issuer).map_or(Ok(()), |ca| ca.is_ready()));
        let failure = ready.err()?;
        if failure.is_lost_key() {
            tracing::warn!(certificate = %name, "{failure}: a new key is made");
            return Some(Event::KeyDiscarded { key: *key });
        }
        Some(Event::PreparationFailed { failure, spec_digest: Some(*spec_digest), settings: *settings })
    }

    /// Counts an order against the CA's budget before it is intended. If another process was quicker, plan again.
    fn count(&mut self, name: &CertName, effect: &Effect) -> bool {
        let Effect::OpenOrder { issuer, counted, .. } = effect else { return true };
        let event = IssuerEvent::OrderCounted {
            certificate: counted.certificate.clone(),
            directory: counted.directory.clone(),
            names: counted.names,
            domains: counted.domains.clone(),
            exempt: counted.exempt,
        };
        let error = match self.commons.count_order(&self.agent.ports, issuer, event) {
            Ok(()) => return true,
            Err(AppendError::Stale(_)) => self.commons.catch_up(&self.agent.ports).err(),
            Err(AppendError::Failed(failure)) => Some(failure),
        };
        self.stale.extend(self.hands.keys().cloned());
        if let (Some(failure), Some(hand)) = (error, self.hands.get_mut(name)) {
            tracing::info!(certificate = %name, "{failure}");
            hand.broken = Some(failure);
        }
        false
    }

    /// Whether there is anything to wait for.
    fn may_wait(&self, batch: &Batch) -> bool {
        !self.under_way.is_empty() || !batch.work.is_empty() || self.docket.pause().is_some()
    }

    /// Waits until something finishes, until `pause`, or until the lead wants to be asked again.
    async fn wait(&mut self, pause: Option<Timestamp>) {
        let now = self.agent.ports.clock.now();
        let span = pause.map_or(LONGEST_PAUSE, |at| at.since(now)).min(LONGEST_PAUSE).min(self.lead.beat());
        let slept = select(self.agent.ports.clock.sleep(span), self.deadline.whole.clone());
        let first = if self.under_way.is_empty() {
            slept.await;
            None
        } else {
            match select(self.under_way.next(), slept).await {
                Either::Left((done, _)) => done,
                Either::Right(_) => None,
            }
        };
        if let Some(done) = first {
            self.finish(done);
        }
        // Drain whatever else has finished, and plan once for all of it.
        while let Some(Some(done)) = self.under_way.next().now_or_never() {
            self.finish(done);
        }
    }

    fn finish(&mut self, done: Done) {
        self.docket.end(&done.work);
        let ports = &self.agent.ports;
        // What a CA or a node is like concerns all that wait for it: a hundred orders must not meet one outage.
        if let Some((issuer, failure)) = &done.issuer {
            let settings = self.agent.spec.issuers.get(issuer).map(Issuer::settings);
            if self.commons.issuer_fared(ports, issuer, settings, failure.as_ref()) {
                self.concerns(|certificate| certificate.issuer == *issuer);
            }
        }
        if let Some((node, failure)) = &done.node
            && self.commons.node_fared(ports, node, failure.as_ref())
        {
            self.concerns(|certificate| certificate.nodes.contains(node));
        }
        let mended = done.work.parts.iter().any(|(_, step)| matches!(step.why, Reason::Drifted { .. }));
        for (name, events) in done.events {
            for event in events.iter().filter(|_| mended) {
                if let Event::Deployed { node, notes, .. } = event {
                    for note in notes {
                        tracing::warn!(certificate = %name, %node, "{note}");
                    }
                }
            }
            self.happened(&name, events);
        }
        for (name, saw) in done.saw {
            if let Some(hand) = self.hands.get_mut(&name) {
                self.stale.insert(name);
                hand.see(|seen| match saw {
                    Saw::Ari(generation, answer) => seen.saw_ari(generation, ports.clock.now(), answer),
                    Saw::Endpoint(id, endpoint) => seen.saw_endpoint(id, endpoint),
                    Saw::Node(node, files) => drop(seen.nodes.insert(node, files)),
                    Saw::Timer(timer) => seen.timer = Some(timer),
                });
            }
        }
        for (name, step) in &done.work.parts {
            let Some(hand) = self.hands.get_mut(name) else { continue };
            self.stale.insert(name.clone());
            if let Some(failure) = &done.failed {
                tracing::warn!(certificate = %name, "{failure}");
                hand.given_up.insert(step.slot.clone());
            }
        }
    }

    /// Certificates at hand that something concerns are planned anew.
    fn concerns(&mut self, whom: impl Fn(&Certificate) -> bool) {
        let certificates = &self.agent.spec.certificates;
        let concerned = self.hands.keys().filter(|name| certificates.get(*name).is_some_and(&whom));
        self.stale.extend(concerned.cloned());
    }

    /// Makes events durable and known.
    fn happened(&mut self, name: &CertName, events: Vec<Event>) -> bool {
        let Some(hand) = self.hands.get_mut(name) else { return false };
        self.stale.insert(name.clone());
        let epoch = hand.facts.ledger.next_epoch(self.agent.ports.clock.now());
        let at_epoch = |event| match event {
            Event::Accepted { generation, notes, .. } => Event::Accepted { generation, epoch, notes },
            event => event,
        };
        let events: Vec<Event> = events.into_iter().map(at_epoch).collect();
        let told = events.clone();
        let unissued = events.iter().find_map(|event| hand.facts.ledger.ends_unissued(event)).cloned();
        let durable = hand.append(&self.agent.ports, events);
        if durable {
            if let Some(issuer) = unissued {
                self.commons.order_unissued(&self.agent.ports, &issuer, name);
            }
            for event in &told {
                self.agent.observer.happened(name, event);
            }
        }
        durable
    }

    // --------------------------------------------------------------------------------------------------------- ending

    /// Lets go of certificates of which nothing is due now: one of those that were just planned, or that a limit refuses.
    fn let_go(&mut self, decided: &BTreeSet<CertName>, batch: &Batch) {
        let now = self.agent.ports.clock.now();
        for name in decided.iter().chain(&batch.refused) {
            if self.hands.get(name).is_some_and(|hand| self.is_done(hand, batch, now)) {
                self.close(name);
            }
        }
        // What a limit refuses to somebody who is still at work is not asked for again: the limit is planned with.
        self.stale.extend(batch.refused.iter().filter(|name| self.hands.contains_key(*name)).cloned());
    }

    fn is_done(&self, hand: &Hand, batch: &Batch, now: Timestamp) -> bool {
        if !self.docket.is_idle(&hand.name) {
            return false;
        }
        if hand.broken.is_some() {
            return true;
        }
        let Some(plan) = self.docket.plan(&hand.name) else { return true };
        let refused = |slot: &Slot| *slot == Slot::Issue && batch.refused.contains(&hand.name);
        let held_back = plan.steps.iter().any(|step| !refused(&step.slot));
        !(held_back || self.stale.contains(&hand.name) || plan.pauses(now))
    }

    fn close(&mut self, name: &CertName) {
        let Some(hand) = self.hands.remove(name) else { return };
        self.docket.remove(name);
        self.stale.remove(name);
        let agent = self.agent;
        let now = agent.ports.clock.now();
        let plan = plan(&agent.spec, name, &hand.facts, &self.commons.shared, now, agent.settings.horizon);
        let standing = standing(&agent.spec, name, &hand.facts, &self.commons.shared, &plan, now);
        self.lead.let_go(name, hand.close(&agent.ports, agent.settings.compact_after, standing, plan));
    }

    // ---------------------------------------------------------------------------------------------------------- hooks

    /// What a hook is told of this effect.
    fn context(&self, name: &CertName, effect: &Effect) -> Option<HookContext> {
        let hand = self.hands.get(name)?;
        let certificate = self.agent.spec.certificates.get(name)?;
        let ledger = &hand.facts.ledger;
        let (node, epoch, generation): (Option<&NodeName>, _, Option<GenId>) = match effect {
            Effect::Deploy { node, epoch, generation, .. } | Effect::Reload { node, epoch, generation, .. } => {
                (Some(node), Some(*epoch), Some(*generation))
            }
            Effect::Placeholder { node } => (Some(node), None, None),
            Effect::RunPre | Effect::RunPost => (None, None, ledger.want.as_ref().map(|want| want.default.generation)),
            _ => return None,
        };
        let about = generation.and_then(|generation| ledger.generations.get(&generation)).map(|held| &held.about);
        let previous =
            ledger.accepted().map(|held| &held.about).rfind(|held| generation.is_none_or(|it| held.generation < it));
        let spec = &self.agent.spec;
        let live = node.and_then(|node| spec.nodes.get(node)).map_or(&spec.paths.live, |node| &node.live);
        let generations = || spec.paths.state.join("certs").join(name.as_str()).join("gen");
        Some(HookContext {
            name: name.clone(),
            domains: certificate.names.clone(),
            node: node.cloned(),
            generation,
            epoch,
            live_dir: live.join(name.as_str()),
            files: generation.map(|generation| generations().join(generation.to_string())),
            serial: about.map(|about| about.serial.clone()),
            not_after: about.map(|about| about.validity.end),
            prev_serial: previous.map(|about| about.serial.clone()),
            reason: ledger.want.as_ref().map(|want| want.default.why.clone()).unwrap_or_default(),
            dry_run: self.agent.settings.rehearsal,
            attempt: ledger.attempts.0,
        })
    }
}

/// What a rehearsal exercises: everything up to the gate, and the hooks around an order.
const fn rehearsed(slot: &Slot) -> bool {
    matches!(slot, Slot::Want | Slot::Issue | Slot::Cleanup | Slot::Post | Slot::Upkeep)
}
