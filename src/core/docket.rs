//! The docket: what is planned for all certificates at hand, sorted by what it waits for, and what is under way.
//!
//! With a thousand deployments waiting, each that ends makes room for one. So nothing here is found by going through what
//! waits: a step is sorted in when its certificate is planned, and what may begin is looked up by the place that is free.

use super::admit::Work;
use super::effect::{Effect, Slot};
use super::plan::{Plan, Step};
use crate::types::{CertName, IssuerName, NodeName, NotifierName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Deploys under way on one node at once: an sshd refuses more than ten unauthenticated connections by default.
const DEPLOYS_PER_NODE: usize = 4;

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Nothing: it begins at once.
    Free,
    /// One of the few looks at a time.
    Look,
    /// One of the few deploys or inspections at a time on a node that is not being reloaded.
    Deploy(NodeName),
    /// That all deploys on a node have ended, and its last reload.
    Reload(NodeName),
    /// One of a CA's places, by when what it replaces ends.
    Order(IssuerName, Option<Timestamp>),
    /// That everything else is done; by what makes one notice of several.
    Tell(NotifierName, String),
}

impl Place {
    fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Look { .. } | Effect::PollAri { .. } => Self::Look,
            Effect::Deploy { node, .. } | Effect::Inspect { node, .. } => Self::Deploy(node.clone()),
            Effect::Reload { node, .. } => Self::Reload(node.clone()),
            Effect::OpenOrder { issuer, ends, .. } => Self::Order(issuer.clone(), *ends),
            Effect::Tell { notifier, kind, cause, .. } => Self::Tell(notifier.clone(), format!("{kind:?} {cause}")),
            _ => Self::Free,
        }
    }

    const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Deploy(node) | Self::Reload(node) => Some(node),
            _ => None,
        }
    }
}

/// A step: whose, and which of its plan's.
pub(super) type Line = (CertName, usize);

/// One certificate's part of the docket.
#[derive(Debug, Clone, Default)]
struct Case {
    plan: Option<Plan>,
    /// Which step of the plan waits for each slot.
    lines: BTreeMap<Slot, usize>,
    under_way: BTreeSet<Slot>,
    /// Where its open order is.
    order: Option<IssuerName>,
}

/// What is under way on a node.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    deploys: usize,
    reloading: bool,
}

/// What is planned for all certificates at hand, and what is under way: a slot in flight is not begun again.
#[derive(Debug, Clone, Default)]
pub struct Docket {
    cases: BTreeMap<CertName, Case>,
    waiting: BTreeMap<Place, BTreeSet<Line>>,
    busy: BTreeMap<NodeName, Busy>,
    /// Nodes on which something that waits may begin.
    pub(super) ready: BTreeSet<NodeName>,
    /// Open orders by issuer.
    open: BTreeMap<IssuerName, usize>,
    /// Looks and ARI requests under way.
    pub(super) looks: usize,
    /// Deploys, inspections and reloads under way on all nodes.
    pub(super) errands: usize,
    /// Notifiers that are telling people.
    pub(super) telling: BTreeSet<NotifierName>,
    /// Everything else that is under way.
    works: usize,
    /// The nearest wake-up of each plan, and the nearest pause.
    wakes: BTreeSet<(Timestamp, CertName)>,
    pauses: BTreeSet<(Timestamp, CertName)>,
}

impl Docket {
    // ------------------------------------------------------------------------------------------------------ certificates

    /// Enters what is planned for a certificate now, in place of what was; `order` is where its open order is.
    pub fn enter(&mut self, name: &CertName, plan: Plan, order: Option<&IssuerName>) {
        self.strike(name);
        for (at, wakes) in [(plan.wake(), &mut self.wakes), (plan.pause(), &mut self.pauses)] {
            wakes.extend(at.map(|wake| (wake.at, name.clone())));
        }
        let case = self.cases.entry(name.clone()).or_default();
        if case.order.as_ref() != order {
            moved(&mut self.open, case.order.as_ref(), order);
            case.order = order.cloned();
        }
        let mut lines = BTreeMap::new();
        for (at, step) in plan.steps.iter().enumerate() {
            if !case.under_way.contains(&step.slot) {
                lines.entry(step.slot.clone()).or_insert(at);
            }
        }
        let places = lines.values().filter_map(|at| Some((Place::of(&plan.steps.get(*at)?.effect), *at))).collect();
        (case.plan, case.lines) = (Some(plan), lines);
        self.shelve(name, places);
    }

