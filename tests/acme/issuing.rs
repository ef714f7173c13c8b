//! From an order to a chain.

use crate::client::{Store, adapter, issue, issuer_of, order};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::acme::Requests;
use everleaf::config::spec::KeyAlgorithm;
use everleaf::pki;
use everleaf::ports::Ca;
use std::rc::Rc;

const NAMES: [&str; 2] = ["shop.example.org", "www.shop.example.org"];

#[tokio::test]
async fn two_fresh_names_cost_nine_requests_beside_directory_nonce_and_account() {
    let pebble = Pebble::start(PebbleOptions::default());
    let store = Rc::new(Store::default());
    let ca = adapter(&issuer_of(&pebble), &store);
    ca.account().await.expect("an account");
    assert_eq!(ca.requests(), Requests { sent: 3, nonces: 1, bad_nonces: 0 }, "directory, nonce, account");
    let chain = issue(&ca, &pebble, &order(&NAMES), KeyAlgorithm::EcdsaP256).await;
    let leaf = &pki::parse::chain(&chain).expect("a chain")[0];
    assert_eq!(leaf.names().len(), 2);
    assert_eq!(ca.requests(), Requests { sent: 3 + 9, nonces: 1, bad_nonces: 0 });
    assert!(ca.clock_offset().expect("a Date").abs() <= 2);
}
