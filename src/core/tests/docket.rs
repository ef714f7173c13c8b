//! What the docket finds by place is what going through everything would choose.

use super::*;
use crate::config::spec::{Notifier, NotifierKind};
use crate::core::budget::Spent;
use crate::ports::{NewOrder, NoticeKind};
use crate::types::{IssuerName, NotifierName};
use proptest::prelude::*;
use std::collections::BTreeSet;

const CERTIFICATES: usize = 6;
/// So many looks a certificate that all together want more places than there are.
const LOOKS_EACH: u8 = 15;

fn called(number: usize) -> CertName {
    format!("c{number}").parse().expect("name")
}

fn ca() -> IssuerName {
    "ca".parse().expect("name")
}

fn notifier(number: u8) -> NotifierName {
    format!("ops{number}").parse().expect("name")
}

fn generation() -> GenId {
    GenId::new(1, &key())
}

fn deploy(number: u8) -> (Slot, Effect) {
    let (node, generation) = (node(number), generation());
    (Slot::Node(node.clone()), Effect::Deploy { node, epoch: Epoch(1), generation, placement: key() })
}

fn reload(number: u8) -> (Slot, Effect) {
    let (node, generation) = (node(number), generation());
    (Slot::Node(node.clone()), Effect::Reload { node, epoch: Epoch(1), generation, verb: key() })
}

fn look(number: u8) -> (Slot, Effect) {
    let id = sha256(&[&[number]]);
    (Slot::Endpoint(id), Effect::Look { endpoint: endpoint(number), generation: generation(), whole: true })
}

fn order(of: &Spec, name: &CertName, ends: Option<Timestamp>) -> (Slot, Effect) {
    let (issuer, certificate) = (&of.issuers[&ca()], of.certificates.values().next().expect("one"));
    let mut counted = Spent::new(certificate, issuer, Timestamp::from_secs(0), false);
    counted.certificate = name.clone();
    let order = NewOrder { names: certificate.names.clone(), profile: None, replaces: None };
    let (intent, attempt) = (Box::new(Event::PreIntended), Attempt(1));
    (Slot::Issue, Effect::OpenOrder { issuer: ca(), attempt, order, intent, counted, forced: false, ends })
}

fn tell(number: u8, cause: &str) -> (Slot, Effect) {
    let (notifier, empty) = (notifier(number), || String::new().into());
    let kind = NoticeKind::Failure;
    let (alert, details) = (Alert::Issue, Vec::new());
    let (summary, advice) = (empty(), empty());
    let slot = Slot::Tell(notifier.clone());
    (slot, Effect::Tell { notifier, alert, recovered: false, kind, cause: cause.into(), summary, advice, details })
}

/// A plan of what the bits of `mask` stand for.
fn planned(spec: &Spec, name: &CertName, mask: u16, now: Timestamp) -> Plan {
    let has = |bit: u8| mask >> bit & 1 == 1;
    let mut all = Vec::new();
    all.extend(has(0).then_some((Slot::Post, Effect::RunPost)));
    all.extend((1..=3).filter(|bit| has(*bit)).map(deploy));
    all.extend((1..=3).filter(|bit| has(*bit + 3)).map(reload));
    if has(7) {
        all.extend((0..LOOKS_EACH).map(look));
    }
    let ends = has(8).then(|| now + Duration::from_secs(u64::from(mask % 7)));
    all.extend(has(9).then(|| order(spec, name, ends)));
    all.extend(has(10).then(|| tell(1, if has(11) { "outage" } else { "limit" })));
    all.extend(has(12).then(|| tell(2, "outage")));
    let wait = Duration::from_secs(if has(13) { 60 } else { 600 });
    let kind = if has(14) && has(15) { WakeKind::Pause } else { WakeKind::Schedule };
    let wakes = vec![Wake { at: now + wait, kind, why: Reason::Routine, firm: None }];
    let steps = all.into_iter().map(|(slot, effect)| Step { slot, effect, why: Reason::Routine });
    Plan { steps: steps.collect(), wakes }
}

/// Everything there is, to be gone through.
#[derive(Default)]
struct Everything {
    plans: BTreeMap<CertName, Plan>,
    under_way: Vec<Work>,
}

impl Everything {
    fn is_under_way(&self, name: &CertName, slot: &Slot) -> bool {
        self.under_way.iter().flat_map(|work| &work.parts).any(|(busy, step)| busy == name && step.slot == *slot)
    }

    fn count(&self, what: impl Fn(&Effect) -> bool) -> usize {
        self.under_way.iter().filter(|work| work.effect().is_some_and(&what)).count()
    }

