//! Killed at every system call that changes something: what is shown is the old pair or the new one, and the next run finishes.

use crate::site::{Site, generation, pair, scope, showing};
use crate::trace::{Call, calls, interfere};
use everleaf::ports::Journal;
use everleaf::types::{Seq, Timestamp};
use std::collections::BTreeMap;
use std::fs;

/// Kills `task` at each of its calls, on a fresh site each time, and hands the site to `judge`.
fn kill_everywhere(task: &str, prepare: impl Fn(&Site), least: usize, judge: impl Fn(&Site, &Call)) {
    let prepared = || {
        let site = Site::new();
        prepare(&site);
        site
    };
    let calls = calls(&prepared(), task);
    assert!(calls.len() >= least, "only {} calls were seen:\n{calls:#?}", calls.len());
    for call in &calls {
        let site = prepared();
        assert!(!interfere(&site, task, call, "signal=KILL"), "killed at {}", call.line);
        judge(&site, call);
    }
}

/// Kills a publish of generation `new`; before it, the live directory shows `old`. `also` judges the site once it is healed.
fn kill_publish(
    new: u32,
    epoch: u64,
    prepare: impl Fn(&Site),
    least: usize,
    old: &BTreeMap<&str, String>,
    also: impl Fn(&Site, &Call),
) {
    let task = format!("publish {new} {epoch}");
    kill_everywhere(&task, prepare, least, |site, call| {
        let shown = site.shown();
        assert!(shown == *old || shown == showing(new), "a mix after a kill at {}: {shown:?}", call.line);
        site.publish(new, epoch).expect("the next run succeeds");
        assert_eq!(site.shown(), showing(new), "unhealed after a kill at {}", call.line);
        assert_eq!(site.temporaries(), [""; 0], "left after a kill at {}", call.line);
        also(site, call);
    });
}

#[test]
fn the_first_publish() {
    kill_publish(7, 1, |_| {}, 40, &BTreeMap::new(), |_, _| {});
}

#[test]
fn a_renewal() {
    let prepare = |site: &Site| {
        for number in 6..8 {
            site.publish(number, number.into()).expect("prepared");
        }
    };
    kill_publish(8, 8, prepare, 30, &showing(7), |_, _| {});
}

#[test]
fn a_rollback() {
    let prepare = |site: &Site| {
        for number in 6..8 {
            site.publish(number, number.into()).expect("prepared");
        }
    };
    kill_publish(6, 8, prepare, 6, &showing(7), |_, _| {});
}

#[test]
fn the_first_publish_over_files_of_somebody_else() {
    let old: BTreeMap<_, _> = [("cert.pem", "CERT old\n".to_owned()), ("privkey.pem", "KEY old\n".to_owned())].into();
    let prepare = |site: &Site| {
        fs::create_dir_all(site.live()).expect("prepared");
        for (name, contents) in &old {
            fs::write(site.live().join(name), contents).expect("prepared");
        }
    };
    kill_publish(7, 1, prepare, 60, &old, |site, call| {
        for (name, contents) in &old {
            let aside = site.live().join(format!("..foreign-{name}"));
            assert_eq!(fs::read_to_string(aside).ok().as_ref(), Some(contents), "lost by a kill at {}", call.line);
        }
    });
}

#[test]
fn a_generation_edited_by_hand() {
    let edited = || {
        let mut shown = showing(7);
        shown.insert("chain.pem", "CHAIN edited\n".to_owned());
        shown
    };
    let prepare = |site: &Site| {
        site.publish(7, 7).expect("prepared");
        let chain = site.live().join(format!("..gen-{}/chain.pem", generation(7)));
        fs::write(chain, "CHAIN edited\n").expect("prepared");
    };
    kill_publish(7, 7, prepare, 30, &edited(), |_, _| {});
}

#[test]
fn an_append_is_there_whole_or_not_at_all() {
    let at = Timestamp::from_secs(1_800_000_000);
    let first = |site: &Site| {
        site.state().append(&scope(), Seq(0), at, &pair(1)).expect("prepared");
    };
    for (task, prepare, before) in [("append 0", &(|_: &Site| {}) as &dyn Fn(&Site), 0), ("append 2", &first, 2)] {
        kill_everywhere(task, prepare, 3, |site, call| {
            let loaded = site.load();
            let count = loaded.records.len();
            assert!(count == before || count == before + 2, "{count} records after a kill at {}", call.line);
            assert_eq!(loaded.set_aside, None, "after a kill at {}", call.line);
            let next = site.state().append(&scope(), Seq(count as u64), at, &pair(count as u64 + 1));
            assert_eq!(next, Ok(Seq(count as u64 + 2)), "after a kill at {}", call.line);
        });
    }
}

#[test]
fn a_compaction_leaves_the_old_journal_or_the_new_one() {
    let at = Timestamp::from_secs(1_800_000_000);
    let prepare = |site: &Site| {
        site.state().append(&scope(), Seq(0), at, &pair(1)).expect("prepared");
    };
    kill_everywhere("compact 2", prepare, 5, |site, call| {
        let loaded = site.load();
        assert!([1, 2].contains(&loaded.records.len()), "after a kill at {}", call.line);
        assert_eq!(loaded.records.last().map(|record| record.seq), Some(Seq(2)), "after a kill at {}", call.line);
        assert_eq!(loaded.set_aside, None, "after a kill at {}", call.line);
    });
}