    /// Nothing more is to begin for a certificate; what is under way remains.
    pub fn strike(&mut self, name: &CertName) {
        let Some(case) = self.cases.get_mut(name) else { return };
        let Some(plan) = case.plan.take() else { return };
        for (at, wakes) in [(plan.wake(), &mut self.wakes), (plan.pause(), &mut self.pauses)] {
            at.map(|wake| wakes.remove(&(wake.at, name.clone())));
        }
        for at in std::mem::take(&mut case.lines).into_values() {
            if let Some(step) = plan.steps.get(at) {
                self.unshelve(&(name.clone(), at), &Place::of(&step.effect));
            }
        }
    }

    /// Takes a certificate off the docket.
    pub fn remove(&mut self, name: &CertName) {
        self.strike(name);
        if let Some(case) = self.cases.remove(name) {
            moved(&mut self.open, case.order.as_ref(), None);
        }
    }

    /// What was entered for a certificate.
    #[must_use]
    pub fn plan(&self, name: &CertName) -> Option<&Plan> {
        self.cases.get(name)?.plan.as_ref()
    }

    /// Whether nothing of a certificate is under way.
    #[must_use]
    pub fn is_idle(&self, name: &CertName) -> bool {
        self.cases.get(name).is_none_or(|case| case.under_way.is_empty())
    }

    /// Whether this very thing is under way.
    #[must_use]
    pub fn holds(&self, name: &CertName, slot: &Slot) -> bool {
        self.cases.get(name).is_some_and(|case| case.under_way.contains(slot))
    }

    /// The certificates whose wake-up has come.
    pub fn woken(&self, now: Timestamp) -> impl Iterator<Item = &CertName> {
        self.wakes.iter().take_while(move |(at, _)| *at <= now).map(|(_, name)| name)
    }

    /// When the nearest pause is over.
    #[must_use]
    pub fn pause(&self) -> Option<Timestamp> {
        self.pauses.first().map(|(at, _)| *at)
    }

    // ------------------------------------------------------------------------------------------------------------- work

    /// Takes note of work that begins.
    pub fn begin(&mut self, work: &Work) {
        for (name, step) in &work.parts {
            let case = self.cases.entry(name.clone()).or_default();
            case.under_way.insert(step.slot.clone());
            if let Some(at) = case.lines.remove(&step.slot) {
                self.unshelve(&(name.clone(), at), &Place::of(&step.effect));
            }
        }
        match work.effect() {
            Some(Effect::Deploy { node, .. } | Effect::Inspect { node, .. }) => {
                self.busy.entry(node.clone()).or_default().deploys += 1;
            }
            Some(Effect::Reload { node, .. }) => self.busy.entry(node.clone()).or_default().reloading = true,
            Some(Effect::Tell { notifier, .. }) => drop(self.telling.insert(notifier.clone())),
            _ => {}
        }
        let (looks, errands, works) = counted(work);
        (self.looks, self.errands, self.works) = (self.looks + looks, self.errands + errands, self.works + works);
        self.sort_node_of(work);
    }

    /// Takes note of work that ended. Its certificates are to be planned anew.
    pub fn end(&mut self, work: &Work) {
        for (name, step) in &work.parts {
            if let Some(case) = self.cases.get_mut(name) {
                case.under_way.remove(&step.slot);
            }
        }
        match work.effect() {
            Some(Effect::Deploy { node, .. } | Effect::Inspect { node, .. }) => {
                let busy = self.busy.entry(node.clone()).or_default();
                busy.deploys = busy.deploys.saturating_sub(1);
            }
            Some(Effect::Reload { node, .. }) => self.busy.entry(node.clone()).or_default().reloading = false,
            Some(Effect::Tell { notifier, .. }) => drop(self.telling.remove(notifier)),
            _ => {}
        }
        let (looks, errands, works) = counted(work);
        self.looks = self.looks.saturating_sub(looks);
        self.errands = self.errands.saturating_sub(errands);
        self.works = self.works.saturating_sub(works);
        self.sort_node_of(work);
    }

