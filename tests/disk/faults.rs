//! Refused by the disk at every call: the old version stays byte for byte, the error is reported, and the next run succeeds.

use crate::site::{Site, pair, scope, showing};
use crate::trace::{Call, calls, interfere};
use everleaf::ports::Journal;
use everleaf::types::{Seq, Timestamp};
use std::fs;

/// What a disk can answer to a call.
fn errors(call: &Call) -> &'static [&'static str] {
    match call.name.as_str() {
        "fsync" | "unlinkat" => &["EIO"],
        "openat" => &["EMFILE", "ENOSPC", "EACCES"],
        "pwrite64" => &["ENOSPC", "EDQUOT"],
        "fchmod" => &["EROFS"],
        _ => &["ENOSPC"],
    }
}

fn published_twice() -> Site {
    let site = Site::new();
    for number in 6..8 {
        site.publish(number, number.into()).expect("prepared");
    }
    site
}

#[test]
fn a_publish_that_the_disk_refuses_leaves_the_old_version() {
    const TASK: &str = "publish 8 8";
    let calls = calls(&published_twice(), TASK);
    let switch = calls.iter().position(|call| call.line.contains("\"..data\"")).expect("a switch");
    for (place, call) in calls.iter().enumerate().filter(|(_, call)| call.name != "flock") {
        for error in errors(call) {
            let site = published_twice();
            let old = site.generation_files(7);
            let succeeded = interfere(&site, TASK, call, &format!("error={error}"));
            assert_eq!(site.generation_files(7), old, "{error} at {}", call.line);
            let expected = if place <= switch { showing(7) } else { showing(8) };
            assert_eq!(site.shown(), expected, "{error} at {}", call.line);
            if place <= switch {
                assert!(!succeeded, "{error} at {} was not reported", call.line);
                assert_eq!(site.temporaries(), [""; 0], "{error} at {}", call.line);
            }
            site.publish(8, 8).expect("the next run succeeds");
            assert_eq!(site.shown(), showing(8), "unhealed after {error} at {}", call.line);
        }
    }
}

#[test]
fn an_interrupted_call_is_repeated() {
    // Unlocking cannot be interrupted.
    let can_be = |call: &&Call| !call.line.contains("LOCK_UN");
    for call in calls(&published_twice(), "publish 8 8").iter().filter(can_be) {
        let site = published_twice();
        assert!(interfere(&site, "publish 8 8", call, "error=EINTR"), "interrupted at {}", call.line);
        assert_eq!(site.shown(), showing(8), "interrupted at {}", call.line);
    }
    let calls = calls(&Site::new(), "lock");
    assert!(calls.iter().any(|call| call.name == "flock"), "{calls:#?}");
    for call in calls.iter().filter(can_be) {
        assert!(interfere(&Site::new(), "lock", call, "error=EINTR"), "interrupted at {}", call.line);
    }
}

#[test]
fn an_append_that_the_disk_refuses_leaves_the_journal_as_it_was() {
    let at = Timestamp::from_secs(1_800_000_000);
    let prepared = || {
        let site = Site::new();
        site.state().append(&scope(), Seq(0), at, &pair(1)).expect("prepared");
        site
    };
    for task in ["append 2", "compact 2"] {
        for call in calls(&prepared(), task).iter().filter(|call| call.name != "flock") {
            for error in errors(call) {
                let site = prepared();
                let old = fs::read(site.journal()).expect("a journal");
                assert!(!interfere(&site, task, call, &format!("error={error}")), "{error} at {}", call.line);
                let directory_sync = task == "compact 2" && call.name == "fsync" && !call.line.contains("..tmp");
                if !directory_sync {
                    assert_eq!(fs::read(site.journal()).expect("a journal"), old, "{error} at {}", call.line);
                }
                let loaded = site.load();
                assert_eq!(loaded.records.last().map(|record| record.seq), Some(Seq(2)), "{error} at {}", call.line);
                site.state().append(&scope(), Seq(2), at, &pair(3)).expect("the next append succeeds");
            }
        }
    }
}
