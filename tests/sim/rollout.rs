//! Roll-outs that go wrong in one particular way, each to its end.

use crate::configured::configured;
use crate::faults::Rates;
use crate::scenario::{DAY, HOUR, Habit, Run, SECOND};
use crate::world::name;
use everleaf::agent::CertificateReport;
use everleaf::config::spec::{Confirm, Hook, NodeKind, Reload, Spec};
use everleaf::core::{Ask, Outcome, Stage};
use everleaf::ports::Scope;
use everleaf::types::{GenId, NodeName};

const ISSUED: (&str, &str) = ("certificate", "issued");
/// For good, as far as a test is concerned.
const EVER: u64 = 10_000 * DAY;

fn node(text: &str) -> NodeName {
    text.parse().expect("a name")
}

/// A world in which nothing fails by itself, with one certificate of `configured`, which is live.
fn live(certificate: &str, nodes: u8, change: impl FnOnce(&mut Spec)) -> Run {
    let mut spec = configured(3, nodes);
    spec.certificates.retain(|it, _| it.as_str() == certificate);
    change(&mut spec);
    let mut run = Run::new(1, spec, Rates::default(), Habit::Timer(0));
    run.world.state().logging = true;
    run.until(HOUR).expect("the first certificate");
    run
}

fn pass(run: &mut Run, certificate: &str) -> CertificateReport {
    let report = run.pass().unwrap_or_else(|wrong| panic!("{wrong}\n{}", run.log(100)));
    report.certificates[&name(certificate)].clone()
}

fn pass_at(run: &mut Run, certificate: &str, mono: u64) -> CertificateReport {
    run.until(mono).unwrap_or_else(|wrong| panic!("{wrong}\n{}", run.log(100)));
    pass(run, certificate)
}

fn count(run: &Run, what: (&'static str, &'static str)) -> u64 {
    run.counts().get(&what).copied().unwrap_or(0)
}

/// Somebody else's certificate is on a node's disk and served there.
fn foreign(run: &Run, certificate: &str, on: &str) {
    let mut state = run.world.state();
    let mono = state.mono;
    let machine = state.node(&node(on));
    machine.overwrite(&name(certificate), 7);
    machine.load(mono, None);
}

fn deployed(report: &CertificateReport, on: &str) -> Option<GenId> {
    Some(report.facts.ledger.nodes.get(&node(on))?.deployed.as_ref()?.generation)
}

#[test]
fn an_endpoint_behind_several_nodes_that_lags_is_mended() {
    let mut run = live("c2", 2, |_| {});
    foreign(&run, "c2", "edge0");
    foreign(&run, "c2", "edge1");
    let report = pass_at(&mut run, "c2", 8 * HOUR);
    assert_eq!(report.broken, None);
    assert_eq!(report.standing.stage, Stage::Live, "{}", run.log(60));
}

#[test]
fn an_endpoint_behind_several_nodes_that_cannot_be_mended_is_reported_and_left_until_the_next_run() {
    let mut run = live("c2", 2, |_| {});
    for on in ["edge0", "edge1"] {
        foreign(&run, "c2", on);
        run.world.state().node(&node(on)).lies_until = EVER;
    }
    let report = pass_at(&mut run, "c2", 8 * HOUR);
    assert_eq!(report.broken, None);
    assert_eq!(report.standing.outcome, Outcome::DeployIncomplete);
    assert!(!report.standing.troubles.is_empty());
}

#[test]
fn a_node_that_drifts_for_good_is_mended_once_a_run() {
    let mut run = live("c0", 1, |_| {});
    foreign(&run, "c0", "edge0");
    run.world.state().node(&node("edge0")).lies_until = EVER;
    let before = count(&run, ("effect", "Reload"));
    let report = pass_at(&mut run, "c0", 8 * HOUR);
    assert_eq!(report.standing.outcome, Outcome::DeployIncomplete);
    let reloads = count(&run, ("effect", "Reload")) - before;
    assert!((1..=2).contains(&reloads), "{reloads} reloads in one run");
    let trouble = &report.standing.troubles[0];
    assert_eq!(trouble.code, "served_foreign", "{trouble:?}");
    assert!(trouble.place.as_str().contains("edge0"), "{trouble:?}");
}

