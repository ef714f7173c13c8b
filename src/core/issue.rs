//! The issue track: key → order intended → opened → challenges up → ready → CSR → valid → staged → gate.

use super::budget::{Also, By, Full, Spent};
use super::effect::{Effect, Slot};
use super::event::{Ask, Event};
use super::hold::{LONGEST_BACKOFF, Trouble, WORTH_TELLING};
use super::ledger::{Gate, Held, Ledger, Order, Phase};
use super::plan::{Draft, Horizon, View, Wake, WakeKind};
use super::reason::Reason;
use super::schedule::{self, schedule};
use crate::ports::NewOrder;
use crate::types::{Class, Failure, KeyId, Printable, RequestId, Timestamp, Window};
use std::time::Duration;

/// Plans the issue track.
pub(super) fn issue(view: &View<'_>, draft: &mut Draft) {
    clean_up(view.ledger(), view.horizon, draft);
    if !view.horizon.issue {
        return;
    }
    let asking_ari = ari(view, draft);
    match &view.ledger().order {
        Some(order) => go_on(view, order, draft),
        None => renew(view, asking_ari, draft),
    }
    post(view, draft);
}

/// Takes down challenges that no open order needs: also after a crash, also for a certificate that is no longer configured. That
/// costs no order, so each run tries it anew.
pub(super) fn clean_up(ledger: &Ledger, horizon: Horizon, draft: &mut Draft) {
    let needed = ledger.order.as_ref().filter(|order| !order.phase.proofs().is_empty()).map(|order| order.attempt);
    let Some((attempt, proofs)) = ledger.left_up.iter().find(|(attempt, _)| Some(**attempt) != needed) else {
        return;
    };
    let outlived = horizon.outlives(&ledger.cleanup, draft.now).is_some();
    if let Some(until) = ledger.cleanup.until(draft.now).filter(|_| !outlived) {
        draft.wake(until, WakeKind::Hold, held("taking challenges down", &ledger.cleanup, draft.now));
        return;
    }
    let effect = Effect::TakeDown { attempt: *attempt, proofs: proofs.clone() };
    draft.step(Slot::Cleanup, effect, Reason::LeftBehind);
}

/// Asks for the suggested window when the last answer is old. Says whether an answer is awaited.
fn ari(view: &View<'_>, draft: &mut Draft) -> bool {
    let ledger = view.ledger();
    let Some(held) = ledger.newest_accepted() else { return false };
    let Some(id) = &held.about.ari else { return false };
    // Never after expiry, never of a replaced certificate, never at another CA (RFC 9773 §4.3).
    if view.now >= held.about.validity.end || held.about.directory != view.issuer.directory {
        return false;
    }
    if let Some(seen) = view.facts.seen.ari.as_ref().filter(|seen| seen.generation == held.about.generation) {
        let fresh = view.now < seen.next() && seen.at <= view.now;
        if fresh {
            draft.wake(seen.next(), WakeKind::Schedule, Reason::AriDue);
            return false;
        }
    }
    let effect =
        Effect::PollAri { issuer: view.issuer.name.clone(), generation: held.about.generation, id: id.clone() };
    draft.step(Slot::Ari, effect, Reason::AriDue);
    true
}

// -------------------------------------------------------------------------------------------------------- an open order

fn go_on(view: &View<'_>, order: &Order, draft: &mut Draft) {
    let attempt = order.attempt;
    if let Phase::Staged { generation } = order.phase {
        if let Some(failure) = order.step.last.as_ref().filter(|failure| is_lost(failure)) {
            let why = Reason::OrderDead { failure: failure.clone() };
            return draft.record(Slot::Issue, Event::OrderFailed { attempt, failure: failure.clone() }, why);
        }
        let effect = Effect::Judge { generation, names: order.names.clone() };
        return step_unless_held(view, order, effect, draft);
    }
    if order.spec_digest != view.certificate.digest(view.issuer) {
        let event = Event::OrderAbandoned { attempt, lost: false, why: Reason::OrderOutdated.to_string().into() };
        return draft.record(Slot::Issue, event, Reason::OrderOutdated);
    }
    if let Some(failure) = dead(view, order) {
        let why = Reason::OrderDead { failure: failure.clone() };
        return draft.record(Slot::Issue, Event::OrderFailed { attempt, failure }, why);
    }
    let Some(opened) = &order.opened else {
        let why = Reason::ReplyLost.to_string();
        let event = Event::OrderAbandoned { attempt, lost: true, why: why.into() };
        return draft.record(Slot::Issue, event, Reason::ReplyLost);
    };
    // An order of the future was opened by a clock that was wrong: it is looked at now, and from then on as any other.
    let last = order.looked_at.unwrap_or(order.entered_at);
    if let Some(at) = order.look_at.filter(|at| *at > view.now && last <= view.now) {
        return draft.wake(at, WakeKind::Pause, Reason::CaWorking { phase: order.phase.name() });
    }
    let effect = next_effect(view, order, &opened.url, &opened.account);
    step_unless_held(view, order, effect, draft);
}

