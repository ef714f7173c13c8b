//! What is neither issuing nor rolling out: telling people, pruning, retiring.

use super::effect::{Effect, Slot};
use super::event::{Alert, Event};
use super::hold::Trouble;
use super::issue;
use super::ledger::{Gate, Ledger, Rolled};
use super::plan::{Draft, View, WakeKind};
use super::reason::Reason;
use super::rollout;
use super::schedule::last_call;
use super::waves;
use crate::config::spec::Confirm;
use crate::ports::NoticeKind;
use crate::types::{Failure, GenId, NotifierName, Timestamp, Window};
use std::collections::{BTreeMap, BTreeSet};

/// Accepted generations that are always kept.
const KEPT: usize = 2;

/// A certificate that is no longer configured: its challenges are taken down, its files stay until `forget`.
pub(super) fn retire(ledger: &Ledger, draft: &mut Draft) {
    if let Some(order) = &ledger.order {
        let why = Reason::Unconfigured;
        let event = Event::OrderAbandoned { attempt: order.attempt, lost: false, why: why.to_string().into() };
        return draft.record(Slot::Issue, event, why);
    }
    if ledger.retired.is_none() && ledger.seq.0 > 0 {
        draft.record(Slot::Upkeep, Event::Retired, Reason::Unconfigured);
    }
}

/// A certificate that is configured again.
pub(super) fn revive(view: &View<'_>, draft: &mut Draft) {
    if view.ledger().retired.is_some() {
        draft.record(Slot::Upkeep, Event::Revived, Reason::ConfiguredAgain);
    }
}

/// Plans telling and pruning.
pub(super) fn upkeep(view: &View<'_>, draft: &mut Draft) {
    tell(view, draft);
    prune(view, draft);
}

// -------------------------------------------------------------------------------------------------------------- pruning

fn prune(view: &View<'_>, draft: &mut Draft) {
    let ledger = view.ledger();
    // A clock that lies, or an order about to add a generation: not the time to remove anything.
    if ledger.order.is_some() || view.clock_suspect().is_some() {
        return;
    }
    // What a rebuilt journal no longer says, each node shows by and by: until then any generation may be served somewhere.
    let proves = view.certificate.confirm != Confirm::None;
    let known = |rolled: &Rolled| if proves { rolled.confirmed.is_some() } else { rolled.deployed.is_some() };
    if ledger.rebuilt.is_some() && !view.certificate.nodes.iter().all(|node| known(ledger.rolled(node))) {
        return;
    }
    let needed = needed(view);
    let newest = ledger.newest_accepted().map(|held| held.about.generation);
    let superfluous = ledger.generations.iter().find(|(id, held)| {
        let judged = held.gate != Gate::Pending || newest.is_some_and(|newest| **id < newest);
        judged && newest.is_some_and(|newest| **id < newest) && !needed.contains(id)
    });
    if let Some((generation, _)) = superfluous {
        draft.step(Slot::Upkeep, Effect::Prune { generation: *generation }, Reason::Superfluous);
    }
}

/// Generations that are wanted, or that a node was last known to have or may have by now.
fn needed(view: &View<'_>) -> BTreeSet<GenId> {
    let ledger = view.ledger();
    let mut needed: BTreeSet<GenId> = ledger.accepted().rev().take(KEPT).map(|held| held.about.generation).collect();
    if let Some(want) = &ledger.want {
        needed.insert(want.default.generation);
        needed.extend(want.overrides.values().map(|aim| aim.generation));
    }
    for node in &view.certificate.nodes {
        needed.extend(ledger.perhaps_on(node, view.certificate.confirm != Confirm::None));
    }
    for rolled in ledger.nodes.values() {
        let known = [&rolled.deployed, &rolled.reloaded, &rolled.confirmed];
        needed.extend(known.into_iter().flatten().map(|milestone| milestone.generation));
        needed.extend(rolled.served_before);
    }
    let published = view.facts.seen.nodes.values().filter_map(|seen| seen.published.as_ref());
    needed.extend(published.filter_map(|published| published.generation));
    let served = served_leaves(view);
    needed.extend(
        ledger
            .generations
            .values()
            .map(|held| &held.about)
            .filter_map(|about| served.contains(&about.leaf).then_some(about.generation)),
    );
    needed
}

fn served_leaves(view: &View<'_>) -> BTreeSet<crate::types::Fingerprint> {
    let shown = view.facts.seen.endpoints.values().flat_map(|seen| &seen.observations);
    shown
        .filter_map(|observation| match observation.shown {
            crate::ports::Shown::Other { leaf, .. } => Some(leaf),
            _ => None,
        })
        .collect()
}

// --------------------------------------------------------------------------------------------------------------- telling

/// What people should know at the moment.
struct News {
    kind: NoticeKind,
    failure: Failure,
}

fn tell(view: &View<'_>, draft: &mut Draft) {
    let news = news(view);
    let chosen: Vec<&NotifierName> = match view.certificate.notify.as_slice() {
        [] => view.spec.notifiers.keys().collect(),
        some => some.iter().filter(|name| view.spec.notifiers.contains_key(*name)).collect(),
    };
    for notifier in chosen {
        tell_one(view, notifier, &news, draft);
    }
}

