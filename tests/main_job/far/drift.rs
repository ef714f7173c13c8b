//! What becomes of nodes behind everleaf's back: it is seen by the next look, brought back and told, without a new order.

use super::FarFleet;
use crate::rig::scene::left_behind;
use crate::rig::snapshot;
use std::fs;
use std::process::Command;

/// Copies a directory with its links as they are.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(copied.success());
}

#[test]
fn a_foreign_client_that_overwrites_the_files_is_found_out() {
    let fleet = FarFleet::live();
    for (turn, name) in [(0, "edge1"), (2, "edge3")] {
        // As certbot and its like do: other files under the names that servers read.
        for file in ["fullchain.pem", "privkey.pem", "bundle.pem"] {
            fs::remove_file(fleet.files(name).join(file)).expect("a link");
        }
        left_behind(&fleet.files(name));
        fleet.nodes[turn].reload_server();
    }
    let wanted = Some(fleet.scene.serial("shop"));
    assert_eq!(fleet.serials().iter().filter(|it| **it == wanted).count(), 1);
    fleet.scene.forget_seen("shop");
    let ran = fleet.run().exits(0);
    let said = fleet.plain(&ran.err);
    let mut lines: Vec<&str> = said.split_inclusive('\n').collect();
    lines.sort_unstable();
    snapshot("main_job/far/foreign", &lines.concat());
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), 1);
}

#[test]
fn a_node_restored_from_a_backup_is_brought_back() {
    let fleet = FarFleet::live();
    let backup = fleet.scene.path("backup");
    copy(&fleet.files("edge2"), &backup);
    fleet.recall();
    fleet.run().exits(0);
    fleet.is_live();
    fs::remove_dir_all(fleet.files("edge2")).expect("removed");
    copy(&backup, &fleet.files("edge2"));
    fleet.nodes[1].reload_server();
    fleet.scene.forget_seen("shop");
    let ran = fleet.run().exits(0);
    snapshot("main_job/far/restored", &fleet.plain(&ran.err));
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), 2);
}