fn next_effect(view: &View<'_>, order: &Order, url: &str, account: &str) -> Effect {
    let (attempt, issuer, url) = (order.attempt, view.issuer.name.clone(), url.to_owned());
    match &order.phase {
        Phase::Opened => Effect::FetchAuthorizations { issuer, attempt, url },
        Phase::Offered { proofs } | Phase::PuttingUp { proofs } if !proofs.is_empty() => {
            Effect::PutUp { attempt, proofs: proofs.clone() }
        }
        Phase::Up { proofs } => {
            let challenges = proofs.iter().map(|proof| proof.url.clone()).collect();
            Effect::Answer { issuer, attempt, url, challenges }
        }
        Phase::Ready => Effect::SubmitCsr { issuer, attempt, url, key: order.key, names: order.names.clone() },
        Phase::Valid => Effect::FetchChain {
            issuer,
            attempt,
            url,
            key: order.key,
            number: view.ledger().last_number + 1,
            account: account.to_owned(),
            spec_digest: order.spec_digest,
        },
        // A CSR whose reply was lost is looked after, not sent again: the order says how far it came.
        _ => Effect::LookAtOrder { issuer, attempt, url },
    }
}

fn step_unless_held(view: &View<'_>, order: &Order, effect: Effect, draft: &mut Draft) {
    // A wait of seconds belongs to the order's work; a longer one is stored.
    let kind = |trouble: &Trouble| {
        let span = trouble.hold.map_or(Duration::ZERO, |hold| hold.span());
        if span < WORTH_TELLING { WakeKind::Pause } else { WakeKind::Hold }
    };
    if let Some(at) = step_hold(view, &order.step) {
        let why = held("the order's next step", &order.step, view.now);
        let firm = order.step.demanded_until(view.now);
        return draft.wait(Wake { at, kind: kind(&order.step), why, firm });
    }
    // A limit on new orders is none on those that are open.
    let trouble = view.shared.issuers.get(&view.issuer.name).map(|facts| &facts.trouble);
    let trouble = trouble.filter(|trouble| trouble.last.as_ref().is_none_or(|failure| !failure.issuer_wide));
    if let Some((trouble, wake)) = trouble.zip(issuer_hold(view)) {
        return draft.wait(Wake { kind: kind(trouble), ..wake });
    }
    draft.step(Slot::Issue, effect, Reason::OrderOpen { phase: order.phase.name() });
}

/// Until when an order's step is held. What the disk refused is tried again by the next run: it says nothing about the order.
fn step_hold(view: &View<'_>, step: &Trouble) -> Option<Timestamp> {
    if let Some(refused) = view.ledger().refused_by_the_disk() {
        return view.hold(refused);
    }
    let until = step.until_within(view.now, view.patience());
    // A step costs nothing, so one too many after a clock was set right is better than waiting for the wrong time to come.
    until.filter(|_| step.hold.is_none_or(|hold| hold.set_at <= view.now))
}

/// Whether what an order brought, or the key it is for, is no longer on this disk.
fn is_lost(failure: &Failure) -> bool {
    failure.is_lost_key() || matches!(failure.code.as_str(), "generation:missing" | "generation:damaged")
}

