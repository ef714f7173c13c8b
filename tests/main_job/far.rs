//! A node that only ssh reaches, and what happens while it is down.

use crate::fleet::FarFleet;

#[test]
fn a_far_node_gets_its_certificate_through_ssh_and_is_looked_at() {
    let fleet = FarFleet::new();
    fleet.scene.run(&fleet.yaml()).exits(0);
    assert_eq!(fleet.scene.status("shop")["stage"], "live");
    let issued = fleet.scene.serial("shop");
    assert_eq!(fleet.serials(), [Some(issued.clone()), Some(issued)]);
    assert!(fleet.sshd.log().contains("Accepted publickey"));
}

#[test]
fn a_node_that_is_down_while_it_is_renewed_catches_up_without_a_new_order() {
    let mut fleet = FarFleet::new();
    let yaml = fleet.yaml();
    fleet.scene.run(&yaml).exits(0);
    let first = fleet.serials();
    let leaf = std::fs::read_to_string(fleet.scene.path("edges/near/shop/cert.pem")).expect("published");
    fleet.scene.recall("shop", &leaf);
    fleet.sshd.stop();
    let ran = fleet.scene.run(&yaml).exits(20);
    assert!(ran.err.contains("far"), "the node is named: {}", ran.err);
    let renewed = Some(fleet.scene.serial("shop"));
    assert_ne!(renewed, first[0]);
    assert_eq!(fleet.serials(), [renewed.clone(), first[1].clone()], "one node is live, the other serves on");
    let shop = fleet.scene.status("shop");
    let node = |name: &str| shop["nodes"].as_array().and_then(|all| all.iter().find(|it| it["node"] == name)).cloned();
    assert!(
        node("near")
            .is_some_and(|it| it["failure"].is_null() && it["confirmed"]["generation"] == shop["generation"]["id"]),
        "{shop:#}"
    );
    assert!(node("far").is_some_and(|it| !it["failure"].is_null()), "{shop:#}");

    fleet.sshd.restart();
    fleet.scene.run(&yaml).exits(0);
    assert_eq!(fleet.serials(), [renewed.clone(), renewed]);
    assert_eq!(fleet.scene.status("shop")["stage"], "live");
    assert_eq!(fleet.scene.pebble.orders(), 2);
}