    /// What may begin: by the rules, one after another, over all steps of all plans.
    fn chooses(&self, now: Timestamp) -> Vec<Work> {
        let mut steps = Vec::new();
        let mut taken = BTreeSet::new();
        for (name, plan) in &self.plans {
            for step in &plan.steps {
                if !self.is_under_way(name, &step.slot) && taken.insert((name.clone(), step.slot.clone())) {
                    steps.push((name.clone(), step.clone()));
                }
            }
        }
        let mut work = Vec::new();
        let mut looks = self.count(|it| matches!(it, Effect::Look { .. }));
        let reloading =
            |node: &NodeName| self.count(|it| matches!(it, Effect::Reload { node: on, .. } if on == node)) > 0;
        let mut deploys: BTreeMap<NodeName, usize> = (1..=3)
            .map(node)
            .map(|node| (node.clone(), self.count(|it| matches!(it, Effect::Deploy { node: on, .. } if *on == node))))
            .collect();
        for part in &steps {
            match &part.1.effect {
                Effect::Deploy { node, .. } => {
                    let many = deploys.entry(node.clone()).or_default();
                    *many += 1;
                    if *many <= 4 && !reloading(node) {
                        work.push(vec![part.clone()]);
                    }
                }
                Effect::Look { .. } => {
                    looks += 1;
                    if looks <= 64 {
                        work.push(vec![part.clone()]);
                    }
                }
                Effect::RunPost => work.push(vec![part.clone()]),
                _ => {}
            }
        }
        let mut orders: Vec<_> = steps.iter().filter(|it| matches!(it.1.effect, Effect::OpenOrder { .. })).collect();
        let ends = |part: &(CertName, Step)| match &part.1.effect {
            Effect::OpenOrder { ends, .. } => (ends.unwrap_or(now), ends.is_none()),
            _ => (now, false),
        };
        orders.sort_by_key(|part| ends(part));
        let open = self.count(|it| matches!(it, Effect::OpenOrder { .. }));
        work.extend(orders.into_iter().take(4_usize.saturating_sub(open)).map(|part| vec![part.clone()]));
        let mut first = Vec::new();
        for number in 1..=3 {
            let here =
                |it: &&(CertName, Step)| matches!(&it.1.effect, Effect::Reload { node: on, .. } if *on == node(number));
            let parts: Vec<_> = steps.iter().filter(here).cloned().collect();
            if !parts.is_empty() && deploys[&node(number)] == 0 && !reloading(&node(number)) {
                first.push(parts);
            }
        }
        let mut work = [first, work].concat();
        let pausing = self.plans.values().any(|plan| plan.pauses(now));
        let works = self.count(|it| !matches!(it, Effect::Tell { .. })) > 0;
        if !pausing && !works && work.is_empty() {
            for number in 1..=2 {
                let busy = self.count(|it| matches!(it, Effect::Tell { notifier: by, .. } if *by == notifier(number)));
                let about = |cause: &str| {
                    let it = |it: &&(CertName, Step)| it.1.effect == tell(number, cause).1;
                    steps.iter().filter(it).cloned().collect::<Vec<_>>()
                };
                let first = [about("limit"), about("outage")].into_iter().find(|parts| !parts.is_empty());
                work.extend(first.filter(|_| busy == 0));
            }
        }
        work.into_iter().map(|parts| Work { parts }).collect()
    }
}

#[test]
fn a_place_for_errands_goes_to_what_ends_something() {
    let (spec, shared, now) = (spec(), Shared::default(), Timestamp::from_secs(1_800_000_000));
    let mut docket = Docket::default();
    let step = |(slot, effect)| Step { slot, effect, why: Reason::Routine };
    let plan = |steps: Vec<Step>| Plan { steps, wakes: Vec::new() };
    docket.enter(&called(0), plan((1..=100).map(deploy).map(step).collect()), None);
    let first = admit(&docket, &spec, &shared, now).work;
    assert_eq!(first.len(), 64, "each may be a process");
    for work in &first {
        docket.begin(work);
    }
    assert_eq!(admit(&docket, &spec, &shared, now).work, []);
    // One ends, and its node is to be reloaded; thirty-six wait for their first deploy.
    docket.end(&first[0]);
    docket.enter(&called(0), plan((2..=100).map(deploy).chain([reload(1)]).map(step).collect()), None);
    let next = admit(&docket, &spec, &shared, now).work;
    assert_eq!(next.iter().map(|work| &work.parts[0].1.effect).collect::<Vec<_>>(), [&reload(1).1]);
}

proptest! {
    #[test]
    fn what_begins_is_what_going_through_everything_would_choose(
        script in prop::collection::vec((0..4_u8, 0..CERTIFICATES, any::<u16>()), 1..60)
    ) {
        let (mut spec, shared, now) = (spec(), Shared::default(), Timestamp::from_secs(1_800_000_000));
        let hook = Hook { argv: Vec::new(), shell: false, timeout: Duration::ZERO, certbot: false, unit: None };
        for number in 1..=2 {
            let told = Notifier { name: notifier(number), kind: NotifierKind::Exec(hook.clone()) };
            spec.notifiers.insert(told.name.clone(), told);
        }
        let (mut all, mut docket) = (Everything::default(), Docket::default());
        for (deed, number, mask) in script {
            let mut enter = vec![(called(number), Some(planned(&spec, &called(number), mask, now)))];
            match deed {
                // It is let go of, once nothing of it is under way.
                0 if mask % 5 == 0 && docket.is_idle(&called(number)) => {
                    all.plans.remove(&called(number));
                    docket.remove(&called(number));
                    enter.clear();
                }
                0 | 1 => {}
                2 => {
                    let batch = admit(&docket, &spec, &shared, now);
                    batch.work.iter().for_each(|work| docket.begin(work));
                    enter = batch.work.iter().flat_map(|work| &work.parts).map(|part| (part.0.clone(), None)).collect();
                    all.under_way.extend(batch.work);
                }
                _ if all.under_way.is_empty() => continue,
                _ => {
                    let work = all.under_way.swap_remove(usize::from(mask) % all.under_way.len());
                    docket.end(&work);
                    enter = work.parts.iter().map(|part| (part.0.clone(), None)).collect();
                }
            }
            for (name, plan) in enter {
                let Some(plan) = plan.or_else(|| all.plans.get(&name).cloned()) else { continue };
                let ordering = all.is_under_way(&name, &Slot::Issue).then(ca);
                docket.enter(&name, plan.clone(), ordering.as_ref());
                all.plans.insert(name, plan);
            }
            let (found, chosen) = (admit(&docket, &spec, &shared, now).work, all.chooses(now));
            prop_assert_eq!(found, chosen);
        }
    }
}