/// Whether an order can go no further, and why. What passes by itself keeps the order.
fn dead(view: &View<'_>, order: &Order) -> Option<Failure> {
    /// What cannot be put up, or read, after this many tries will not be in this order.
    const TRIES: u32 = 3;
    if let Some(failure) = &order.step.last {
        let final_answer = matches!(failure.class, Class::Operator | Class::Spec) && !failure.is_of_the_disk();
        // A certificate that is paid for is asked for again before another one is, whatever stands in the order by now.
        let paid = failure.code == "acme:badUrl" && order.may_have_issued() && order.step.failures < TRIES;
        let hopeless = (final_answer && !paid)
            || matches!(failure.code.as_str(), "acme:orderGone" | "acme:authorizationGone")
            || is_lost(failure)
            || order.phase == Phase::Intended
            || (matches!(order.phase, Phase::PuttingUp { .. }) && order.step.failures >= TRIES)
            || (failure.code == "acme:unreadable" && order.step.failures >= TRIES);
        if hopeless {
            return Some(failure.clone());
        }
    }
    let place = order.opened.as_ref().map_or("the CA", |opened| opened.url.as_str());
    if order.opened.as_ref().and_then(|opened| opened.expires).is_some_and(|expires| expires <= view.now) {
        return Some(Failure::new(
            Class::Retry,
            "acme:orderExpired",
            place,
            "the order expired before it was finished",
        ));
    }
    // Judged by the last look: an order found again after a pause of ours is looked at before it is given up.
    let overdue = order.looked_at.is_some_and(|at| at.since(order.entered_at) >= view.spec.limits.order);
    overdue.then(|| {
        let message = format!("the CA left the order {} longer than limits.order allows", order.phase.name());
        Failure::new(Class::Retry, "acme:orderStuck", place, message)
            .advise("look at the CA's status page; everleaf tries again with a new order")
    })
}

// ------------------------------------------------------------------------------------------------------------ a new one

/// What speaks for an order now.
struct Need<'a> {
    why: Reason,
    asked: Option<(&'a RequestId, bool)>,
    early_window: bool,
}

fn renew(view: &View<'_>, asking_ari: bool, draft: &mut Draft) {
    let forced = view.ledger().asked_for(|ask| matches!(ask, Ask::Renew { force: true, .. }));
    if let Some((id, refusal)) = forced.and_then(|(id, asked)| Some((id, refuse_force(view, &asked.ask)?))) {
        return close(id, refusal, draft);
    }
    if forced.is_none() && view.ledger().owed.is_none() && asking_ari {
        return;
    }
    let Some(need) = need(view, draft) else {
        return close_asks(view, draft);
    };
    let plain = view.ledger().asked_for(|ask| matches!(ask, Ask::Renew { force: false, .. }));
    if let Some(((id, _), refusal)) = plain.zip(fruitless(view)) {
        return close(id, refusal, draft);
    }
    if let Some(why) = view.clock_suspect().filter(|_| view.shared.clock_offset.is_none() && !insists(view, &need)) {
        // Only our own journal speaks against the clock: the CA knows better.
        draft.step(Slot::Clock, Effect::AskTime { issuer: view.issuer.name.clone() }, why);
    }
    if let Some(wake) = blocked(view, &need) {
        close_asks(view, draft);
        return draft.wait(wake);
    }
    prepare(view, &need, draft);
}

fn close(id: &RequestId, refusal: Printable, draft: &mut Draft) {
    let why = Reason::Asked { id: id.clone(), by: refusal.clone() };
    draft.record(Slot::Issue, Event::AskClosed { id: id.clone(), why: refusal }, why);
}

/// Why a forced order is not made. A CA's own wait is no reason: the request is kept until it is over.
fn refuse_force(view: &View<'_>, ask: &Ask) -> Option<Printable> {
    let used_up = || {
        let full = full(view, By::Hand)?;
        let (issuer, until) = (&view.issuer.name, full.until);
        Some(format!("{issuer} allows {full}, and so many were ordered; one more fits in at {until}").into())
    };
    undeployed(view, ask).or_else(|| fruitless(view)).or_else(used_up)
}

/// An order that would fail as the last ones did.
fn fruitless(view: &View<'_>) -> Option<Printable> {
    let until = view.ledger().fruitless.until(view.now)?;
    Some(format!("{}; mend what keeps failing, another one is placed from {until} on", Reason::Fruitless).into())
}

