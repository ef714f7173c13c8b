//! Publishing that breaks off on a node: what was published there stays and loads.

use super::FarFleet;
use crate::rig::{own_mounts, snapshot};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// What begins with two dots beside a generation and the link to it: left over from a publication.
fn left_over(fleet: &FarFleet, name: &str) -> Vec<String> {
    let entries = fs::read_dir(fleet.files(name)).expect("a directory").flatten();
    let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
    names.filter(|it| it.starts_with("..new") || it.starts_with("..link")).collect()
}

#[test]
fn a_disk_that_is_full_on_a_node_is_told_as_that_nodes() {
    own_mounts();
    let fleet = FarFleet::new();
    let edge = fleet.scene.path("edges/edge2");
    let tmpfs = mount(Some("none"), &edge, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=0755"));
    tmpfs.expect("tmpfs");
    fs::set_permissions(&edge, fs::Permissions::from_mode(0o755)).expect("chmod");
    fleet.run().exits(0);
    fleet.is_live();
    let before = fleet.serials();
    let filler = edge.join("filler");
    let full = Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", filler.display())).arg("bs=4k").output();
    assert!(!full.expect("dd").status.success(), "it is full");
    fleet.recall();
    let ran = fleet.run().exits(20);
    snapshot("main_job/far/disk-full", &fleet.plain(&ran.err));
    fleet.nodes[1].reload_server();
    assert_eq!(fleet.serials()[1], before[1], "what was there stays and loads");
    assert_eq!(left_over(&fleet, "edge2"), Vec::<String>::new());
    fs::remove_file(filler).expect("removed");
    fleet.scene.everleaf(&["deploy", "shop", "--to", "edge2"]).exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), 2);
}
