//! From an accepted generation to live on real servers, and back when they do not do what they should.

use crate::fleet::Fleet;

#[test]
fn live_is_when_every_endpoint_serves_it() {
    let fleet = Fleet::new();
    fleet.scene.run(&fleet.good()).exits(0);
    assert_eq!(fleet.scene.status("shop")["stage"], "live");
    let issued = fleet.scene.serial("shop");
    assert_eq!(fleet.serials(), [Some(issued.clone()), Some(issued)]);
}

#[test]
fn a_reload_that_does_nothing_is_found_out_and_mended_without_a_new_order() {
    let fleet = Fleet::new();
    let ran = fleet.scene.run(&fleet.yaml("exec: [\"true\"]")).exits(20);
    let old = fleet.serials()[0].clone().expect("nginx serves what it started with");
    assert!(ran.err.contains(&fleet.at[0].to_string()), "the endpoint is named: {}", ran.err);
    assert!(ran.err.to_lowercase().contains(&old), "the old serial {old} is named: {}", ran.err);
    assert_ne!(fleet.scene.status("shop")["stage"], "live");
    let orders = fleet.scene.pebble.orders();

    fleet.scene.run(&fleet.good()).exits(0);
    assert_eq!(fleet.scene.status("shop")["stage"], "live");
    assert_eq!(fleet.scene.pebble.orders(), orders);
}

#[test]
fn a_rollback_stands_until_something_newer_is_accepted() {
    let fleet = Fleet::new();
    let scene = &fleet.scene;
    let yaml = fleet.good();
    scene.run(&yaml).exits(0);
    let first = fleet.serials();
    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    let second = fleet.serials();
    assert_ne!(second, first);

    scene.everleaf(&["rollback", "shop"]).exits(0);
    assert_eq!(scene.status("shop")["stage"], "live");
    assert_eq!(fleet.serials(), first);
    scene.run(&yaml).exits(0);
    assert_eq!(fleet.serials(), first, "the next pass does not undo it");
    assert_eq!(scene.pebble.orders(), 2);

    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    let third = fleet.serials();
    assert!(third != first && third != second, "something newer ends it");
}