#[test]
fn after_a_broken_canary_nothing_else_moves_and_people_know() {
    let mut run = live("c1", 3, |_| {});
    // Only what it loads in the first half minute: what it goes back to works.
    run.world.state().node(&node("edge0")).breaks_until = 4 * DAY + 30 * SECOND;
    let report = pass_at(&mut run, "c1", 4 * DAY);
    let want = report.facts.ledger.want.clone().expect("a want");
    let back = want.on(&node("edge0"));
    assert!(back.rollback && back.generation < want.default.generation, "{}", run.log(60));
    for at in 0..3 {
        let report = pass(&mut run, "c1");
        assert_eq!(deployed(&report, "edge1"), Some(back.generation), "pass {at}");
        assert_eq!(deployed(&report, "edge2"), Some(back.generation), "pass {at}");
        assert_ne!(report.standing.stage, Stage::Live);
        assert_eq!(report.standing.outcome, Outcome::DeployIncomplete);
        let said: Vec<String> = report.standing.troubles.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|trouble| trouble.contains("edge0")), "{said:?}");
    }
    assert_eq!(count(&run, ISSUED), 2);
}

#[test]
fn a_dead_node_does_not_turn_canaries_off() {
    let mut run = live("c1", 3, |_| {});
    run.world.state().node(&node("edge2")).down_until = EVER;
    let report = pass_at(&mut run, "c1", 4 * DAY);
    let second = deployed(&report, "edge1");
    assert!(second > deployed(&report, "edge2"), "one dead node does not block the others");
    // What the dead node has is about to end; the canary breaks.
    run.world.state().node(&node("edge0")).breaks_until = EVER;
    let report = pass_at(&mut run, "c1", 8 * DAY);
    assert_eq!(count(&run, ISSUED), 3);
    assert_eq!(deployed(&report, "edge1"), second, "{}", run.log(80));
}

#[test]
fn each_run_goes_on_where_the_last_one_failed() {
    let mut run = live("c0", 2, |_| {});
    run.world.state().node(&node("edge1")).fails_until = EVER;
    for at in 0..5 {
        let report = pass_at(&mut run, "c0", 4 * DAY + at * HOUR);
        assert_eq!(report.standing.outcome, Outcome::DeployIncomplete);
    }
    run.world.state().node(&node("edge1")).fails_until = 0;
    assert_eq!(pass(&mut run, "c0").standing.stage, Stage::Live, "{}", run.log(40));
    assert_eq!(count(&run, ISSUED), 2);
}

#[test]
fn a_node_down_for_days_catches_up_with_the_first_run_after_it_is_back() {
    let mut run = live("c0", 2, |_| {});
    run.world.state().node(&node("edge1")).down_until = EVER;
    for day in 3..12 {
        assert_ne!(pass_at(&mut run, "c0", day * DAY).standing.outcome, Outcome::Fine);
    }
    let issued = count(&run, ISSUED);
    run.world.state().node(&node("edge1")).down_until = 0;
    let report = pass(&mut run, "c0");
    assert_eq!(report.standing.stage, Stage::Live, "{}", run.log(40));
    assert_eq!(count(&run, ISSUED), issued);
}

