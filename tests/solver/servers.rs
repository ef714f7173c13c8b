//! The rig itself: what its servers promise to the other tests.

use crate::rig::{self, Pebble, PebbleOptions};

#[test]
fn pebble_offers_ari_and_profiles_and_a_restart_makes_a_new_ca() {
    let mut pebble = Pebble::start(PebbleOptions::default());
    let directory = pebble.offers();
    assert!(directory["renewalInfo"].is_string(), "{directory}");
    assert_eq!(directory["meta"]["profiles"].as_object().unwrap().len(), 3, "{directory}");

    let root = pebble.issuing_root(0);
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(root, pebble.intermediate(0));
    assert_eq!((pebble.orders(), pebble.issued()), (0, 0));
    pebble.restart();
    assert_ne!(root, pebble.issuing_root(0));
}

#[test]
fn challtestsrv_serves_tokens() {
    let pebble = Pebble::start(PebbleOptions::default());
    pebble.challenges.add_http01("token", "token.thumbprint");
    let served = rig::get(pebble.http01(), "a.example", "/.well-known/acme-challenge/token").unwrap();
    assert_eq!((served.status, served.body.trim()), (200, "token.thumbprint"));
}