/// A good generation that is not live yet needs a deploy, not another order.
fn undeployed(view: &View<'_>, ask: &Ask) -> Option<Printable> {
    let Ask::Renew { yes: false, new_key: false, .. } = ask else { return None };
    let newest = view.ledger().newest_accepted()?;
    let undeployed = view.ledger().live.as_ref().is_none_or(|live| live.generation < newest.about.generation);
    let proves = !matches!(view.certificate.confirm, crate::config::spec::Confirm::None);
    // One that was rolled back from is not merely waiting to be deployed.
    let left = view.ledger().want.as_ref().is_some_and(|want| want.default.rollback);
    let good = !left
        && newest.about.spec_digest == view.certificate.digest(view.issuer)
        && view.now < newest.about.validity.end;
    (undeployed && proves && good).then(|| {
        let (generation, name) = (newest.about.generation, &view.certificate.name);
        format!(
            "generation {generation} is issued and not live yet: `everleaf deploy {name}` is what helps; \
             `renew {name} --force --yes` orders another one all the same"
        )
        .into()
    })
}

/// Whether trouble with issuing is still trouble: its wait lasts, an order is open, or a certificate is needed. What a person
/// forced in vain, long before anything is due, is over with its wait.
pub(super) fn matters(view: &View<'_>) -> bool {
    let ledger = view.ledger();
    ledger.issue.failures > 0
        && (ledger.issue.until(view.now).is_some()
            || ledger.order.is_some()
            || need(view, &mut Draft::new(view.now)).is_some())
}

/// Whether a certificate is needed now; otherwise when, as a wake-up.
fn need<'a>(view: &View<'a>, draft: &mut Draft) -> Option<Need<'a>> {
    let ledger = view.ledger();
    if let Some((id, asked)) = ledger.asked_for(|ask| matches!(ask, Ask::Renew { force: true, .. })) {
        let new_key = matches!(asked.ask, Ask::Renew { new_key: true, .. });
        let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
        return Some(Need { why, asked: Some((id, new_key)), early_window: false });
    }
    let now = |why| Some(Need { why, asked: None, early_window: false });
    if ledger.owed.is_some() {
        return now(Reason::ReplyLost);
    }
    let Some(newest) = ledger.newest_accepted() else { return now(Reason::First) };
    if newest.about.spec_digest != view.certificate.digest(view.issuer) {
        return now(Reason::SpecChanged);
    }
    if is_gone(view, newest) {
        return now(Reason::Lost { generation: newest.about.generation });
    }
    by_schedule(view, newest, draft)
}

/// Whether the newest generation can no longer be published anywhere, because it is on this disk no more, nor where it was
/// published.
fn is_gone(view: &View<'_>, newest: &Held) -> bool {
    let nodes = view.certificate.nodes.iter().filter_map(|node| view.ledger().nodes.get(node));
    let wanted = view.wanted().is_some_and(|held| held.about.generation == newest.about.generation);
    wanted && nodes.filter_map(|rolled| rolled.deploy.last.as_ref()).any(is_lost)
}

fn by_schedule<'a>(view: &View<'a>, newest: &Held, draft: &mut Draft) -> Option<Need<'a>> {
    // A rollback stands until its own generation is about to end: the schedule of what was left would undo it.
    if let Some(pinned) = view.wanted().filter(|held| held.about.generation != newest.about.generation) {
        let last_call = schedule::last_call(pinned.about.validity);
        if view.now < last_call {
            draft.wake(last_call, WakeKind::Schedule, Reason::LastCall);
            return None;
        }
        return Some(Need { why: Reason::LastCall, asked: None, early_window: false });
    }
    let window = window(view, newest);
    let due = schedule(&view.shared.seed, &view.certificate.name, newest.about.validity, window, newest.early_window);
    let need = |why| Some(Need { why, asked: None, early_window: due.early_window });
    if due.at <= view.now {
        return need(match due.window {
            Some(window) if window.end <= view.now => Reason::Recalled { window },
            _ => due.why,
        });
    }
    let next_run = view.now + view.horizon.span;
    if due.at <= next_run && !view.horizon.span.is_zero() {
        // What this very run has brought is not replaced before its time: a life shorter than the interval would never end a run.
        if view.horizon.began.is_some_and(|began| newest.accepted_at().is_some_and(|at| at >= began)) {
            arm(view, due.at, draft);
            return wait(draft, due.at, due.why);
        }
        return match due.window {
            Some(window) => ahead(view, due.at, window, draft).and_then(need),
            // Without a window nothing is lost by the next run, unless that is past the last call.
            None if next_run < schedule::last_call(newest.about.validity) => wait(draft, due.at, due.why),
            None => need(Reason::LastCall),
        };
    }
    wait(draft, due.at, due.why)
}

