//! Fleets: hundreds of nodes under the same rules and faults as a few, and what deciding costs there, in what is looked at.

use crate::configured::fleet;
use crate::dice::Dice;
use crate::faults::{Fault, Rates};
use crate::process::Kind;
use crate::scenario::{HOUR, Habit, MINUTE, Run, SECOND};
use everleaf::config::spec::{Confirm, Spec};
use everleaf::core::{Ask, Stage};
use everleaf::ports::{Memory, Request};
use everleaf::types::{CertName, RequestId};
use std::time::Duration;

/// The whole of it, or what takes seconds.
fn full() -> bool {
    std::env::var_os("EVERLEAF_FULL").is_some_and(|it| !it.is_empty())
}

/// A fleet that is being rolled out for the first time.
fn born(spec: Spec, seed: u64, rates: Rates) -> Run {
    let run = Run::new(seed, spec, rates, Habit::Timer(0));
    run.world.state().watcher.plans_one_in = 101;
    run
}

/// People ask for new certificates, all at once.
fn force<'a>(run: &Run, names: impl IntoIterator<Item = &'a CertName>) {
    let ask = serde_json::to_value(Ask::Renew { force: true, new_key: false, yes: false }).expect("plain fields");
    for name in names {
        let id = RequestId::from_random(run.world.state().dice.octets());
        let request = Request { id, by: "operator".into(), ask: ask.clone() };
        run.peer(Kind::OneShot, 0).drop_request(name, &request).expect("there is room");
    }
}

fn names(run: &Run) -> Vec<CertName> {
    run.world.state().spec.certificates.keys().cloned().collect()
}

fn lasts(run: &mut Run, span: u64) {
    let mono = run.world.state().mono;
    run.until(mono + span).unwrap_or_else(|wrong| panic!("{wrong}\n{}", run.log(100)));
}

// ---------------------------------------------------------------------------------------------------------------- effort

/// What a run costs: certificates planned, and steps looked at to choose what begins.
#[derive(Debug, Clone, Copy)]
struct Cost {
    planned: u64,
    examined: u64,
}

impl Cost {
    fn so_far(run: &Run) -> Self {
        let counts = run.counts();
        let count = |what| counts.get(&("effort", what)).copied().unwrap_or(0);
        Self { planned: count("planned"), examined: count("examined") }
    }

    /// At most `percent` of another cost.
    fn is_within(self, percent: u64, of: Self, what: &str) {
        let within = |mine: u64, theirs: u64| mine * 100 <= theirs * percent;
        println!("{what}: {self:?} beside {of:?}");
        let good = within(self.planned, of.planned) && within(self.examined, of.examined);
        assert!(good, "{what}: {self:?} is more than {percent} % of {of:?}");
    }
}

/// What the first `pending` certificates of a fleet cost that is live, when new ones are asked for.
fn renewing(spec: Spec, pending: usize) -> Cost {
    let mut run = born(spec, 1, Rates::default());
    lasts(&mut run, HOUR);
    let all = names(&run);
    let before = Cost::so_far(&run);
    force(&run, &all[..pending]);
    run.start(Kind::OneShot);
    lasts(&mut run, HOUR);
    let issued = run.counts().get(&("certificate", "issued")).copied();
    assert_eq!(issued, Some((all.len() + pending) as u64), "all that were asked for, and no other");
    let after = Cost::so_far(&run);
    Cost { planned: after.planned - before.planned, examined: after.examined - before.examined }
}

/// Twice as much, and a tenth for chance.
const TWICE: u64 = 220;
/// As much, and a tenth for chance.
const ALIKE: u64 = 110;

#[test]
fn deciding_costs_what_is_pending_and_not_what_is_there() {
    let (small, large) = if full() { (500, 1_000) } else { (60, 120) };
    let few = renewing(fleet(0, small, small / 2), 10);
    renewing(fleet(0, large, large / 2), 10).is_within(ALIKE, few, "ten in a fleet of twice the size");
    renewing(fleet(0, small, small / 2), 20).is_within(TWICE, few, "twice as many");
}

#[test]
fn deciding_for_all_at_once_costs_each_what_it_costs_alone() {
    let small = if full() { 500 } else { 50 };
    let all = renewing(fleet(0, small, small / 2), small.into());
    renewing(fleet(0, small * 2, small), usize::from(small) * 2).is_within(TWICE, all, "twice as many, all pending");
}

