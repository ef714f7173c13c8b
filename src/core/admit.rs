//! `admit`: all certificates' plans together. Reserves order budget, merges reloads and notices, bounds concurrency.

use super::budget::{Also, By, Spent};
use super::effect::{Effect, Slot};
use super::plan::{Plan, Step, WakeKind};
use super::reason::Reason;
use super::shared::Shared;
use crate::config::spec::Spec;
use crate::types::{CertName, IssuerName, NodeName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Effects under way: a key in flight is not planned again.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    slots: BTreeSet<(CertName, Slot)>,
    deploys: BTreeMap<NodeName, usize>,
    reloads: BTreeSet<NodeName>,
    tells: BTreeSet<crate::types::NotifierName>,
}

impl InFlight {
    /// Takes note of work that begins.
    pub fn begin(&mut self, work: &Work) {
        for (name, step) in &work.parts {
            self.slots.insert((name.clone(), step.slot.clone()));
        }
        match work.effect() {
            Some(Effect::Deploy { node, .. }) => *self.deploys.entry(node.clone()).or_default() += 1,
            Some(Effect::Reload { node, .. }) => drop(self.reloads.insert(node.clone())),
            Some(Effect::Tell { notifier, .. }) => drop(self.tells.insert(notifier.clone())),
            _ => {}
        }
    }

    /// Takes note of work that ended.
    pub fn end(&mut self, work: &Work) {
        for (name, step) in &work.parts {
            self.slots.remove(&(name.clone(), step.slot.clone()));
        }
        match work.effect() {
            Some(Effect::Deploy { node, .. }) => {
                if let Some(count) = self.deploys.get_mut(node) {
                    *count = count.saturating_sub(1);
                }
            }
            Some(Effect::Reload { node, .. }) => drop(self.reloads.remove(node)),
            Some(Effect::Tell { notifier, .. }) => drop(self.tells.remove(notifier)),
            _ => {}
        }
    }

    /// Whether anything but telling people is under way.
    fn works(&self) -> bool {
        self.slots.iter().any(|(_, slot)| !matches!(slot, Slot::Tell(_)))
    }

    /// Whether nothing of a certificate is under way.
    #[must_use]
    pub fn is_idle(&self, name: &CertName) -> bool {
        !self.slots.iter().any(|(busy, _)| busy == name)
    }

    /// Whether this very thing is under way.
    #[must_use]
    pub fn holds(&self, name: &CertName, slot: &Slot) -> bool {
        self.slots.contains(&(name.clone(), slot.clone()))
    }
}

/// One thing to do, for one certificate or, merged, for several.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The steps it serves; never empty.
    pub parts: Vec<(CertName, Step)>,
}

impl Work {
    /// What to do: that of the first part, which the others share but for what is their own.
    #[must_use]
    pub fn effect(&self) -> Option<&Effect> {
        self.parts.first().map(|(_, step)| &step.effect)
    }
}

/// What may begin now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Work to begin.
    pub work: Vec<Work>,
    /// Steps put off, and until when: a limit or others that go first.
    pub deferred: Vec<(CertName, Timestamp, WakeKind, Reason)>,
}

impl Batch {
    /// Whether a step was put off until a limit allows it: not merely until others are done.
    #[must_use]
    pub fn refuses(&self, name: &CertName, slot: &Slot) -> bool {
        *slot == Slot::Issue
            && self.deferred.iter().any(|(deferred, _, kind, _)| deferred == name && *kind == WakeKind::Hold)
    }
}

/// Deploys under way on one node at once: an sshd refuses more than ten unauthenticated connections by default.
const DEPLOYS_PER_NODE: usize = 4;
/// Looks and ARI requests under way at once: file descriptors and the CA's patience are finite.
const LOOKS: usize = 64;