fn wait<T>(draft: &mut Draft, at: Timestamp, why: Reason) -> Option<T> {
    draft.wake(at, WakeKind::Schedule, why);
    None
}

/// A timer does not outlive a reboot: each run arms it again.
const TIMER_TRUSTED: Duration = Duration::from_secs(600);

/// Arms a timer for the end of a pause that comes before the next run. There is one timer, and an order's comes first.
pub(super) fn arm_beside(view: &View<'_>, at: Timestamp, draft: &mut Draft) {
    let span = view.horizon.span;
    let alone = view.horizon.began.is_some() && (span.is_zero() || at < view.now + span);
    let other = view.facts.seen.timer.as_ref().filter(|timer| timer.at != at && timer.at > view.now);
    let taken = other.is_some_and(|timer| timer.tried <= view.now && view.now.since(timer.tried) < TIMER_TRUSTED);
    if alone && !taken {
        arm(view, at, draft);
    }
}

/// Arms a timer for `at`, unless that was tried just now: then what came of it.
fn arm<'a>(view: &View<'a>, at: Timestamp, draft: &mut Draft) -> Option<&'a Option<Failure>> {
    let tried = view
        .facts
        .seen
        .timer
        .as_ref()
        .filter(|timer| timer.at == at && timer.tried <= view.now && view.now.since(timer.tried) < TIMER_TRUSTED);
    if tried.is_none() {
        draft.step(Slot::Timer, Effect::Arm { at }, Reason::ArmTimer { at });
    }
    tried.map(|timer| &timer.failure)
}

/// The drawn instant comes before the next run.
fn ahead(view: &View<'_>, at: Timestamp, window: Window, draft: &mut Draft) -> Option<Reason> {
    if window.contains(view.now) {
        return Some(Reason::AheadInWindow { at });
    }
    match arm(view, at, draft) {
        None | Some(None) => wait(draft, at, Reason::ArmTimer { at }),
        Some(Some(_)) if view.now + view.horizon.span < window.end => wait(draft, at, Reason::Drawn { window }),
        Some(Some(failure)) => Some(Reason::NoTimer { at, failure: failure.message.clone() }),
    }
}

fn window(view: &View<'_>, newest: &Held) -> Option<Window> {
    let seen = view.facts.seen.ari.as_ref().filter(|seen| seen.generation == newest.about.generation)?;
    Some(seen.info.as_ref()?.window)
}

/// What stands against an order now.
fn blocked(view: &View<'_>, need: &Need<'_>) -> Option<Wake> {
    let (ledger, kind) = (view.ledger(), WakeKind::Hold);
    if let Some(why) = view.clock_suspect().filter(|_| !insists(view, need)) {
        return Some(Wake { at: view.now + super::plan::LONGEST_SLEEP, kind, why, firm: None });
    }
    if let Some(at) = issue_hold(view, need) {
        let firm = ledger.issue.demanded_until(view.now).max(ledger.fruitless.until(view.now));
        return Some(Wake { at, kind, why: held("issuing", &ledger.issue, view.now), firm });
    }
    if let Some(wake) = issuer_hold(view) {
        return Some(wake);
    }
    if let Some(at) = ledger.fruitless.until(view.now) {
        return Some(Wake { at, kind, why: Reason::Fruitless, firm: Some(at) });
    }
    let by = if need.asked.is_some() { By::Hand } else { By::Itself };
    let full = full(view, by)?;
    Some(Wake { at: full.until, kind, why: Reason::Budget { full }, firm: None })
}

/// The limit that one more order would pass.
fn full(view: &View<'_>, by: By) -> Option<Full> {
    let exempt = exempt(view, replaces(view).as_ref());
    let order = Spent::new(view.certificate, view.issuer, view.now, exempt);
    view.shared.full(view.spec, view.issuer, &order, &Also::new(), by, view.now)
}

