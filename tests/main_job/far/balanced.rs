//! One name in DNS with the addresses of all nodes, as before a load balancer: each of them counts.

use super::FarFleet;
use crate::rig::{hosts, snapshot};

#[test]
fn of_a_name_with_three_addresses_the_stale_one_is_told() {
    let mut fleet = FarFleet::new();
    let addresses = [0, 1, 2].map(|turn| hosts()[turn]);
    fleet.scene.pebble.challenges.set_a("edge.example.com", &addresses);
    fleet.endpoints = Some(format!("{{ address: \"edge.example.com:{}\" }}", fleet.nodes[0].at.port()));
    fleet.run().exits(0);
    fleet.is_live();
    let before = fleet.serials();
    let good = std::mem::replace(&mut fleet.nodes[1].reload, "exec: [\"true\"]".to_owned());
    fleet.recall();
    let ran = fleet.run().exits(20);
    let (new, old) = (fleet.scene.serial("shop"), before[1].clone().expect("a serial"));
    assert_eq!(fleet.serials(), [Some(new.clone()), Some(old.clone()), Some(new)]);
    assert_ne!(fleet.scene.status("shop")["stage"], "live");
    assert!(ran.err.contains(&fleet.nodes[1].at.to_string()), "the stale address is named: {}", ran.err);
    assert!(ran.err.to_lowercase().contains(&old), "so is what it serves: {}", ran.err);
    let name = format!("edge.example.com:{}", fleet.nodes[0].at.port());
    snapshot("main_job/far/balanced", &fleet.plain(&ran.err.replace(&name, "edge.example.com:443")));
    let orders = fleet.scene.pebble.orders();

    fleet.nodes[1].reload = good;
    fleet.run().exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), orders);
}
