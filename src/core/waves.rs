//! Whose turn it is: canaries, then so many at a time, with a pause between them where one is wanted, and none that has not
//! begun once too many have failed.
//!
//! What was begun comes to its end. Neither canaries nor pauses keep a node waiting whose own certificate is about to end;
//! and nothing keeps one waiting that a person named, or that goes back.

use super::effect::Slot;
use super::event::Event;
use super::issue;
use super::ledger::{Want, Wave};
use super::plan::{Draft, LONGEST_PAUSE, LONGEST_SLEEP, View, WakeKind};
use super::reason::{Reason, few};
use super::rollout::{Turn, turns};
use crate::config::spec::Rollout;
use crate::types::{Class, Failure, NodeName, Timestamp};
use std::collections::BTreeSet;

/// The nodes whose turn it is. One that is held, or that went its own way, does not take a place.
pub(super) fn whose<'t, 'a>(
    view: &View<'a>,
    want: &'a Want,
    turns: &'t [Turn<'a>],
    draft: &mut Draft,
) -> Vec<&'t Turn<'a>> {
    let course = Course::new(view, want, turns);
    course.keep_time(view, draft);
    let mut places = course.rollout.parallel.max(1);
    let mut chosen = Vec::new();
    let (mut stopped, mut paused) = (Vec::new(), Vec::new());
    for place in &course.places {
        let name = &place.turn.node.name;
        let settled = place.is_settled(view);
        match course.bar(view, place) {
            Some(Bar::Stop) => stopped.push(name.clone()),
            Some(Bar::Pause) => paused.push(name.clone()),
            None if settled || places > 0 => {
                places -= usize::from(!settled);
                chosen.push(place.turn);
            }
            Some(Bar::Canary) | None => {
                let why = Reason::Wave { node: name.clone() };
                draft.wake(view.now + LONGEST_SLEEP, WakeKind::Schedule, why);
            }
        }
    }
    course.tell(view, stopped, paused, draft);
    chosen
}

/// What to tell people while a roll-out is stopped, or waits for canaries that failed.
pub(super) fn stopped(view: &View<'_>) -> Option<Failure> {
    let want = view.ledger().want.as_ref()?;
    let (turns, _) = turns(view, want);
    let course = Course::new(view, want, &turns);
    course.stop(view).or_else(|| course.failed_canaries(view))
}

/// What keeps a node waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bar {
    /// Too many failed.
    Stop,
    /// The canaries are not through.
    Canary,
    /// The wave before it is not through, or its pause is not over.
    Pause,
}

/// How a node has come off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It serves what it should.
    Through,
    /// It failed and has not got over it, or is out of reach, or went back.
    ToGrief,
    /// It is on its way, or waits.
    NotYet,
}

struct Place<'t, 'a> {
    turn: &'t Turn<'a>,
    canary: bool,
    /// It has an aim of its own: a person named it, or it went back.
    apart: bool,
    came: Came,
}

impl Place<'_, '_> {
    fn name(&self) -> NodeName {
        self.turn.node.name.clone()
    }

    fn has_begun(&self) -> bool {
        self.turn.rolled.deployed_at(self.turn.aim)
    }

    /// Whether it takes no place among those that begin together.
    fn is_settled(&self, view: &View<'_>) -> bool {
        self.apart || self.came == Came::Through || self.turn.is_held(view)
    }
}

/// A roll-out to all nodes, as far as it has come.
struct Course<'t, 'a> {
    rollout: &'a Rollout,
    want: &'a Want,
    wave: Option<&'a Wave>,
    places: Vec<Place<'t, 'a>>,
    failed: Vec<NodeName>,
    /// How many of these were tried: who is merely out of reach may have been found so by another certificate.
    tried: usize,
    canaries_through: bool,
    /// Going back to what was served before is not tried out first.
    back: bool,
}