fn tell_one(view: &View<'_>, notifier: &NotifierName, news: &BTreeMap<Alert, News>, draft: &mut Draft) {
    let ledger = view.ledger();
    let told = ledger.told.get(notifier);
    let untold = news.iter().find(|(alert, _)| told.is_none_or(|told| !told.contains_key(alert)));
    let over = told.into_iter().flat_map(BTreeMap::keys).find(|alert| !news.contains_key(alert));
    let effect = match (untold, over) {
        (Some((alert, news)), _) => bad_news(view, notifier, alert, news),
        (None, Some(alert)) => good_news(view, notifier, alert),
        (None, None) => return,
    };
    let alert = untold.map(|(alert, _)| alert).or(over);
    if let Some(until) = ledger.tell.get(notifier).and_then(|trouble| view.hold(trouble)) {
        return draft.wake(until, WakeKind::Hold, Reason::NotifierTrouble { notifier: notifier.clone() });
    }
    if let Some(alert) = alert {
        draft.step(Slot::Tell(notifier.clone()), effect, Reason::News { alert: alert.clone() });
    }
}

fn bad_news(view: &View<'_>, notifier: &NotifierName, alert: &Alert, news: &News) -> Effect {
    let name = &view.certificate.name;
    let failure = &news.failure;
    let summary = match alert {
        Alert::Issue => format!("{name} cannot be issued: {}", failure.message),
        Alert::Node(node) => format!("{name} is not live on {node}: {}: {}", failure.place, failure.message),
        Alert::Rollout => format!("the roll-out of {name} stopped: {}", failure.message),
        Alert::Cleanup => format!("{name}: a challenge could not be taken down: {}", failure.message),
        Alert::Post => format!("{name}: the post hook fails: {}", failure.message),
        Alert::Danger => format!("{name} is in danger: {}", failure.message),
    };
    Effect::Tell {
        notifier: notifier.clone(),
        alert: alert.clone(),
        recovered: false,
        kind: news.kind,
        cause: format!("{} {}", failure.code, failure.place).into(),
        summary: summary.into(),
        advice: failure.advice.clone(),
        details: failure.details.clone(),
    }
}

fn good_news(view: &View<'_>, notifier: &NotifierName, alert: &Alert) -> Effect {
    let name = &view.certificate.name;
    let summary = match alert {
        Alert::Issue => format!("{name} can be issued again"),
        Alert::Node(node) if !view.certificate.nodes.contains(node) => format!("{name} no longer goes to {node}"),
        Alert::Node(node) => format!("{name} is live on {node} again"),
        Alert::Rollout => format!("the roll-out of {name} goes on"),
        Alert::Cleanup => format!("{name}: the challenge was taken down"),
        Alert::Post => format!("{name}: the post hook succeeded"),
        Alert::Danger => format!("{name} is out of danger"),
    };
    Effect::Tell {
        notifier: notifier.clone(),
        alert: alert.clone(),
        recovered: true,
        kind: NoticeKind::Recovery,
        cause: format!("recovered {alert:?}").into(),
        summary: summary.into(),
        advice: String::new().into(),
        details: Vec::new(),
    }
}

fn news(view: &View<'_>) -> BTreeMap<Alert, News> {
    let ledger = view.ledger();
    let mut news = BTreeMap::new();
    let mut add = |alert: Alert, trouble: &Trouble| {
        if let Some(failure) = trouble.last.clone().filter(|_| trouble.worth_telling()) {
            news.entry(alert).or_insert(News { kind: NoticeKind::Failure, failure });
        }
    };
    if issue::matters(view) {
        add(Alert::Issue, &ledger.issue);
    }
    if let Some(order) = &ledger.order {
        add(Alert::Issue, &order.step);
    }
    for node in &view.certificate.nodes {
        for trouble in rollout::troubles(view, node) {
            add(Alert::Node(node.clone()), trouble);
        }
    }
    add(Alert::Cleanup, &ledger.cleanup);
    add(Alert::Post, &ledger.post);
    for (node, failure) in rollout::put_back(view) {
        news.entry(Alert::Node(node.clone())).or_insert(News { kind: NoticeKind::Failure, failure });
    }
    if let Some(failure) = waves::stopped(view) {
        news.insert(Alert::Rollout, News { kind: NoticeKind::Failure, failure });
    }
    if let Some(failure) = danger(view) {
        news.insert(Alert::Danger, News { kind: NoticeKind::Danger, failure });
    }
    news
}

/// Past the last call, or under a tenth of the life left, of what is wanted or of what a node still serves.
pub(super) fn danger(view: &View<'_>) -> Option<Failure> {
    let ledger = view.ledger();
    let wanted = ledger.want.as_ref().map(|want| want.default.generation);
    let served = view.certificate.nodes.iter().filter_map(|node| ledger.nodes.get(node));
    let served = served.filter_map(|rolled| rolled.confirmed.as_ref().or(rolled.reloaded.as_ref()));
    let served = served.map(|milestone| milestone.generation);
    let generations: BTreeSet<GenId> = served.chain(wanted).collect();
    let held = generations.into_iter().filter_map(|generation| ledger.generations.get(&generation));
    let worst = held.min_by_key(|held| held.about.validity.end)?;
    in_danger(worst.about.validity, view.now).then(|| {
        let about = &worst.about;
        let message =
            format!("generation {} ends {} and is not replaced everywhere", about.generation, about.validity.end);
        let place = view.certificate.name.as_str();
        Failure::new(crate::types::Class::Operator, "danger", place, message)
            .advise(format!("`everleaf why {place}` names what stands in the way"))
    })
}

/// Whether a certificate is so near its end that any failure is an emergency.
fn in_danger(validity: Window, now: Timestamp) -> bool {
    now >= last_call(validity) || validity.end.since(now) < validity.width() / 10
}