/// Whether a person vouches for what everleaf doubts by itself: `renew --force --yes`. What a CA says is not doubted away.
fn insists(view: &View<'_>, need: &Need<'_>) -> bool {
    let asked = need.asked.and_then(|(id, _)| view.ledger().asks.get(id));
    view.shared.clock_offset.is_none() && asked.is_some_and(|asked| matches!(asked.ask, Ask::Renew { yes: true, .. }))
}

fn issue_hold(view: &View<'_>, need: &Need<'_>) -> Option<Timestamp> {
    let ledger = view.ledger();
    ledger.issue.until(view.now)?;
    if let Some(refused) = ledger.refused_by_the_disk() {
        view.hold(refused)?;
    }
    let edited = ledger.attempted.is_some_and(|digest| digest != view.certificate.digest(view.issuer))
        || ledger.attempted_with.is_some_and(|settings| settings != view.issuer.settings());
    let rebuilt = ledger.issue.last.as_ref().is_some_and(|failure| failure.code == "state:rebuilt");
    let late = ledger.newest_accepted().is_none_or(|held| view.now >= schedule::last_call(held.about.validity));
    // A person who asks is put off by what fails afterwards only: without an end, a hook that fails would be run without end.
    let asked = need.asked.and_then(|(id, _)| ledger.asks.get(id));
    let asked = asked.is_some_and(|asked| ledger.issue.hold.is_none_or(|hold| hold.set_at < asked.at));
    if edited || asked || (rebuilt && late) {
        return ledger.issue.demanded_until(view.now);
    }
    ledger.issue.until_within(view.now, if rebuilt { LONGEST_BACKOFF } else { view.patience() })
}

fn issuer_hold(view: &View<'_>) -> Option<Wake> {
    let facts = view.shared.issuers.get(&view.issuer.name)?;
    let trouble = &facts.trouble;
    trouble.until(view.now)?;
    // A person who asks after the trouble began is not put off by our own backoff.
    let asked = view.ledger().asks.values().any(|asked| trouble.hold.is_some_and(|hold| asked.at >= hold.set_at));
    let edited = facts.troubled_with.is_some_and(|settings| settings != view.issuer.settings());
    let until = if asked || edited {
        trouble.demanded_until(view.now)
    } else {
        trouble.until_within(view.now, view.patience())
    };
    let limit = trouble.last.as_ref().is_some_and(|failure| failure.issuer_wide);
    let why = Reason::IssuerTrouble { failure: last_message(trouble), limit };
    Some(Wake { at: until?, kind: WakeKind::Hold, why, firm: trouble.demanded_until(view.now) })
}

/// Key, `pre` hook, order: one after another, each durable before the next.
fn prepare(view: &View<'_>, need: &Need<'_>, draft: &mut Draft) {
    let ledger = view.ledger();
    let Some(key) = usable_key(view, need) else {
        let effect = Effect::MakeKey { algorithm: view.certificate.key };
        return draft.step(Slot::Issue, effect, need.why.clone());
    };
    let hooks = &view.certificate.hooks;
    if hooks.pre.is_some() && !ledger.pre_done {
        return draft.step(Slot::Issue, Effect::RunPre, need.why.clone());
    }
    if hooks.post.is_some() && !ledger.post_due {
        return draft.record(Slot::Issue, Event::PreIntended, need.why.clone());
    }
    draft.step(Slot::Issue, open_order(view, need, key), need.why.clone());
}

/// The key of the coming order: kept when the specification says so, else one made for it.
fn usable_key(view: &View<'_>, need: &Need<'_>) -> Option<KeyId> {
    let ledger = view.ledger();
    let new_key = need.asked.filter(|(_, new_key)| *new_key);
    let made_after = new_key.and_then(|(id, _)| ledger.asks.get(id)).map(|asked| asked.seq);
    if view.certificate.reuse_key && made_after.is_none() {
        let newest = ledger.newest_accepted().filter(|held| ledger.lost_key != Some(held.about.key));
        let same = newest.filter(|held| held.about.family == view.certificate.key.family());
        if let Some(held) = same.filter(|held| held.about.spec_digest == view.certificate.digest(view.issuer)) {
            return Some(held.about.key);
        }
    }
    let fits = |spare: &super::ledger::SpareKey| {
        spare.algorithm == view.certificate.key && made_after.is_none_or(|seq| spare.seq > seq)
    };
    ledger.spare_keys.iter().find(|(_, spare)| fits(spare)).map(|(key, _)| *key)
}