impl<'t, 'a> Course<'t, 'a> {
    fn new(view: &View<'a>, want: &'a Want, turns: &'t [Turn<'a>]) -> Self {
        let rollout = &view.certificate.rollout;
        let canaries: BTreeSet<&NodeName> = rollout.canaries.iter().collect();
        let came = |turn: &Turn<'a>| match turn.confirmed(view) {
            _ if turn.went_back(want) => Came::ToGrief,
            true => Came::Through,
            false if turn.failed(view) || turn.is_out_of_reach(view) => Came::ToGrief,
            false => Came::NotYet,
        };
        let place = |turn: &'t Turn<'a>| {
            let name = &turn.node.name;
            let (canary, apart) = (canaries.contains(name), want.overrides.contains_key(name));
            Place { turn, canary, apart, came: came(turn) }
        };
        let mut places: Vec<Place<'t, 'a>> = turns.iter().map(place).collect();
        let back = want.default.rollback;
        // What was begun keeps its place; going back, what is left comes before what never left.
        places.sort_by_key(|place| (!place.has_begun(), back && place.turn.has_files_of(want.default.generation)));
        let mut waited_for = places.iter().filter(|place| place.canary);
        let aimed = |place: &Place<'_, '_>| place.turn.aim.generation == want.default.generation;
        // One that went back says that the others had better wait.
        let canaries_through = waited_for.all(|place| place.came == Came::Through && aimed(place));
        let failed = places.iter().filter(|place| place.came == Came::ToGrief).map(Place::name).collect();
        let tried = |place: &&Place<'t, 'a>| place.turn.failed(view) || place.turn.went_back(want);
        let tried = places.iter().filter(tried).count();
        Self {
            rollout,
            want,
            tried,
            wave: view.ledger().wave.as_ref().filter(|wave| wave.epoch == want.default.epoch),
            failed,
            canaries_through,
            places,
            back,
        }
    }

    fn has_stopped(&self) -> bool {
        self.rollout.max_failures.is_some_and(|most| self.failed.len() > most)
    }

    /// The nodes that something keeps waiting.
    fn kept(&self, view: &View<'a>, by: Bar) -> Vec<NodeName> {
        self.places.iter().filter(|place| self.bar(view, place) == Some(by)).map(Place::name).collect()
    }

    fn stop(&self, view: &View<'a>) -> Option<Failure> {
        let most = self.rollout.max_failures?;
        let waits = self.kept(view, Bar::Stop);
        let many = self.failed.len();
        let why = format!("{many} of its nodes failed, and max_failures is {most}");
        (!waits.is_empty()).then(|| self.halt(view, "rollout:stopped", &self.failed, &why, &waits))
    }

    /// A canary that went back says so itself.
    fn failed_canaries(&self, view: &View<'a>) -> Option<Failure> {
        let failed = |place: &&Place<'t, 'a>| place.canary && place.came == Came::ToGrief && !place.apart;
        let failed: Vec<NodeName> = self.places.iter().filter(failed).map(Place::name).collect();
        let waits = self.kept(view, Bar::Canary);
        let why = format!("{} failed, and canaries go first", few(&failed));
        (!failed.is_empty() && !waits.is_empty()).then(|| self.halt(view, "rollout:canary", &failed, &why, &waits))
    }

    fn halt(&self, view: &View<'a>, code: &str, failed: &[NodeName], why: &str, waits: &[NodeName]) -> Failure {
        let (name, failed) = (&view.certificate.name, few(failed));
        let message =
            format!("{why}, so {} of {} nodes have not begun: {}", waits.len(), self.places.len(), few(waits));
        let advice = format!(
            "mend {failed} (`everleaf why {name}` says what is wrong there) and it goes on by itself; `everleaf deploy {name}` tries all \
             again, `everleaf deploy {name} --to NODE` that one whatever failed, and `everleaf rollback {name}` takes it back"
        );
        Failure::new(Class::Operator, code, format!("roll-out to {failed}"), message).advise(advice)
    }

    fn pauses(&self) -> bool {
        !self.rollout.pause.is_zero()
    }

    /// What keeps a node waiting, beside that all places are taken.
    fn bar(&self, view: &View<'a>, place: &Place<'t, 'a>) -> Option<Bar> {
        let bar = self.bar_but_pause(view, place);
        let in_wave = || self.wave.is_some_and(|wave| wave.nodes.contains(&place.turn.node.name));
        let waits = self.pauses() && self.may_wait(view, place) && !in_wave();
        bar.or_else(|| waits.then_some(Bar::Pause))
    }

    fn bar_but_pause(&self, view: &View<'a>, place: &Place<'t, 'a>) -> Option<Bar> {
        if place.has_begun() || place.apart || self.back {
            return None;
        }
        if self.has_stopped() && !self.is_tried_again(view, place) && !place.turn.is_about_to_end(view) {
            return Some(Bar::Stop);
        }
        let waits = !place.canary && !self.canaries_through && !place.turn.in_a_hurry(view);
        waits.then_some(Bar::Canary)
    }

    /// Whether a roll-out that has stopped waits for this one. One that is out of reach and was not tried is begun only where it is such nodes
    /// alone that stopped it.
    fn is_tried_again(&self, view: &View<'a>, place: &Place<'t, 'a>) -> bool {
        let enough = self.rollout.max_failures.is_some_and(|most| self.tried > most);
        place.turn.failed(view) || (place.came == Came::ToGrief && !enough)
    }

    /// Whether it has not begun, was not tried, and can wait.
    fn may_wait(&self, view: &View<'a>, place: &Place<'t, 'a>) -> bool {
        let turn = place.turn;
        !(place.has_begun() || place.apart || self.back || turn.failed(view) || turn.in_a_hurry(view))
    }

    // ------------------------------------------------------------------------------------------------------------ pauses

    /// Writes down which nodes begin together, and when they are through: from then on the pause counts.
    fn keep_time(&self, view: &View<'a>, draft: &mut Draft) {
        let next = if self.pauses() { self.next(view) } else { Vec::new() };
        if next.is_empty() {
            return;
        }
        let epoch = self.want.default.epoch;
        let ended = Event::WaveEnded { epoch };
        match self.wave.map(|wave| (wave, wave.ended)) {
            Some((wave, None)) if !self.is_through(view, wave) => {}
            Some((_, None)) => draft.record(Slot::Want, ended, Reason::WaveOver),
            // A clock that was set back: what is left of the pause is not known, and it is never longer than the whole.
            Some((_, Some(at))) if view.now < at => draft.record(Slot::Want, ended, Reason::WaveOver),
            Some(_) if self.pause_ends(view).is_some() => {}
            Some(_) | None => {
                let why =
                    next.first().map_or(Reason::WaveOver, |node| Reason::NotDeployed { node: node.clone(), epoch });
                draft.record(Slot::Want, Event::WaveBegun { epoch, nodes: next }, why);
            }
        }
    }

    /// The nodes that begin together next: all canaries, then as many as may at a time.
    fn next(&self, view: &View<'a>) -> Vec<NodeName> {
        let canaries = !self.canaries_through;
        let many = if canaries { usize::MAX } else { self.rollout.parallel.max(1) };
        let waits = |place: &&Place<'t, 'a>| self.bar(view, place) == Some(Bar::Pause) && (place.canary || !canaries);
        self.places.iter().filter(waits).take(many).map(Place::name).collect()
    }

    fn is_through(&self, view: &View<'a>, wave: &Wave) -> bool {
        self.places
            .iter()
            .filter(|place| wave.nodes.contains(&place.turn.node.name))
            .all(|place| place.came == Came::ToGrief || place.is_settled(view))
    }

    /// When the pause after the last wave is over, while it lasts.
    fn pause_ends(&self, view: &View<'a>) -> Option<Timestamp> {
        let ends = self.wave?.ended? + self.rollout.pause.min(view.patience());
        Some(ends).filter(|ends| view.now < *ends)
    }

    fn tell(&self, view: &View<'a>, stopped: Vec<NodeName>, paused: Vec<NodeName>, draft: &mut Draft) {
        let routine = view.now + LONGEST_SLEEP;
        if let Some(most) = self.rollout.max_failures.filter(|_| !stopped.is_empty()) {
            let why = Reason::Stopped { nodes: stopped, failed: self.failed.clone(), most };
            draft.wake(routine, WakeKind::Schedule, why);
        }
        let Some(ends) = self.pause_ends(view).filter(|_| !paused.is_empty()) else {
            return paused.into_iter().for_each(|node| draft.wake(routine, WakeKind::Schedule, Reason::Wave { node }));
        };
        if ends.since(view.now) > LONGEST_PAUSE {
            issue::arm_beside(view, ends, draft);
        }
        draft.wake(ends, WakeKind::Pause, Reason::Paused { nodes: paused });
    }
}
