//! What goes wrong on one node of three: it is named with what to do, and the others are none the worse for it.

use super::FarFleet;
use crate::rig::{snapshot, wait_until};
use std::fs;
use std::time::Duration;

/// Whether a process runs whose arguments contain `text`.
fn runs(text: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .filter_map(|it| fs::read(it.path().join("cmdline")).ok())
        .any(|words| String::from_utf8_lossy(&words).split('\0').any(|word| word == text))
}

#[test]
fn where_the_canary_refuses_it_nothing_else_moves() {
    let mut fleet = FarFleet::live();
    fleet.more = "    rollout: { canary: edge1 }\n".to_owned();
    let good = std::mem::replace(
        &mut fleet.nodes[0].check,
        r#"{ shell: "echo 'nginx: [emerg] unknown directive \"servr\" in /etc/nginx/nginx.conf:7' >&2; exit 1" }"#
            .to_owned(),
    );
    let before = fleet.serials();
    fleet.recall();
    let ran = fleet.run().exits(20);
    snapshot("main_job/far/canary-check", &fleet.plain(&ran.err));
    assert_eq!(fleet.serials(), before);
    let node = fleet.node("edge1");
    assert_eq!(node["failure"]["code"], "check:failed", "{node:#}");
    let data = |name: &str| fs::read_link(fleet.files(name).join("..data")).expect("a link");
    assert_eq!(data("edge2"), data("edge3"), "neither got the new files");
    assert_ne!(data("edge1"), data("edge2"));
    let orders = fleet.scene.pebble.orders();

    fleet.nodes[0].check = good;
    fleet.run().exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), orders);
}

#[test]
fn where_the_canary_serves_the_old_leaf_nothing_else_moves() {
    let mut fleet = FarFleet::live();
    fleet.more = "    rollout: { canary: edge1 }\n".to_owned();
    let before = fleet.serials();
    let good = std::mem::replace(&mut fleet.nodes[0].reload, "exec: [\"true\"]".to_owned());
    let data = |name: &str| fs::read_link(fleet.files(name).join("..data")).expect("a link");
    let files = [data("edge2"), data("edge3")];
    fleet.recall();
    fleet.run().exits(20);
    assert_eq!(fleet.serials(), before);
    assert_eq!([data("edge2"), data("edge3")], files, "neither got the new files");
    let why = fleet.scene.everleaf(&["why", "shop"]).out;
    let place = format!("  node edge1, {} (shop.example.com): serves serial", fleet.nodes[0].at);
    let told = [place.as_str(), "  roll-out to edge1: ", "code rollout:canary", "  everleaf deploy shop --to edge1 "];
    assert_eq!(told.map(|words| why.contains(words)), [true; 4], "{why}");
    assert!(why.to_lowercase().contains(&before[0].clone().expect("a serial")), "what it serves: {why}");
    let orders = fleet.scene.pebble.orders();

    fleet.nodes[0].reload = good;
    fleet.run().exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), orders);
}

#[test]
fn a_reload_that_does_nothing_is_told_with_what_is_served_instead() {
    let mut fleet = FarFleet::live();
    let before = fleet.serials();
    let in_full = |fleet: &FarFleet| fleet.scene.status("shop")["generation"]["serial"].as_str().map(str::to_owned);
    let first = in_full(&fleet).expect("a serial");
    let good = std::mem::replace(&mut fleet.nodes[1].reload, "exec: [\"true\"]".to_owned());
    fleet.recall();
    let ran = fleet.run().exits(20);
    let (new, old) = (fleet.scene.serial("shop"), before[1].clone().expect("a serial"));
    assert_eq!(fleet.serials(), [Some(new.clone()), Some(old), Some(new)]);
    let second = in_full(&fleet).expect("a serial");
    let said = fleet.plain(&ran.err.replace(&first, "OLD").replace(&second, "NEW"));
    snapshot("main_job/far/reload-does-nothing", &said);
    assert_ne!(fleet.scene.status("shop")["stage"], "live");
    let orders = fleet.scene.pebble.orders();

    fleet.nodes[1].reload = good;
    fleet.run().exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), orders);
}

#[test]
fn a_reload_that_hangs_is_ended_on_its_node_and_holds_up_nobody() {
    let mut fleet = FarFleet::live();
    let before = fleet.serials();
    // A number of seconds that nobody else sleeps.
    let seconds = format!("{}", 900_000 + std::process::id());
    let hangs = format!("exec: {{ shell: \"echo reloading >&2; sleep {seconds}; true\", timeout: 3s }}");
    let good = std::mem::replace(&mut fleet.nodes[1].reload, hangs);
    fleet.recall();
    let ran = fleet.run().exits(20);
    let gone = wait_until(Duration::from_secs(20), || !runs(&seconds));
    assert!(gone, "it still hangs on its node");
    snapshot("main_job/far/reload-hangs", &fleet.plain(&ran.err));
    let new = Some(fleet.scene.serial("shop"));
    assert_eq!(fleet.serials(), [new.clone(), before[1].clone(), new]);
    fleet.nodes[1].reload = good;
    fleet.run().exits(0);
    fleet.is_live();
}

#[test]
fn another_host_key_is_refused_and_nothing_is_sent() {
    let fleet = FarFleet::live();
    let (before, files) = (fleet.serials(), fs::read_link(fleet.files("edge2").join("..data")).expect("a link"));
    let known = fleet.nodes[1].sshd.dir().join("known_hosts");
    let (right, other) =
        (fs::read_to_string(&known), fs::read_to_string(fleet.nodes[0].sshd.dir().join("host_key.pub")));
    let right = right.expect("known hosts");
    let place = right.split_whitespace().next().expect("a host");
    fs::write(&known, format!("{place} {}", other.expect("a key"))).expect("written");
    fleet.recall();
    fleet.hang_up();
    let ran = fleet.run().exits(20);
    snapshot("main_job/far/host-key", &fleet.plain(&ran.err));
    assert_eq!(fleet.serials()[1], before[1]);
    assert_eq!(fs::read_link(fleet.files("edge2").join("..data")).expect("a link"), files);
    assert_eq!(fleet.node("edge2")["failure"]["code"], "ssh:host-key-changed");
    assert_eq!(fleet.nodes[1].sshd.log().matches("Accepted publickey").count(), 1, "that of the first run");

    fs::write(&known, right).expect("written");
    fleet.run().exits(0);
    fleet.is_live();
}
