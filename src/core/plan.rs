//! `plan`: what is wanted against what is known, for one certificate.

use super::effect::{Effect, Slot};
use super::event::Event;
use super::hold::{LONGEST_BACKOFF, Trouble};
use super::ledger::{Facts, Held, Ledger};
use super::reason::Reason;
use super::shared::Shared;
use super::{issue, rollout, upkeep};
use crate::config::spec::{Certificate, Issuer, Spec};
use crate::types::{CertName, Timestamp};
use std::time::Duration;

/// How far a pass looks ahead, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Until the next pass is expected. Zero for a daemon and for `renew`: they are there when the time comes.
    pub span: Duration,
    /// Whether the CA may be spoken to. `deploy` and `rollback` may not.
    pub issue: bool,
    /// When a one-shot run began: it goes on at the first stage without proof, so our own backoff of earlier runs is no
    /// reason to leave a roll-out as it is. Nothing for a daemon. Orders keep their backoff.
    pub began: Option<Timestamp>,
}

impl Horizon {
    /// Since when trouble is outlived by the run that looks at it, or by a clock that was wrong when it was set.
    pub(super) fn outlives(self, trouble: &Trouble, now: Timestamp) -> Option<Timestamp> {
        // A hold of the future begins anew whenever it is looked at: it would outlast any run and any daemon.
        if trouble.hold.is_some_and(|hold| hold.set_at > now) {
            return Some(self.began.unwrap_or(now));
        }
        let hold = trouble.hold.filter(|hold| !hold.demanded)?;
        self.began.filter(|began| hold.set_at < *began)
    }
}

/// One thing to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it works on.
    pub slot: Slot,
    /// What to do.
    pub effect: Effect,
    /// Why.
    pub why: Reason,
}

/// What kind of wait comes to its end at a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeKind {
    /// Part of one piece of work: a one-shot run waits for it.
    Pause,
    /// After a failure or a limit: stored, and the process may end.
    Hold,
    /// By schedule.
    Schedule,
}

/// When to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// What kind of wait.
    pub kind: WakeKind,
    /// Why.
    pub why: Reason,
    /// Until when not even a person who asks changes that: the other side asked for the wait, or a limit would be passed.
    pub firm: Option<Timestamp>,
}

/// What one certificate needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to do now.
    pub steps: Vec<Step>,
    /// All waits, the nearest first; never empty, each after `now`.
    pub wakes: Vec<Wake>,
}

impl Plan {
    /// When to look again if nothing happens before.
    #[must_use]
    pub fn wake(&self) -> Option<&Wake> {
        self.wakes.first()
    }

    /// The nearest wait that a one-shot run sits out.
    #[must_use]
    pub fn pause(&self) -> Option<&Wake> {
        self.wakes.iter().find(|wake| wake.kind == WakeKind::Pause)
    }

    /// Whether there is a wait so short that it is sat out.
    #[must_use]
    pub fn pauses(&self, now: Timestamp) -> bool {
        self.pause().is_some_and(|wake| wake.at.since(now) <= LONGEST_PAUSE)
    }
}

/// A one-shot run sits out waits that belong to its work up to this long; longer ones are stored, and it ends.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// No plan looks further ahead: a daemon never sleeps longer.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// What the certificate `name` needs, given what is known of it. Pure and total.
#[must_use]
pub fn plan(spec: &Spec, name: &CertName, facts: &Facts, shared: &Shared, now: Timestamp, horizon: Horizon) -> Plan {
    let mut draft = Draft::new(now);
    let configured = spec.certificates.get(name);
    match configured.and_then(|certificate| Some((certificate, spec.issuers.get(&certificate.issuer)?))) {
        None => {
            issue::clean_up(&facts.ledger, horizon, &mut draft);
            upkeep::retire(&facts.ledger, &mut draft);
        }
        Some((certificate, issuer)) => {
            let view = View { spec, certificate, issuer, facts, shared, now, horizon };
            upkeep::revive(&view, &mut draft);
            issue::issue(&view, &mut draft);
            rollout::rollout(&view, &mut draft);
            upkeep::upkeep(&view, &mut draft);
        }
    }
    draft.finish()
}

/// Everything a decision may look at.
pub(super) struct View<'a> {
    pub(super) spec: &'a Spec,
    pub(super) certificate: &'a Certificate,
    pub(super) issuer: &'a Issuer,
    pub(super) facts: &'a Facts,
    pub(super) shared: &'a Shared,
    pub(super) now: Timestamp,
    pub(super) horizon: Horizon,
}

impl<'a> View<'a> {
    pub(super) fn ledger(&self) -> &'a Ledger {
        &self.facts.ledger
    }

    /// The generation that should be served by default.
    pub(super) fn wanted(&self) -> Option<&'a Held> {
        let ledger = self.ledger();
        let generation = ledger.want.as_ref()?.default.generation;
        ledger.generations.get(&generation)
    }

    /// Until when trouble with something that costs no order is waited out.
    pub(super) fn hold(&self, trouble: &Trouble) -> Option<Timestamp> {
        trouble.until_within(self.now, self.patience()).filter(|_| self.outlived(trouble).is_none())
    }

    /// Our own waits are never so long that a short life could end in one: the room after its last call holds at least one try.
    pub(super) fn patience(&self) -> Duration {
        self.ledger().newest_accepted().map_or(LONGEST_BACKOFF, |held| held.about.validity.width() / 6)
    }

    /// As [`Horizon::outlives`].
    pub(super) fn outlived(&self, trouble: &Trouble) -> Option<Timestamp> {
        self.horizon.outlives(trouble, self.now)
    }

    pub(super) fn clock_suspect(&self) -> Option<Reason> {
        let why = self.shared.clock_suspect(self.ledger().newest, self.now)?;
        Some(Reason::ClockSuspect { why })
    }
}

/// A plan in the making.
pub(super) struct Draft {
    pub(super) now: Timestamp,
    pub(super) steps: Vec<Step>,
    wakes: Vec<Wake>,
}

impl Draft {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { now, steps: Vec::new(), wakes: Vec::new() }
    }

    pub(super) fn step(&mut self, slot: Slot, effect: Effect, why: Reason) {
        self.steps.push(Step { slot, effect, why });
    }

    pub(super) fn record(&mut self, slot: Slot, event: Event, why: Reason) {
        self.step(slot, Effect::Record(event), why);
    }

    /// Wakes up at `at`; a time that has come already is a moment from now, so that every plan moves on.
    pub(super) fn wake(&mut self, at: Timestamp, kind: WakeKind, why: Reason) {
        self.wait(Wake { at, kind, why, firm: None });
    }

    /// The same with all that is known of the wait.
    pub(super) fn wait(&mut self, wake: Wake) {
        const MOMENT: Duration = Duration::from_millis(1);
        self.wakes.push(Wake { at: wake.at.max(self.now + MOMENT), ..wake });
    }

    fn finish(mut self) -> Plan {
        self.wake(self.now + LONGEST_SLEEP, WakeKind::Schedule, Reason::Routine);
        self.wakes.sort_by_key(|wake| (wake.at, wake.kind));
        Plan { steps: self.steps, wakes: self.wakes }
    }
}