/// Chooses what begins now from all plans. `open` counts each issuer's open orders.
#[must_use]
pub fn admit<'p>(
    plans: impl Iterator<Item = (&'p CertName, &'p Plan)>,
    in_flight: &InFlight,
    open: &BTreeMap<IssuerName, usize>,
    spec: &Spec,
    shared: &Shared,
    now: Timestamp,
) -> Batch {
    let mut desk = Desk {
        spec,
        shared,
        now,
        in_flight,
        open: open.clone(),
        spent: Also::new(),
        looks: 0,
        batch: Batch::default(),
    };
    let mut reloads: BTreeMap<NodeName, Vec<(CertName, Step)>> = BTreeMap::new();
    let mut tells: BTreeMap<(crate::types::NotifierName, String), Vec<(CertName, Step)>> = BTreeMap::new();
    let mut deploys = in_flight.deploys.clone();
    let mut orders: Vec<(Timestamp, (CertName, Step))> = Vec::new();
    let mut taken = BTreeSet::new();
    let mut pausing = false;
    desk.looks = in_flight.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Endpoint(_) | Slot::Ari)).count();
    for (name, plan) in plans {
        pausing |= plan.pauses(now);
        for step in &plan.steps {
            if in_flight.holds(name, &step.slot) || !taken.insert((name.clone(), step.slot.clone())) {
                continue;
            }
            let part = (name.clone(), step.clone());
            match &step.effect {
                Effect::Reload { node, .. } => reloads.entry(node.clone()).or_default().push(part),
                Effect::Tell { notifier, kind, cause, .. } => {
                    tells.entry((notifier.clone(), format!("{kind:?} {cause}"))).or_default().push(part);
                }
                Effect::Deploy { node, .. } => {
                    let under_way = deploys.entry(node.clone()).or_default();
                    *under_way += 1;
                    if *under_way <= DEPLOYS_PER_NODE && !in_flight.reloads.contains(node) {
                        desk.begin(part);
                    }
                }
                Effect::OpenOrder { ends, .. } => orders.push((ends.unwrap_or(now), part)),
                _ => desk.single(part),
            }
        }
    }
    // What has ended, or is yet to begin, before what ends soon: where a CA's places are few, nobody is last for ever.
    orders.sort_by_key(|(ends, _)| *ends);
    for (_, part) in orders {
        desk.single(part);
    }
    desk.merge_reloads(reloads, &deploys);
    // One cause seldom meets all certificates at one instant: people are told when the work is done.
    if !pausing && !in_flight.works() && desk.batch.work.is_empty() {
        desk.merge_tells(tells);
    }
    desk.batch
}

struct Desk<'a> {
    spec: &'a Spec,
    shared: &'a Shared,
    now: Timestamp,
    in_flight: &'a InFlight,
    open: BTreeMap<IssuerName, usize>,
    spent: Also,
    looks: usize,
    batch: Batch,
}

impl Desk<'_> {
    fn begin(&mut self, part: (CertName, Step)) {
        self.batch.work.push(Work { parts: vec![part] });
    }

    fn single(&mut self, part: (CertName, Step)) {
        match &part.1.effect {
            Effect::OpenOrder { issuer, counted, forced, .. } => {
                let (issuer, counted, forced) = (issuer.clone(), counted.clone(), *forced);
                self.order(part, &issuer, counted, forced);
            }
            Effect::Look { .. } | Effect::PollAri { .. } => {
                self.looks += 1;
                if self.looks <= LOOKS {
                    self.begin(part);
                }
            }
            _ => self.begin(part),
        }
    }

    /// An order begins when the CA has a place and the budget, with the orders of this very pass, has room.
    fn order(&mut self, part: (CertName, Step), issuer: &IssuerName, counted: Spent, forced: bool) {
        let Some(settings) = self.spec.issuers.get(issuer) else { return };
        let open = self.open.entry(issuer.clone()).or_default();
        if *open >= settings.parallel.max(1) {
            return self.batch.deferred.push((part.0, self.now, WakeKind::Pause, Reason::CaBusy));
        }
        let by = if forced { By::Hand } else { By::Itself };
        if let Some(full) = self.shared.full(self.spec, settings, &counted, &self.spent, by, self.now) {
            return self.batch.deferred.push((part.0, full.until, WakeKind::Hold, Reason::Budget { full }));
        }
        *open += 1;
        self.spent.entry(issuer.clone()).or_default().push(counted);
        self.begin(part);
    }

    /// One reload a node, for all its certificates, once its deploys have ended.
    fn merge_reloads(
        &mut self,
        reloads: BTreeMap<NodeName, Vec<(CertName, Step)>>,
        deploys: &BTreeMap<NodeName, usize>,
    ) {
        for (node, parts) in reloads {
            let deploying = deploys.get(&node).is_some_and(|count| *count > 0);
            if !deploying && !self.in_flight.reloads.contains(&node) {
                self.batch.work.push(Work { parts });
            }
        }
    }

    /// One notice a notifier and cause; one under way a notifier.
    fn merge_tells(&mut self, tells: BTreeMap<(crate::types::NotifierName, String), Vec<(CertName, Step)>>) {
        let mut busy = self.in_flight.tells.clone();
        for ((notifier, _), parts) in tells {
            if busy.insert(notifier) {
                self.batch.work.push(Work { parts });
            }
        }
    }
}
