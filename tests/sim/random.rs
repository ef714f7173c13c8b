//! Random lives: every fault, weighted, for a month or a year; then the world heals, and everything must be live.

use crate::configured::{Shape, configured};
use crate::coverage::{self, Counts};
use crate::faults::{Fault, Rates};
use crate::scenario::{DAY, HOUR, Habit, Run, choices};
use everleaf::types::NodeName;

/// How long a healed world may take: the longest hold of our own is a day, a CA's demand here at most four hours more.
const HEALING: u64 = 3 * DAY;
/// Lives a shard: four shards of months are two thousand, and each is a whole batch by itself; two of years are twenty.
const MONTHS: u64 = 500;
const YEARS: u64 = 10;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn habit(seed: u64) -> Habit {
    match choices(seed).below(8) {
        0..=3 => Habit::Daemon,
        4 => Habit::Timer(HOUR),
        _ => Habit::Timer(6 * HOUR),
    }
}

fn healed(mut run: Run, days: u64) -> (Run, Result<(), String>) {
    let ended = run.until(days * DAY).and_then(|()| {
        run.heal();
        run.until(days * DAY + HEALING)?;
        match run.verdict() {
            // Files that somebody overwrote are served from the next reload on, and found by the look after that.
            Err(wrong) if wrong.contains("live_is_what_is_served") => {
                run.until(days * DAY + 2 * HEALING)?;
                run.verdict()
            }
            // A renewal of this very hour pauses between its waves.
            Err(wrong) if wrong.contains("healed_means_live") && wrong.contains("Paused") => {
                run.until(days * DAY + HEALING + DAY)?;
                run.verdict()
            }
            verdict => verdict,
        }
    });
    (run, ended)
}

fn born(seed: u64, shape: &Shape, rates: Rates, logging: bool) -> Run {
    let compact_after = shape.compact_after;
    let mut run = Run::new(seed, shape.spec.clone(), rates, habit(seed));
    run.compact_after = compact_after;
    shape.prepare(&mut run.world.state());
    run.world.state().logging = logging;
    run
}

/// A month in which certificates live for days and anything can happen.
fn month(seed: u64, days: u64, logging: bool) -> (Run, Result<(), String>) {
    let mut dice = choices(seed);
    let rates = Rates::of_seed(&mut dice);
    healed(born(seed, &Shape::of_month(&mut dice), rates, logging), days)
}

/// A year in which certificates live for months, and what goes wrong goes wrong as often.
fn year(seed: u64, days: u64, logging: bool) -> (Run, Result<(), String>) {
    let mut dice = choices(seed);
    let rates = Rates::of_seed(&mut dice);
    healed(born(seed, &Shape::of_year(&mut dice), rates, logging), days)
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
        Fault::DamagedOnReload,
        Fault::InspectUnknown,
        Fault::Crash,
        Fault::TornAppend,
        Fault::SightingsLost,
        Fault::NotifierFails,
        Fault::NoTimer,
    ];
    let gone: Vec<Fault> = Fault::ALL.iter().filter(|fault| !kept.contains(fault)).copied().collect();
    let mut run = Run::new(seed, configured(2, 3), rates.without(&gone), habit(seed));
    run.compact_after = 40;
    run.world.state().logging = logging;
    let goat: NodeName = "edge1".parse().expect("name");
    // For good, in half of the lives.
    if dice.below(2) == 0 {
        run.world.state().node(&goat).down_until = u64::MAX;
    }
    run.scapegoat = Some(goat);
    healed(run, days)
}

type Life = fn(u64, u64, bool) -> (Run, Result<(), String>);

/// Lives through `seeds` from `first` on, or through the one seed asked for.
fn batch(test: &str, life: Life, first: u64, seeds: u64, days: u64) -> Counts {
    let one = std::env::var("EVERLEAF_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (first..first + seeds).collect(), |seed| vec![seed]);
    let mut counts = Counts::new();
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

/// One shard of the months: nextest runs each in a process of its own, and each must exercise everything by itself.
fn months(test: &str, shard: u64) {
    let seeds = number("EVERLEAF_SIM_SEEDS", MONTHS);
    let counts = batch(test, month, 1 + shard * seeds, seeds, number("EVERLEAF_SIM_DAYS", 30));
    let lives = if std::env::var_os("EVERLEAF_SIM_SEED").is_some() { 1 } else { seeds };
    if let Err(few) = coverage::report(&counts, lives) {
        panic!("{few}");
    }
}

fn years(test: &str, shard: u64) {
    let seeds = number("EVERLEAF_SIM_YEARS", YEARS);
    let counts = batch(test, year, 1 + shard * seeds, seeds, number("EVERLEAF_SIM_DAYS", 365));
    assert!(coverage::report(&counts, 1).is_ok(), "years are too few to exercise everything");
}

#[test]
fn random_months_end_live_1() {
    months("random_months_end_live_1", 0);
}

#[test]
fn random_months_end_live_2() {
    months("random_months_end_live_2", 1);
}

#[test]
fn random_months_end_live_3() {
    months("random_months_end_live_3", 2);
}

#[test]
fn random_months_end_live_4() {
    months("random_months_end_live_4", 3);
}

#[test]
fn random_years_end_live_1() {
    years("random_years_end_live_1", 0);
}

#[test]
fn random_years_end_live_2() {
    years("random_years_end_live_2", 1);
}

#[test]
fn one_bad_node_never_lets_anything_expire() {
    let seeds = number("EVERLEAF_SIM_SEEDS", MONTHS) / 10;
    batch("one_bad_node_never_lets_anything_expire", one_bad_node, 1, seeds.max(1), number("EVERLEAF_SIM_DAYS", 30));
}
