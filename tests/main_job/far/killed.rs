//! Two at work on one fleet, and one that is killed at work: one order, and no node ever holds a key that is not its certificate's.

use super::{FarFleet, NAMES};
use crate::rig::require;
use crate::rig::scene::{Scene, ended};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The public key in a file, as `openssl SUBCOMMAND` reads it from there.
fn public_key(file: &Path, subcommand: &[&str]) -> String {
    let mut openssl = Command::new(require("openssl"));
    let shown = openssl.args(subcommand).arg("-in").arg(file).output().expect("openssl");
    assert!(shown.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&shown.stderr));
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// Fails unless what each node would load is a certificate with its own key.
#[track_caller]
fn pairs_match(fleet: &FarFleet, when: &str) {
    for name in NAMES {
        let live = fleet.files(name);
        for (cert, key) in [("fullchain.pem", "privkey.pem"), ("bundle.pem", "bundle.pem")] {
            let certified = public_key(&live.join(cert), &["x509", "-noout", "-pubkey"]);
            assert_eq!(certified, public_key(&live.join(key), &["pkey", "-pubout"]), "{name}, {cert}, {when}");
        }
    }
}

#[test]
fn two_at_once_over_the_fleet_open_one_order() {
    let fleet = FarFleet::live();
    let before = fleet.serials();
    fleet.recall();
    let both = [fleet.scene.begin(&["run"]), fleet.scene.begin(&["run"])];
    for child in both {
        ended(child).exits(0);
    }
    fleet.is_live();
    assert_ne!(fleet.serials(), before);
    pairs_match(&fleet, "after both");
    assert_eq!((fleet.scene.pebble.orders(), fleet.scene.pebble.issued()), (2, 2));
    fleet.scene.everleaf(&["run"]).exits(0);
    assert_eq!(fleet.scene.pebble.orders(), 2);
}

#[test]
fn killed_again_and_again_it_goes_on_where_it_was() {
    // A CA that takes names for proved: killed while it is asked, everleaf's own listener is gone and the proof has failed.
    let fleet = FarFleet::of(Scene::easy()).made_live();
    let before = fleet.serials();
    fleet.recall();
    let mut kills = 0;
    for turn in 1..=12 {
        let mut child = fleet.scene.begin(&["run"]);
        std::thread::sleep(Duration::from_millis(80 * turn));
        let still = child.try_wait().expect("a child").is_none();
        child.kill().expect("a child");
        ended(child);
        pairs_match(&fleet, &format!("after the run of {} ms", 80 * turn));
        if !still {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 3, "it was killed {kills} times");
    fleet.scene.everleaf(&["run"]).exits(0);
    fleet.is_live();
    assert_ne!(fleet.serials(), before);
    let orders = fleet.scene.pebble.orders();
    assert!((2..=3).contains(&orders), "{orders} orders");
}
