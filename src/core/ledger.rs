//! The replay of a certificate's journal. [`Ledger::apply`] is the only mutation, and refuses what cannot have happened.

use super::event::{Alert, Ask, Entry, Event};
use super::hold::{Fruitless, Trouble};
pub use super::order::{OpenedOrder, Order, Phase};
use super::rollout;
use super::sightings::Sightings;
pub use super::want::{Aim, Milestone, Rolled, Want};
use crate::config::spec::KeyAlgorithm;
use crate::ports::{About, Proof, Violation};
use crate::types::{
    Attempt, Class, Digest, Epoch, Failure, GenId, IssuerName, KeyId, NodeName, NotifierName, Printable, RequestId,
    Seq, SpecDigest, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of one certificate: durable facts, and sightings that can be looked up again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The replay of the journal.
    pub ledger: Ledger,
    /// What was seen.
    pub seen: Sightings,
}

/// The replay of a certificate's journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The last record.
    pub seq: Seq,
    /// The newest time in the journal.
    pub newest: Option<Timestamp>,
    /// Requests not yet settled.
    pub asks: BTreeMap<RequestId, Asked>,
    /// The last ones settled: one whose file could not be removed is found again, and must not fire twice.
    pub settled: Vec<RequestId>,
    /// Keys on disk that no generation uses yet.
    pub spare_keys: BTreeMap<KeyId, SpareKey>,
    /// The last attempt's number.
    pub attempts: Attempt,
    /// The open order.
    pub order: Option<Order>,
    /// Trouble with issuing.
    pub issue: Trouble,
    /// Whether the last of it came before an order was intended, and so cost nothing.
    pub unspent: bool,
    /// An order that somebody asked for and whose reply was lost: they are owed another one, though the request is used up.
    pub owed: Option<Attempt>,
    /// The last orders that came to nothing.
    pub fruitless: Fruitless,
    /// What the last order was for: trouble with another specification is no trouble of this one.
    pub attempted: Option<SpecDigest>,
    /// With which settings of the issuer.
    pub attempted_with: Option<Digest>,
    /// Challenges that may be up, by attempt.
    #[serde(with = "pairs")]
    pub left_up: BTreeMap<Attempt, Vec<Proof>>,
    /// Trouble with taking them down.
    pub cleanup: Trouble,
    /// Generations on disk.
    pub generations: BTreeMap<GenId, Held>,
    /// The highest generation number ever given.
    pub last_number: u32,
    /// What should be served.
    pub want: Option<Want>,
    /// The highest epoch ever given.
    pub epoch: Epoch,
    /// The last key that was found to be gone: it is not reused.
    pub lost_key: Option<KeyId>,
    /// What is known of each node.
    pub nodes: BTreeMap<NodeName, Rolled>,
    /// When everything was last live.
    pub live: Option<Milestone>,
    /// Whether `pre` succeeded for the coming order.
    pub pre_done: bool,
    /// Whether `post` is owed.
    pub post_due: bool,
    /// Trouble with the `post` hook.
    pub post: Trouble,
    /// What people were told and not yet told the end of.
    pub told: BTreeMap<NotifierName, BTreeMap<Alert, Timestamp>>,
    /// Trouble with telling them.
    pub tell: BTreeMap<NotifierName, Trouble>,
    /// Since when the certificate is no longer configured.
    pub retired: Option<Timestamp>,
    /// When the journal was last rebuilt.
    pub rebuilt: Option<Timestamp>,
}

/// A request not yet settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What for.
    pub ask: Ask,
    /// Who.
    pub by: Printable,
    /// When it was journaled.
    pub at: Timestamp,
    /// Its record.
    pub seq: Seq,
}

/// A key that no generation uses yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareKey {
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// Its record: a request for a new key takes only keys made after it.
    pub seq: Seq,
}

/// A generation on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What it is.
    pub about: About,
    /// What the gate said.
    pub gate: Gate,
    /// Whether an early ARI window had called for it: such a window renews once.
    #[serde(default)]
    pub early_window: bool,
}

/// What the gate said of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// Nothing yet.
    Pending,
    /// It passed.
    Accepted {
        /// What people should know.
        notes: Vec<Printable>,
        /// When.
        at: Timestamp,
    },
    /// It was refused.
    Rejected {
        /// All that is wrong with it.
        violations: Vec<Violation>,
    },
}

