//! The crash sweep: a process that dies at every single point, and is started again.

use crate::configured::configured;
use crate::faults::{Fault, Rates};
use crate::scenario::{DAY, HOUR, Habit, Run};
use everleaf::config::spec::Spec;

/// How many certificates a single death may cost.
const EXTRA: u64 = 1;

/// From nothing to live, and through one renewal.
fn life(seed: u64, spec: &Spec, dies_at: Option<u64>, logging: bool, days: u64) -> (Run, Result<(), String>) {
    let rates = Rates::only(&[(Fault::SightingsLost, 500_000)]);
    let mut run = Run::new(seed, spec.clone(), rates, Habit::Daemon);
    run.world.state().logging = logging;
    if let Some(point) = dies_at {
        run.dies_at(point);
    }
    let ended = run.until(days * DAY + 2 * HOUR).and_then(|()| run.verdict());
    (run, ended)
}

fn sweep(spec: &Spec, days: u64, from: impl Fn(&Run) -> u64) {
    let (undisturbed, ended) = life(1, spec, None, true, days);
    assert_eq!(ended, Ok(()), "{}", undisturbed.log(200));
    let needed = undisturbed.counts().get(&("certificate", "issued")).copied().unwrap_or(0);
    let (first, last) = (from(&undisturbed), undisturbed.world.state().points);
    assert!(last - first > 50, "only {} points", last - first);
    for point in first..=last {
        let (run, ended) = life(1, spec, Some(point), false, days);
        let issued = run.counts().get(&("certificate", "issued")).copied().unwrap_or(0);
        let ended = ended.and_then(|()| {
            if issued > needed + EXTRA { Err(format!("{issued} certificates instead of {needed}")) } else { Ok(()) }
        });
        if let Err(wrong) = ended {
            let (again, _) = life(1, spec, Some(point), true, days);
            panic!("dying at point {point}: {wrong}\n{}", again.log(200));
        }
    }
    println!("{} points, {needed} certificates", last - first + 1);
}

#[test]
fn the_first_certificate_survives_every_death() {
    sweep(&configured(1, 2), 0, |_| 1);
}

#[test]
fn several_certificates_on_several_nodes_survive_every_death() {
    sweep(&configured(3, 3), 0, |_| 1);
}

#[test]
fn a_renewal_survives_every_death() {
    // Certificates live six days and are renewed at half of that.
    let spec = configured(1, 2);
    let (before, ended) = life(1, &spec, None, false, 2);
    assert_eq!(ended, Ok(()));
    let settled = before.world.state().points;
    sweep(&spec, 4, |_| settled);
}
