//! Random lives: every fault, weighted, for a month; then the world heals, and everything must be live.

use crate::faults::{Fault, Rates};
use crate::scenario::{DAY, HOUR, Habit, Run, choices, configured};
use everleaf::types::NodeName;
use std::collections::BTreeMap;

/// How long a healed world may take: the longest hold of our own is a day, a CA's demand here at most four hours more.
const HEALING: u64 = 3 * DAY;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn habit(seed: u64) -> Habit {
    match choices(seed).below(4) {
        0 | 1 => Habit::Daemon,
        2 => Habit::Timer(HOUR),
        _ => Habit::Timer(6 * HOUR),
    }
}

/// One life of so many days.
fn life(seed: u64, days: u64, logging: bool) -> (Run, Result<(), String>) {
    let mut dice = choices(seed);
    let certificates = u8::try_from(1 + dice.below(3)).unwrap_or(1);
    let nodes = u8::try_from(1 + dice.below(3)).unwrap_or(1);
    let rates = Rates::of_seed(&mut dice);
    let mut run = Run::new(seed, configured(certificates, nodes), rates, habit(seed));
    run.world.state().logging = logging;
    let ended = run.until(days * DAY).and_then(|()| {
        run.heal();
        run.until(days * DAY + HEALING)?;
        run.verdict()
    });
    (run, ended)
}

/// The CA is whole and nobody meddles; one node does whatever it likes.
fn one_bad_node(seed: u64, days: u64, logging: bool) -> (Run, Result<(), String>) {
    let mut dice = choices(seed);
    let rates = Rates::of_seed(&mut dice);
    let kept = [
        Fault::NodeDown,
        Fault::HookLies,
        Fault::HookFails,
        Fault::SlowHook,
        Fault::NodeDiskFull,
        Fault::ForeignFiles,
        Fault::ServerRestart,
        Fault::InspectUnknown,
        Fault::Crash,
        Fault::TornAppend,
        Fault::SightingsLost,
        Fault::NotifierFails,
        Fault::NoTimer,
    ];
    let gone: Vec<Fault> = Fault::ALL.iter().filter(|fault| !kept.contains(fault)).copied().collect();
    let mut run = Run::new(seed, configured(2, 3), rates.without(&gone), habit(seed));
    run.world.state().logging = logging;
    let goat: NodeName = "edge1".parse().expect("name");
    // For good, in half of the lives.
    if dice.below(2) == 0 {
        run.world.state().node(&goat).down_until = u64::MAX;
    }
    run.scapegoat = Some(goat);
    let ended = run.until(days * DAY).and_then(|()| {
        run.heal();
        run.until(days * DAY + HEALING)?;
        run.verdict()
    });
    (run, ended)
}

type Life = fn(u64, u64, bool) -> (Run, Result<(), String>);

fn batch(test: &str, life: Life, seeds: u64, days: u64) -> BTreeMap<String, u64> {
    let one = std::env::var("EVERLEAF_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (1..=seeds).collect(), |seed| vec![seed]);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let (run, ended) = life(seed, days, false);
        for (what, count) in run.counts() {
            *counts.entry(what).or_default() += count;
        }
        if let Err(wrong) = ended {
            failed.push((seed, wrong));
            if failed.len() >= 5 {
                break;
            }
        }
    }
    if let Some((seed, wrong)) = failed.first() {
        let lines = usize::try_from(number("EVERLEAF_SIM_LINES", 150)).unwrap_or(150);
        let (again, _) = life(*seed, days, true);
        let others: Vec<_> = failed.iter().skip(1).map(|(seed, wrong)| format!("seed {seed}: {wrong}")).collect();
        panic!(
            "{}\n\nseed {seed}: {wrong}\n{}\nEVERLEAF_SIM_SEED={seed} EVERLEAF_SIM_DAYS={days} EVERLEAF_SIM_LINES=4000 \
             cargo nextest run --test sim {test} --no-capture",
            again.log(lines),
            others.join("\n")
        );
    }
    counts
}

#[test]
fn random_months_end_live() {
    let counts =
        batch("random_months_end_live", life, number("EVERLEAF_SIM_SEEDS", 8), number("EVERLEAF_SIM_DAYS", 30));
    for (what, count) in &counts {
        println!("{count:>9} {what}");
    }
}

#[test]
fn one_bad_node_never_lets_anything_expire() {
    batch(
        "one_bad_node_never_lets_anything_expire",
        one_bad_node,
        number("EVERLEAF_SIM_SEEDS", 8),
        number("EVERLEAF_SIM_DAYS", 30),
    );
}