/// A record that contradicts the ones before it: a defect of everleaf or of the file, never applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {event} cannot follow: {why}")]
pub struct IllegalEvent {
    /// Its number.
    pub seq: Seq,
    /// Its kind.
    pub event: &'static str,
    /// What it contradicts.
    pub why: String,
}

/// After a rebuild no order is made for this long, unless past the last call or forced.
const AFTER_REBUILD: Duration = Duration::from_secs(86_400);

/// Settled requests that are remembered: more files than this never lie in a certificate's directory unnoticed.
const MOST_SETTLED: usize = 64;

type Applied = Result<(), (&'static str, String)>;

impl Ledger {
    /// Replays one record.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow those before it; the ledger is unchanged.
    pub fn apply(&mut self, entry: &Entry<Event>) -> Result<(), IllegalEvent> {
        let illegal = |(event, why)| IllegalEvent { seq: entry.seq, event, why };
        if entry.seq <= self.seq && !matches!(entry.event, Event::Snapshot { .. }) {
            return Err(illegal(("record", format!("its number is not above {}", self.seq))));
        }
        self.apply_event(entry).map_err(illegal)?;
        self.seq = entry.seq;
        // A snapshot says nothing new: replaying it gives what it was taken of.
        if !matches!(entry.event, Event::Snapshot { .. }) {
            self.newest = self.newest.max(Some(entry.at));
        }
        Ok(())
    }

    fn apply_event(&mut self, entry: &Entry<Event>) -> Applied {
        let at = entry.at;
        match &entry.event {
            Event::Snapshot { ledger } => *self = (**ledger).clone(),
            Event::Rebuilt { generations, note } => self.rebuild(generations, note, at),
            Event::Asked { id, ask, by } => self.asked(id, ask, by, entry),
            Event::AskClosed { id, .. } => self.settle(id),
            Event::KeyMade { key, algorithm } => {
                self.spare_keys.insert(*key, SpareKey { algorithm: *algorithm, seq: entry.seq });
            }
            Event::KeyDiscarded { key } => {
                self.spare_keys.remove(key);
                self.lost_key = Some(*key);
            }
            Event::Retired => self.retired = Some(at),
            Event::Revived => self.retired = None,
            Event::Pruned { generation } => drop(self.generations.remove(generation)),
            Event::PreIntended => (self.pre_done, self.post_due) = (false, true),
            Event::PreDone => self.pre_done = true,
            Event::PostDone => {
                (self.pre_done, self.post_due) = (false, false);
                self.post.clear();
            }
            Event::PostFailed { failure } => self.post.attempt(at, failure),
            Event::PreparationFailed { failure, spec_digest, settings } => {
                self.issue.attempt(at, failure);
                self.attempted = spec_digest.or(self.attempted);
                self.attempted_with = settings.or(self.attempted_with);
                self.unspent = true;
            }
            Event::ChallengesDown { attempt } => {
                self.left_up.remove(attempt);
                self.cleanup.clear();
            }
            Event::CleanupFailed { failure, .. } => self.cleanup.attempt(at, failure),
            Event::Told { notifier, alert, recovered } => self.told(notifier, alert, *recovered, at),
            Event::TellFailed { notifier, failure, .. } => {
                self.tell.entry(notifier.clone()).or_default().attempt(at, failure);
            }
            _ => return self.apply_order_event(entry),
        }
        Ok(())
    }

    fn apply_order_event(&mut self, entry: &Entry<Event>) -> Applied {
        let at = entry.at;
        match &entry.event {
            Event::OrderIntended { .. } => return self.intend_order(entry),
            Event::OrderOpened { attempt, url, account, expires, ready } => {
                let order = self.order_in("OrderOpened", *attempt, |phase| *phase == Phase::Intended)?;
                order.opened = Some(OpenedOrder { url: url.clone(), account: account.clone(), expires: *expires });
                order.enter(if *ready { Phase::Ready } else { Phase::Opened }, at);
            }
            Event::ChallengesOffered { attempt, proofs } => {
                let order = self.order_in("ChallengesOffered", *attempt, |phase| *phase == Phase::Opened)?;
                order.enter(Phase::Offered { proofs: proofs.clone() }, at);
            }
            Event::ChallengesIntended { attempt, proofs } => {
                let known = |phase: &Phase| matches!(phase, Phase::Offered { .. } | Phase::PuttingUp { .. });
                self.order_in("ChallengesIntended", *attempt, known)?.put_up(proofs, at);
                self.left_up.insert(*attempt, proofs.clone());
            }
            Event::ChallengesUp { attempt, .. } => {
                let putting_up = |phase: &Phase| matches!(phase, Phase::PuttingUp { .. });
                let order = self.order_in("ChallengesUp", *attempt, putting_up)?;
                let proofs = order.phase.proofs().to_vec();
                order.enter(Phase::Up { proofs }, at);
            }
            Event::ChallengesAnswered { attempt } => {
                let order = self.order_in("ChallengesAnswered", *attempt, |phase| matches!(phase, Phase::Up { .. }))?;
                let proofs = order.phase.proofs().to_vec();
                order.enter(Phase::Answered { proofs }, at);
            }
            Event::OrderReady { attempt } => {
                let early = |phase: &Phase| !matches!(phase, Phase::Intended | Phase::Staged { .. });
                self.order_in("OrderReady", *attempt, early)?.ready(at);
            }
            Event::CsrIntended { attempt } => {
                let ready = |phase: &Phase| matches!(phase, Phase::Ready | Phase::CsrIntended);
                self.order_in("CsrIntended", *attempt, ready)?.again(Phase::CsrIntended, at);
            }
            Event::CsrSubmitted { attempt } => {
                let sent = |phase: &Phase| *phase == Phase::CsrIntended;
                self.order_in("CsrSubmitted", *attempt, sent)?.enter(Phase::Submitted, at);
            }
            Event::OrderPending { attempt, retry_after } => {
                self.order_in("OrderPending", *attempt, |_| true)?.look_again(at, *retry_after);
            }
            Event::OrderValid { attempt } => {
                self.order_in("OrderValid", *attempt, |phase| *phase != Phase::Intended)?.enter(Phase::Valid, at);
            }
            Event::ChainStaged { attempt, about } => return self.stage(*attempt, about, at),
            Event::Accepted { generation, epoch, notes } => return self.accept(*generation, *epoch, notes, at),
            Event::Rejected { generation, violations } => return self.reject(*generation, violations, at),
            Event::StepFailed { attempt, failure } => {
                self.order_in("StepFailed", *attempt, |_| true)?.step.step(at, failure);
            }
            Event::OrderFailed { attempt, failure } => {
                let order = self.order_in("OrderFailed", *attempt, |_| true)?;
                if let Some(placed) = order.was_placed(failure).then_some(order.intended_at) {
                    self.fruitless.add(placed);
                }
                self.order = None;
                self.issue.attempt(at, failure);
            }
            Event::OrderAbandoned { attempt, lost, why } => return self.abandon(*attempt, *lost, why, at),
            _ => return self.apply_rollout_event(entry),
        }
        Ok(())
    }

    fn apply_rollout_event(&mut self, entry: &Entry<Event>) -> Applied {
        let (at, seq) = (entry.at, entry.seq);
        let milestone = |epoch: Epoch, generation: GenId| Milestone { epoch, generation, seq, at };
        match &entry.event {
            Event::WantSet { .. } => return self.set_want(entry),
            Event::PlaceholderPublished { node } => {
                let rolled = self.node(node);
                rolled.placeholder = true;
                rolled.deploy.clear();
            }
            Event::Deployed { node, epoch, generation, placement, .. } => {
                let rolled = self.node(node);
                rolled.placement = *placement;
                rolled.placeholder = false;
                rolled.deployed = Some(milestone(*epoch, *generation));
                rolled.deploy.clear();
                rolled.lagging = None;
            }
            Event::DeployFailed { node, failure, .. } => self.node(node).deploy.attempt(at, failure),
            Event::Reloaded { node, epoch, verb } => {
                let deployed = self.nodes.get(node).and_then(|rolled| rolled.deployed.as_ref());
                let Some(generation) = deployed.map(|deployed| deployed.generation) else {
                    return Err(("Reloaded", format!("nothing was published on {node}")));
                };
                let rolled = self.node(node);
                rolled.reloaded = Some(milestone(*epoch, generation));
                rolled.reload.clear();
                rolled.reload_verb = Some(*verb);
                rolled.lagging = None;
            }
            Event::ReloadFailed { node, verb, failure, .. } => {
                let rolled = self.node(node);
                rolled.reload_verb = Some(*verb);
                rolled.reload_failed = Some(seq);
                // What was damaged is published anew at once; what is damaged again waits.
                let at_once = rolled.reload.failures == 0 && rollout::found_damaged(failure);
                if at_once { rolled.reload.note(at, failure) } else { rolled.reload.attempt(at, failure) }
            }
            Event::Lagging { node, drift, failure, .. } => {
                let rolled = self.node(node);
                rolled.lagging = Some(seq);
                // Drift is mended at once, but only once: what drifts again waits, or it would be reloaded without end.
                let at_once = *drift && rolled.serve.failures == 0;
                if at_once { rolled.serve.note(at, failure) } else { rolled.serve.attempt(at, failure) }
            }
            Event::NodeConfirmed { node, epoch, generation } => {
                let rolled = self.node(node);
                rolled.confirmed = Some(milestone(*epoch, *generation));
                rolled.lagging = None;
                rolled.serve.clear();
            }
            Event::WentLive { epoch, generation } => self.live = Some(milestone(*epoch, *generation)),
            // Every other kind is applied before this point.
            _ => return Err(("record", "its kind is not known here".into())),
        }
        Ok(())
    }

    fn rebuild(&mut self, generations: &[About], note: &Printable, at: Timestamp) {
        *self = Self { seq: self.seq, newest: self.newest, ..Self::default() };
        self.rebuilt = Some(at);
        for about in generations {
            let gate = about.accepted.map_or(Gate::Pending, |at| Gate::Accepted { notes: Vec::new(), at });
            self.last_number = self.last_number.max(about.generation.number());
            self.generations.insert(about.generation, Held { about: about.clone(), gate, early_window: false });
        }
        self.epoch = first_epoch(at);
        if let Some(newest) = self.newest_accepted().map(|held| held.about.generation) {
            let aim = Aim {
                epoch: self.epoch,
                generation: newest,
                rollback: false,
                at,
                why: "the journal was rebuilt".into(),
            };
            self.want = Some(Want { default: aim, overrides: BTreeMap::new() });
        }
        let failure = Failure::new(Class::Retry, "state:rebuilt", "journal", note.as_str()).wait(Some(AFTER_REBUILD));
        self.issue.attempt(at, &failure);
        // Our own caution, not the CA's: a forced renewal skips it.
        if let Some(hold) = &mut self.issue.hold {
            hold.demanded = false;
        }
    }

    fn asked(&mut self, id: &RequestId, ask: &Ask, by: &Printable, entry: &Entry<Event>) {
        self.asks.insert(id.clone(), Asked { ask: ask.clone(), by: by.clone(), at: entry.at, seq: entry.seq });
        if matches!(ask, Ask::Renew { .. }) {
            self.issue.skip_backoff();
            if let Some(order) = &mut self.order {
                order.step.skip_backoff();
            }
            self.cleanup.skip_backoff();
        }
        self.post.skip_backoff();
        for rolled in self.nodes.values_mut() {
            for trouble in [&mut rolled.deploy, &mut rolled.reload, &mut rolled.serve] {
                trouble.skip_backoff();
            }
        }
    }

    /// Who asked for an order while one was open has got what it brought; who wants a new key has not.
    fn settle_forces(&mut self) {
        let got = |asked: &Asked| matches!(asked.ask, Ask::Renew { force: true, new_key: false, .. });
        let ids: Vec<RequestId> = self.asks.iter().filter(|(_, asked)| got(asked)).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            self.settle(id);
        }
    }

    fn settle(&mut self, id: &RequestId) {
        if self.asks.remove(id).is_some() {
            self.settled.push(id.clone());
            let superfluous = self.settled.len().saturating_sub(MOST_SETTLED);
            self.settled.drain(..superfluous);
        }
    }

    fn told(&mut self, notifier: &NotifierName, alert: &Alert, recovered: bool, at: Timestamp) {
        self.tell.remove(notifier);
        let told = self.told.entry(notifier.clone()).or_default();
        if recovered {
            told.remove(alert);
        } else {
            told.insert(alert.clone(), at);
        }
        if told.is_empty() {
            self.told.remove(notifier);
        }
    }

    fn intend_order(&mut self, entry: &Entry<Event>) -> Applied {
        let Event::OrderIntended {
            attempt,
            key,
            issuer,
            directory,
            spec_digest,
            names,
            asked,
            early_window,
            settings,
            ..
        } = &entry.event
        else {
            return Ok(());
        };
        if let Some(open) = &self.order {
            return Err(("OrderIntended", format!("order {} is open", open.attempt)));
        }
        if *attempt <= self.attempts {
            return Err(("OrderIntended", format!("attempt {attempt} was made before")));
        }
        if let Some(id) = asked {
            self.settle(id);
            // Twenty people who ask at once want one order, also when it comes to nothing.
            self.settle_forces();
        }
        self.attempts = *attempt;
        self.unspent = false;
        let owed = self.owed.take();
        (self.attempted, self.attempted_with) = (Some(*spec_digest), *settings);
        self.order = Some(Order {
            attempt: *attempt,
            key: *key,
            issuer: issuer.clone(),
            directory: directory.clone(),
            spec_digest: *spec_digest,
            names: names.clone(),
            intended_at: entry.at,
            early_window: *early_window,
            forced: asked.is_some() || owed.is_some(),
            opened: None,
            phase: Phase::Intended,
            entered_at: entry.at,
            looked_at: None,
            look_at: None,
            looks: 0,
            step: Trouble::default(),
        });
        Ok(())
    }

    fn stage(&mut self, attempt: Attempt, about: &About, at: Timestamp) -> Applied {
        let order = self.order_in("ChainStaged", attempt, |phase| *phase == Phase::Valid)?;
        let early_window = order.early_window;
        order.enter(Phase::Staged { generation: about.generation }, at);
        self.last_number = self.last_number.max(about.generation.number());
        self.spare_keys.remove(&about.key);
        self.generations.insert(about.generation, Held { about: about.clone(), gate: Gate::Pending, early_window });
        Ok(())
    }

    fn accept(&mut self, generation: GenId, epoch: Epoch, notes: &[Printable], at: Timestamp) -> Applied {
        if epoch <= self.epoch {
            return Err(("Accepted", format!("epoch {epoch} is not above {}", self.epoch)));
        }
        let held = self.pending("Accepted", generation)?;
        held.gate = Gate::Accepted { notes: notes.to_vec(), at };
        self.order = None;
        self.issue.clear();
        self.fruitless.clear();
        self.settle_forces();
        self.remember_served();
        self.epoch = epoch;
        let aim = Aim { epoch, generation, rollback: false, at, why: "newly issued".into() };
        self.want = Some(Want { default: aim, overrides: BTreeMap::new() });
        self.aimed(None);
        Ok(())
    }

    fn reject(&mut self, generation: GenId, violations: &[Violation], at: Timestamp) -> Applied {
        self.pending("Rejected", generation)?.gate = Gate::Rejected { violations: violations.to_vec() };
        if let Some(order) = self.order.take() {
            self.fruitless.add(order.intended_at);
        }
        let all: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
        let message = format!("the CA's certificate did not pass the gate and is not published: {}", all.join("; "));
        let mut failure = Failure::new(Class::Operator, "gate:rejected", format!("generation {generation}"), message)
            .advise("what is published stays; `everleaf renew` once the CA is right again");
        for violation in violations {
            failure = failure.detail(format!("{}: {}", violation.code, violation.message));
        }
        self.issue.attempt(at, &failure);
        Ok(())
    }

    fn abandon(&mut self, attempt: Attempt, lost: bool, why: &Printable, at: Timestamp) -> Applied {
        let order = self.order_in("OrderAbandoned", attempt, |_| true)?;
        let (placed, forced) = (order.intended_at, order.forced);
        self.order = None;
        if lost {
            self.fruitless.add(placed);
            self.owed = forced.then_some(attempt);
            // The first lost reply is tried again at once: it costs one unused order. A second one is a pattern.
            let failure = Failure::new(Class::Retry, "acme:replyLost", "newOrder", why.as_str());
            if self.issue.failures == 0 { self.issue.note(at, &failure) } else { self.issue.attempt(at, &failure) }
        }
        Ok(())
    }

    fn set_want(&mut self, entry: &Entry<Event>) -> Applied {
        let Event::WantSet { epoch, generation, node, rollback, asked, why } = &entry.event else {
            return Ok(());
        };
        if *epoch <= self.epoch {
            return Err(("WantSet", format!("epoch {epoch} is not above {}", self.epoch)));
        }
        if !matches!(self.generations.get(generation).map(|held| &held.gate), Some(Gate::Accepted { .. })) {
            return Err(("WantSet", format!("generation {generation} was not accepted")));
        }
        if let Some(id) = asked {
            self.settle(id);
        }
        self.remember_served();
        self.epoch = *epoch;
        let aim = Aim { epoch: *epoch, generation: *generation, rollback: *rollback, at: entry.at, why: why.clone() };
        match (node, &mut self.want) {
            (Some(node), Some(want)) => drop(want.overrides.insert(node.clone(), aim)),
            _ => self.want = Some(Want { default: aim, overrides: BTreeMap::new() }),
        }
        self.aimed(node.as_ref());
        Ok(())
    }

    /// Before the aim changes: what each node is known to serve is where it can go back to.
    fn remember_served(&mut self) {
        for rolled in self.nodes.values_mut() {
            if let Some(confirmed) = &rolled.confirmed {
                rolled.served_before = Some(confirmed.generation);
            }
        }
    }

    /// After the aim changed: old trouble with publishing is not trouble with this aim.
    fn aimed(&mut self, node: Option<&NodeName>) {
        for (name, rolled) in &mut self.nodes {
            if node.is_none_or(|node| node == name) {
                rolled.deploy.skip_backoff();
                rolled.reload.skip_backoff();
                rolled.serve.skip_backoff();
                rolled.lagging = None;
            }
        }
    }

    /// The epoch of the next decision.
    #[must_use]
    pub fn next_epoch(&self, now: Timestamp) -> Epoch {
        if self.epoch == Epoch(0) { first_epoch(now) } else { self.epoch.next() }
    }

    fn node(&mut self, name: &NodeName) -> &mut Rolled {
        self.nodes.entry(name.clone()).or_default()
    }

    fn pending(&mut self, event: &'static str, generation: GenId) -> Result<&mut Held, (&'static str, String)> {
        match self.generations.get_mut(&generation) {
            Some(held) if held.gate == Gate::Pending => Ok(held),
            Some(_) => Err((event, format!("generation {generation} was judged before"))),
            None => Err((event, format!("generation {generation} is not known"))),
        }
    }

    fn order_in(
        &mut self,
        event: &'static str,
        attempt: Attempt,
        allowed: impl Fn(&Phase) -> bool,
    ) -> Result<&mut Order, (&'static str, String)> {
        let Some(order) = &mut self.order else { return Err((event, "no order is open".into())) };
        if order.attempt != attempt || !allowed(&order.phase) {
            return Err((event, format!("order {} is {}", order.attempt, order.phase.name())));
        }
        Ok(order)
    }

    /// Whether a request was journaled before, settled or not.
    #[must_use]
    pub fn knows_request(&self, id: &RequestId) -> bool {
        self.asks.contains_key(id) || self.settled.contains(id)
    }

    /// The issuer of the open order, if `event` ends it before anything can have been issued.
    #[must_use]
    pub fn ends_unissued(&self, event: &Event) -> Option<&IssuerName> {
        let ends = matches!(event, Event::OrderFailed { .. } | Event::OrderAbandoned { lost: false, .. });
        self.order.as_ref().filter(|order| ends && !order.may_have_issued()).map(|order| &order.issuer)
    }

    /// What this machine's disk refused last, where trying again costs nothing: the next run does, whatever the hold.
    #[must_use]
    pub fn refused_by_the_disk(&self) -> Option<&Trouble> {
        let trouble = self.order.as_ref().map(|order| &order.step).or_else(|| self.unspent.then_some(&self.issue))?;
        trouble.last.as_ref().is_some_and(Failure::is_of_the_disk).then_some(trouble)
    }

    /// The newest accepted generation.
    #[must_use]
    pub fn newest_accepted(&self) -> Option<&Held> {
        self.accepted().next_back()
    }

    /// The accepted generations, oldest first.
    pub fn accepted(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.generations.values().filter(|held| matches!(held.gate, Gate::Accepted { .. }))
    }

    /// What is known of a node; nothing yet for one never dealt with.
    #[must_use]
    pub fn rolled(&self, node: &NodeName) -> Rolled {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// The oldest request of a kind.
    pub fn asked_for(&self, kind: impl Fn(&Ask) -> bool) -> Option<(&RequestId, &Asked)> {
        self.asks.iter().filter(|(_, asked)| kind(&asked.ask)).min_by_key(|(_, asked)| asked.seq)
    }
}

/// Old epochs may be lost with a journal or a whole state; nodes refuse a lower one, so begin above all they can have seen.
fn first_epoch(at: Timestamp) -> Epoch {
    Epoch(u64::try_from(at.as_secs()).unwrap_or(0).max(1))
}

/// A map as a list of pairs: a number that is a key in JSON is text, which a tagged event does not read back as a number.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer, K: Serialize, V: Serialize>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, K: Deserialize<'de> + Ord, V: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