#[test]
fn an_edited_reload_command_is_tried_though_nobody_answers_and_without_hurry() {
    let mut run = live("c0", 1, |_| {});
    run.world.state().node(&node("edge0")).down_until = EVER;
    pass_at(&mut run, "c0", 8 * HOUR);
    run.edit(|spec| {
        let Some(edge) = spec.nodes.get_mut(&node("edge0")) else { return };
        edge.reload = Reload::Exec(Hook {
            argv: vec!["other".into()],
            shell: false,
            timeout: std::time::Duration::from_secs(9),
            certbot: false,
            unit: None,
        });
    });
    let (looks, reloads) = (count(&run, ("effect", "Look")), count(&run, ("effect", "Reload")));
    pass(&mut run, "c0");
    assert_eq!(count(&run, ("effect", "Reload")) - reloads, 1);
    let looks = count(&run, ("effect", "Look")) - looks;
    assert!(looks < 20, "{looks} looks");
}

#[test]
fn without_proof_asked_for_nodes_do_not_wait_for_proof() {
    let run = live("c1", 3, |spec| {
        for certificate in spec.certificates.values_mut() {
            certificate.confirm = Confirm::None;
            certificate.rollout.parallel = 1;
        }
    });
    let report = run.reported().expect("a run").certificates[&name("c1")].clone();
    assert_eq!(report.standing.stage, Stage::Unproven, "{:?}", report.plan);
    let mut run = run;
    let report = pass_at(&mut run, "c1", 4 * DAY);
    assert_eq!(report.standing.stage, Stage::Unproven, "{:?}", report.plan);
    assert_eq!(count(&run, ISSUED), 2);
}

#[test]
fn an_endpoint_that_never_worked_rolls_nothing_back() {
    let mut run = live("c1", 1, |_| {});
    run.edit(|spec| {
        for certificate in spec.certificates.values_mut() {
            let mut never = certificate.endpoints[0].clone();
            never.sni = "never.example.org".parse().expect("a name");
            certificate.endpoints.push(never);
        }
    });
    pass_at(&mut run, "c1", 8 * HOUR);
    let report = pass_at(&mut run, "c1", 4 * DAY);
    assert_eq!(count(&run, ISSUED), 2);
    let want = report.facts.ledger.want.clone().expect("a want");
    assert!(want.overrides.is_empty(), "{want:?}");
    assert_eq!(deployed(&report, "edge0"), Some(want.default.generation));
}

#[test]
fn a_clock_set_back_does_not_make_patience_endless() {
    let mut run = live("c0", 1, |_| {});
    run.world.state().node(&node("edge0")).lies_until = EVER;
    pass_at(&mut run, "c0", 4 * DAY);
    {
        let mut state = run.world.state();
        state.offset = -i64::try_from(2 * DAY).unwrap_or(0);
        state.watcher.clock_set = Some(state.mono);
    }
    for _ in 0..3 {
        let looks = count(&run, ("effect", "Look"));
        pass(&mut run, "c0");
        let looks = count(&run, ("effect", "Look")) - looks;
        assert!((1..80).contains(&looks), "{looks} looks");
    }
    run.world.state().node(&node("edge0")).lies_until = 0;
    assert_eq!(pass(&mut run, "c0").standing.stage, Stage::Live, "{}", run.log(40));
}

#[test]
fn nobody_goes_back_to_what_has_expired() {
    let mut run = live("c0", 1, |_| {});
    let first = run.reported().and_then(|report| deployed(&report.certificates[&name("c0")], "edge0"));
    pass_at(&mut run, "c0", 4 * DAY);
    run.until(6 * DAY + 12 * HOUR).expect("time");
    run.ask(&name("c0"), &Ask::Rollback { to: None, node: None });
    let report = pass(&mut run, "c0");
    assert!(deployed(&report, "edge0") > first, "{}", run.log(40));
    assert_eq!(report.standing.stage, Stage::Live);
}