fn open_order(view: &View<'_>, need: &Need<'_>, key: KeyId) -> Effect {
    let (certificate, issuer, attempt) = (view.certificate, view.issuer, view.ledger().attempts.next());
    let replaces = replaces(view);
    let intent = Event::OrderIntended {
        attempt,
        key,
        issuer: issuer.name.clone(),
        directory: issuer.directory.clone(),
        spec_digest: certificate.digest(issuer),
        names: certificate.names.clone(),
        profile: certificate.profile.clone(),
        replaces: replaces.clone(),
        asked: need.asked.map(|(id, _)| id.clone()),
        early_window: need.early_window,
        settings: Some(issuer.settings()),
        why: need.why.to_string().into(),
    };
    let counted = Spent::new(certificate, issuer, view.now, exempt(view, replaces.as_ref()));
    let order = NewOrder { names: certificate.names.clone(), profile: certificate.profile.clone(), replaces };
    let (issuer, intent) = (issuer.name.clone(), Box::new(intent));
    let ends = view.ledger().newest_accepted().map(|held| held.about.validity.end);
    Effect::OpenOrder { issuer, attempt, order, intent, counted, forced: need.asked.is_some(), ends }
}

/// The certificate that the order replaces: a clear predecessor at the same CA that shares a name.
fn replaces(view: &View<'_>) -> Option<String> {
    let newest = view.ledger().newest_accepted()?;
    let shares = newest.about.names.iter().any(|name| view.certificate.names.contains(name));
    let same_ca = newest.about.directory == view.issuer.directory;
    (shares && same_ca).then(|| newest.about.ari.clone()).flatten()
}

/// Whether the CA exempts the order from limits: `replaces`, placed inside [start, end).
fn exempt(view: &View<'_>, replaces: Option<&String>) -> bool {
    let window = view.ledger().newest_accepted().and_then(|newest| window(view, newest));
    replaces.is_some() && window.is_some_and(|window| window.contains(view.now))
}

/// A request to look now is settled by having looked.
fn close_asks(view: &View<'_>, draft: &mut Draft) {
    if let Some((id, asked)) = view.ledger().asked_for(|ask| matches!(ask, Ask::Renew { force: false, .. })) {
        let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
        draft.record(Slot::Want, Event::AskClosed { id: id.clone(), why: "looked".into() }, why);
    }
}

/// `post` is owed from the moment `pre` may have run until it has succeeded; it runs when no order is open or coming.
fn post(view: &View<'_>, draft: &mut Draft) {
    let ledger = view.ledger();
    let busy = ledger.order.is_some() || draft.steps.iter().any(|step| step.slot == Slot::Issue);
    if !ledger.post_due || busy {
        return;
    }
    if view.certificate.hooks.post.is_none() {
        return draft.record(Slot::Post, Event::PostDone, Reason::PostOwed);
    }
    if let Some(until) = view.hold(&ledger.post) {
        return draft.wake(until, WakeKind::Hold, held("the post hook", &ledger.post, view.now));
    }
    draft.step(Slot::Post, Effect::RunPost, Reason::PostOwed);
}

pub(super) fn held(what: &'static str, trouble: &Trouble, now: Timestamp) -> Reason {
    let demanded = trouble.demanded_until(now).is_some();
    Reason::Held { what, failure: last_message(trouble), demanded }
}

fn last_message(trouble: &Trouble) -> Printable {
    trouble.last.as_ref().map(|failure| failure.message.clone()).unwrap_or_default()
}

impl Held {
    /// Whether the gate let it pass.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.accepted_at().is_some()
    }

    /// When the gate let it pass.
    #[must_use]
    pub const fn accepted_at(&self) -> Option<Timestamp> {
        match &self.gate {
            Gate::Accepted { at, .. } => Some(*at),
            Gate::Pending | Gate::Rejected { .. } => None,
        }
    }
}
