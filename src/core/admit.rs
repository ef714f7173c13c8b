//! `admit`: all certificates' plans together. Reserves order budget, merges reloads and notices, bounds concurrency.

use super::budget::{Also, By};
use super::docket::{Docket, Line, Place};
use super::effect::Effect;
use super::plan::{LONGEST_PAUSE, Step};
use super::shared::Shared;
use crate::config::spec::Spec;
use crate::types::{CertName, NodeName, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

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
    /// Certificates whose order is put off until a limit allows it: not merely until others are done.
    pub refused: BTreeSet<CertName>,
    /// How many steps were looked at to choose these.
    pub examined: usize,
}

/// Looks and ARI requests under way at once: file descriptors and the CA's patience are finite.
const LOOKS: usize = 64;
/// Deploys, inspections and reloads under way at once on all nodes together: each may be a process here.
const ERRANDS: usize = 64;

/// Chooses what begins now of all that waits. Looks only where a place is free: it costs what it chooses, and what a limit
/// refuses.
#[must_use]
pub fn admit(docket: &Docket, spec: &Spec, shared: &Shared, now: Timestamp) -> Batch {
    let errands = ERRANDS.saturating_sub(docket.errands);
    let mut desk = Desk { docket, spec, shared, now, errands, batch: Batch::default() };
    // What ends something goes first where places are few.
    desk.reloads();
    desk.singles();
    desk.orders();
    // One cause seldom meets all certificates at one instant: people are told when the work is done.
    let pausing = docket.pause().is_some_and(|at| at.since(now) <= LONGEST_PAUSE);
    if !pausing && !docket.works() && desk.batch.work.is_empty() {
        desk.tells();
    }
    desk.batch
}

struct Desk<'a> {
    docket: &'a Docket,
    spec: &'a Spec,
    shared: &'a Shared,
    now: Timestamp,
    /// Places left for errands to nodes.
    errands: usize,
    batch: Batch,
}

impl Desk<'_> {
    /// One piece of work for all of these.
    fn begin<'l>(&mut self, lines: impl IntoIterator<Item = &'l Line>) {
        let part = |line: &'l Line| Some((line.0.clone(), self.docket.step(line)?.clone()));
        let parts: Vec<(CertName, Step)> = lines.into_iter().filter_map(part).collect();
        self.batch.examined += parts.len();
        if !parts.is_empty() {
            self.batch.work.push(Work { parts });
        }
    }

    /// What waits for nobody else, looks, and deploys, certificate by certificate.
    fn singles(&mut self) {
        let docket = self.docket;
        let looks = docket.waiting(&Place::Look).take(LOOKS.saturating_sub(docket.looks));
        let deploys = |node: &NodeName| docket.waiting(&Place::Deploy(node.clone())).take(docket.room(node));
        let mut lines: Vec<&Line> = docket.waiting(&Place::Free).chain(looks).collect();
        lines.extend(docket.ready.iter().flat_map(deploys).take(self.errands));
        lines.sort();
        for line in lines {
            self.begin([line]);
        }
    }

    /// What has ended, or is yet to begin, before what ends soon: where a CA's places are few, nobody is last for ever. An order
    /// begins when the CA has a place and the budget, with the orders of this very pass, has room.
    fn orders(&mut self) {
        let (docket, now) = (self.docket, self.now);
        let mut spent = Also::new();
        for (issuer, settings) in &self.spec.issuers {
            let place = |ends: Option<Timestamp>| Place::Order(issuer.clone(), ends);
            let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::MAX);
            let ended = docket.places(place(Some(first)), place(Some(now)));
            let new = docket.places(place(None), place(None));
            let ends_soon = docket.places(place(Some(now + MOMENT)), place(Some(last)));
            let mut places = settings.parallel.max(1).saturating_sub(docket.open(issuer));
            let mut lines = ended.chain(new).chain(ends_soon).flat_map(|(_, lines)| lines);
            while places > 0
                && let Some(line) = lines.next()
            {
                let Some(Effect::OpenOrder { counted, forced, .. }) = docket.step(line).map(|step| &step.effect) else {
                    continue;
                };
                let by = if *forced { By::Hand } else { By::Itself };
                if self.shared.full(self.spec, settings, counted, &spent, by, now).is_some() {
                    self.batch.examined += 1;
                    self.batch.refused.insert(line.0.clone());
                    continue;
                }
                places -= 1;
                spent.entry(issuer.clone()).or_default().push(counted.clone());
                self.begin([line]);
            }
        }
    }

    /// One reload a node, for all its certificates, once its deploys have ended.
    fn reloads(&mut self) {
        let docket = self.docket;
        for node in &docket.ready {
            if self.errands > 0 && docket.waiting(&Place::Deploy(node.clone())).next().is_none() {
                self.errands -= 1;
                self.begin(docket.waiting(&Place::Reload(node.clone())));
            }
        }
    }

    /// One notice a notifier and cause; one under way a notifier.
    fn tells(&mut self) {
        let docket = self.docket;
        for notifier in self.spec.notifiers.keys().filter(|notifier| !docket.telling.contains(*notifier)) {
            if let Some(lines) = docket.first_notice(notifier) {
                self.begin(lines);
            }
        }
    }
}

/// The smallest step of time.
const MOMENT: Duration = Duration::from_millis(1);