#[test]
fn what_lies_on_this_machine_is_looked_at_though_its_server_has_not_read_it() {
    let mut run = live("c0", 1, |spec| {
        for edge in spec.nodes.values_mut() {
            edge.kind = NodeKind::Local;
        }
    });
    run.world.state().node(&node("edge0")).overwrite(&name("c0"), 7);
    let report = pass_at(&mut run, "c0", 2 * HOUR);
    assert_eq!(report.standing.stage, Stage::Live);
    let generation =
        run.world.state().node(&node("edge0")).sites[&name("c0")].disk.clone().and_then(|it| it.generation);
    assert_eq!(generation, deployed(&report, "edge0"), "{}", run.log(40));
}

#[test]
fn another_live_directory_is_published_to_at_once() {
    let mut run = live("c0", 2, |_| {});
    let deploys = count(&run, ("event", "Deployed"));
    run.edit(|spec| {
        if let Some(edge) = spec.nodes.get_mut(&node("edge1")) {
            edge.live = "/elsewhere".into();
        }
    });
    assert_eq!(pass(&mut run, "c0").standing.stage, Stage::Live);
    assert_eq!(count(&run, ("event", "Deployed")) - deploys, 1);
    assert_eq!(pass(&mut run, "c0").standing.stage, Stage::Live);
    assert_eq!(count(&run, ("event", "Deployed")) - deploys, 1);
}

#[test]
fn what_a_reload_finds_damaged_is_published_anew() {
    let mut run = live("c0", 2, |spec| {
        for edge in spec.nodes.values_mut() {
            edge.kind = NodeKind::Local;
        }
    });
    let deploys = count(&run, ("event", "Deployed"));
    run.world.state().node(&node("edge1")).finds_damage = 1;
    let report = pass_at(&mut run, "c0", 4 * DAY);
    assert_eq!(report.standing.stage, Stage::Live, "{}", run.log(40));
    assert_eq!(count(&run, ("event", "Deployed")) - deploys, 3);
    // Damage that comes again and again is mended once a run, not all the time.
    let deploys = count(&run, ("event", "Deployed"));
    run.world.state().node(&node("edge1")).finds_damage = u32::MAX;
    let report = pass_at(&mut run, "c0", 8 * DAY);
    assert_eq!(report.standing.outcome, Outcome::DeployIncomplete);
    assert_eq!(count(&run, ("event", "Deployed")) - deploys, 3);
}

#[test]
fn what_was_seen_before_a_journal_was_rebuilt_proves_nothing_after() {
    let mut run = live("c0", 2, |_| {});
    let confirmed = count(&run, ("event", "NodeConfirmed"));
    let looks = count(&run, ("effect", "Look"));
    let scope = Scope::Certificate(name("c0"));
    run.world.state().harm(&scope, false);
    // The numbers of the new journal begin anew, below those in `seen.json`.
    let report = pass(&mut run, "c0");
    assert_eq!(report.standing.stage, Stage::Live, "{}", run.log(60));
    assert_eq!(count(&run, ("event", "Rebuilt")), 1);
    assert_eq!(count(&run, ("event", "NodeConfirmed")) - confirmed, 2);
    assert!(count(&run, ("effect", "Look")) - looks >= 2, "each node is looked at anew");
}

#[test]
fn nothing_is_pruned_while_a_rebuilt_journal_does_not_know_what_a_node_serves() {
    let mut run = live("c0", 2, |_| {});
    run.world.state().node(&node("edge1")).down_until = EVER;
    pass_at(&mut run, "c0", 4 * DAY);
    run.world.state().harm(&Scope::Certificate(name("c0")), true);
    for day in [5, 7, 10, 13] {
        // The invariant `nothing_pruned_that_a_node_serves` judges each pass: edge1 still serves the first one.
        pass_at(&mut run, "c0", day * DAY);
    }
    assert_eq!(count(&run, ("event", "Pruned")), 0, "{}", run.log(40));
    run.world.state().node(&node("edge1")).down_until = 0;
    assert_eq!(pass(&mut run, "c0").standing.stage, Stage::Live, "{}", run.log(40));
    assert!(count(&run, ("event", "Pruned")) > 0);
}