#[test]
fn a_certificate_on_many_nodes_is_planned_as_often_as_something_happens() {
    let small = if full() { 250 } else { 40 };
    let one = renewing(fleet(1, 0, small), 1);
    renewing(fleet(1, 0, small * 2), 1).is_within(TWICE, one, "twice the nodes");
}

#[test]
fn certificates_that_share_all_nodes_do_not_wait_at_each_others_expense() {
    let (small, nodes) = if full() { (100, 50) } else { (10, 12) };
    let all = renewing(fleet(small, 0, nodes), small.into());
    renewing(fleet(small * 2, 0, nodes), usize::from(small) * 2).is_within(
        TWICE,
        all,
        "twice as many on the same nodes",
    );
}

#[test]
fn any_number_of_nodes_may_come_through_at_one_instant() {
    let mut spec = fleet(1, 0, 80);
    for certificate in spec.certificates.values_mut() {
        certificate.rollout.parallel = certificate.nodes.len();
        if let Confirm::Handshakes(confirm) = &mut certificate.confirm {
            confirm.over = Duration::from_secs(60);
        }
    }
    let mut run = born(spec, 1, Rates::default());
    let looks = |run: &Run| run.counts().get(&("effect", "Look")).copied().unwrap_or(0);
    while looks(&run) < 60 {
        lasts(&mut run, SECOND);
        assert!(run.world.state().mono < HOUR, "only {} looks", looks(&run));
    }
    // Whatever slept when the process was stopped goes on in step, and ends in step.
    let mono = run.world.state().mono;
    run.stop(0, mono + 10 * MINUTE);
    lasts(&mut run, 30 * MINUTE);
    let account = run.reported().expect("a report").certificates.values().next().expect("one").clone();
    assert_eq!(account.broken, None);
    assert_eq!(account.standing.stage, Stage::Live);
}

// ---------------------------------------------------------------------------------------------------------------- faults

/// What goes wrong in a fleet by itself.
fn weather() -> Rates {
    Rates::only(&[
        (Fault::NodeDown, 20_000),
        (Fault::HookLies, 10_000),
        (Fault::HookFails, 10_000),
        (Fault::SlowHook, 10_000),
        (Fault::NodeDiskFull, 5_000),
        (Fault::BreaksOnNew, 10_000),
        (Fault::ForeignFiles, 2_000),
        (Fault::OldWorkers, 100_000),
        (Fault::CaError, 5_000),
        (Fault::Crash, 20),
        (Fault::TornAppend, 20),
        (Fault::SightingsLost, 300_000),
    ])
}

/// Waves and limits as people configure them for many nodes.
fn in_waves(mut spec: Spec, dice: &mut Dice) -> Spec {
    for certificate in spec.certificates.values_mut() {
        let (rollout, nodes) = (&mut certificate.rollout, certificate.nodes.len());
        rollout.max_failures = (dice.below(2) == 0).then_some(nodes / 10);
        rollout.pause = Duration::from_secs([0, 0, 20][usize::try_from(dice.below(3)).unwrap_or(0)]);
        rollout.parallel = (nodes / 4).max(1);
    }
    spec
}

/// A fleet lives through hours of faults in which everything is renewed by force, then is whole again.
fn survives(seed: u64, wide: u16, narrow: u16, nodes: u16) {
    let mut dice = Dice::new(seed);
    let mut run = born(in_waves(fleet(wide, narrow, nodes), &mut dice), seed, weather());
    run.habit = Habit::Timer(2 * HOUR);
    lasts(&mut run, 3 * HOUR);
    let all = names(&run);
    force(&run, &all);
    run.start(Kind::OneShot);
    lasts(&mut run, 3 * HOUR);
    run.heal();
    lasts(&mut run, 9 * HOUR);
    let report = run.pass().unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    let wrong = run.world.state().is_healed(&report);
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    let live = report.certificates.values().filter(|it| it.standing.stage == Stage::Live).count();
    let counts = run.counts();
    let struck = |fault: Fault| counts.get(&("fault", fault.name())).copied().unwrap_or(0);
    assert!(
        live * 10 >= all.len() * 8,
        "a node that goes back keeps a certificate from being live, but not most of them"
    );
    assert!(struck(Fault::NodeDown) > 0 && struck(Fault::HookLies) > 0, "the weather was fair: {counts:?}");
}

#[test]
fn a_fleet_of_hundreds_of_nodes_survives_its_faults() {
    if full() {
        survives(1, 8, 992, 500);
    } else {
        survives(1, 1, 40, 200);
    }
}