    /// Whether anything but telling people is under way.
    pub(super) const fn works(&self) -> bool {
        self.works > 0
    }

    /// How many orders are open at a CA.
    pub(super) fn open(&self, issuer: &IssuerName) -> usize {
        self.open.get(issuer).copied().unwrap_or(0)
    }

    // ---------------------------------------------------------------------------------------------------------- waiting

    /// What waits for a place, by certificate.
    pub(super) fn waiting<'s>(&'s self, place: &Place) -> impl Iterator<Item = &'s Line> + use<'s> {
        self.waiting.get(place).into_iter().flatten()
    }

    /// The places from one to another that something waits for.
    pub(super) fn places(&self, from: Place, to: Place) -> impl Iterator<Item = (&Place, &BTreeSet<Line>)> {
        self.waiting.range(from..=to)
    }

    /// What one notice tells of all that waits for a notifier.
    pub(super) fn first_notice(&self, notifier: &NotifierName) -> Option<&BTreeSet<Line>> {
        let (place, lines) = self.waiting.range(Place::Tell(notifier.clone(), String::new())..).next()?;
        matches!(place, Place::Tell(to, _) if to == notifier).then_some(lines)
    }

    /// How many deploys may begin on a node now.
    pub(super) fn room(&self, node: &NodeName) -> usize {
        let busy = self.busy.get(node).copied().unwrap_or_default();
        if busy.reloading { 0 } else { DEPLOYS_PER_NODE.saturating_sub(busy.deploys) }
    }

    /// The step of a line.
    pub(super) fn step(&self, (name, at): &Line) -> Option<&Step> {
        self.plan(name)?.steps.get(*at)
    }

    fn shelve(&mut self, name: &CertName, places: Vec<(Place, usize)>) {
        for (place, at) in places {
            let node = place.node().cloned();
            self.waiting.entry(place).or_default().insert((name.clone(), at));
            if let Some(node) = node {
                self.sort_node(&node);
            }
        }
    }

    fn unshelve(&mut self, line: &Line, place: &Place) {
        if let Some(lines) = self.waiting.get_mut(place) {
            lines.remove(line);
            if lines.is_empty() {
                self.waiting.remove(place);
            }
        }
        if let Some(node) = place.node() {
            self.sort_node(node);
        }
    }

    fn sort_node_of(&mut self, work: &Work) {
        if let Some(place) = work.effect().map(Place::of)
            && let Some(node) = place.node()
        {
            self.sort_node(node);
        }
    }

    /// Whether something may begin on a node: a deploy where there is room, or the one reload after all of them.
    fn sort_node(&mut self, node: &NodeName) {
        let busy = self.busy.get(node).copied().unwrap_or_default();
        let ready = if self.waiting.contains_key(&Place::Deploy(node.clone())) {
            self.room(node) > 0
        } else {
            busy.deploys == 0 && !busy.reloading && self.waiting.contains_key(&Place::Reload(node.clone()))
        };
        if ready {
            self.ready.insert(node.clone());
        } else {
            self.ready.remove(node);
        }
    }
}

/// What a piece of work counts as: looks, errands to nodes, and anything but telling people.
fn counted(work: &Work) -> (usize, usize, usize) {
    let place = work.effect().map(Place::of);
    let is = |wanted: fn(&Place) -> bool| usize::from(place.as_ref().is_some_and(wanted));
    let tells = is(|place| matches!(place, Place::Tell(..)));
    (is(|place| *place == Place::Look), is(|place| place.node().is_some()), 1 - tells)
}

/// An open order is no longer here but there.
fn moved(open: &mut BTreeMap<IssuerName, usize>, from: Option<&IssuerName>, to: Option<&IssuerName>) {
    if let Some(count) = from.and_then(|issuer| open.get_mut(issuer)) {
        *count = count.saturating_sub(1);
    }
    if let Some(issuer) = to {
        *open.entry(issuer.clone()).or_default() += 1;
    }
}
