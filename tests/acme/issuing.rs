//! From an order to a chain.
#![cfg(test)]

use crate::client::{Store, adapter, csr, issue, issuer_of, order, settle};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::acme::Requests;
use everleaf::config::spec::KeyAlgorithm;
use everleaf::pki;
use everleaf::ports::{Ca, OrderStatus};
use futures_util::future::join_all;
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

#[tokio::test]
async fn a_stored_account_costs_no_request() {
    let pebble = Pebble::start(PebbleOptions::default());
    let store = Rc::new(Store::default());
    let first = adapter(&issuer_of(&pebble), &store).account().await.expect("an account");
    let again = adapter(&issuer_of(&pebble), &store);
    assert_eq!(again.account().await.expect("the account"), first);
    assert_eq!(again.requests(), Requests { sent: 1, nonces: 0, bad_nonces: 0 }, "the directory");
}

#[tokio::test]
async fn every_kind_of_leaf_key() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    for algorithm in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072] {
        let chain = issue(&ca, &pebble, &order(&NAMES), algorithm).await;
        assert_eq!(pki::parse::chain(&chain).expect("a chain").len(), 2, "{algorithm:?}");
    }
}

#[tokio::test]
async fn refused_nonces_are_repeated_and_counted_apart() {
    for (percent, least) in [(15, 1), (50, 5)] {
        let pebble = Pebble::start(PebbleOptions { bad_nonces: percent, ..PebbleOptions::default() });
        let ca = adapter(&issuer_of(&pebble), &Rc::default());
        for number in 0..3 {
            let name = format!("n{number}.example.org");
            issue(&ca, &pebble, &order(&[&name]), KeyAlgorithm::EcdsaP256).await;
        }
        assert!(ca.requests().bad_nonces >= least, "{percent} %: {:?}", ca.requests());
    }
}

#[tokio::test]
async fn eight_at_once_share_one_registration() {
    let pebble = Pebble::start(PebbleOptions::default());
    let store = Rc::new(Store::default());
    let ca = adapter(&issuer_of(&pebble), &store);
    let orders: Vec<_> = (0..8).map(|number| order(&[&format!("c{number}.example.org")])).collect();
    let issued = join_all(orders.iter().map(|order| issue(&ca, &pebble, order, KeyAlgorithm::EcdsaP256))).await;
    assert_eq!(issued.len(), 8);
    assert_eq!(store.0.borrow().len(), 2, "the key alone, then with its URL");
    assert_eq!(pebble.issued(), 8);
}

#[tokio::test]
async fn a_wildcard_and_its_apex_by_dns() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let names = ["example.org", "*.example.org"];
    let opened = ca.open_order(&order(&names)).await.expect("an order");
    let authorizations = ca.authorizations(&opened.url).await.expect("authorizations");
    let mut for_names: Vec<_> = authorizations.iter().map(|a| a.identifier.to_string()).collect();
    for_names.sort();
    assert_eq!(for_names, ["*.example.org", "example.org"]);
    let mut urls = Vec::new();
    for authorization in &authorizations {
        let challenge = authorization.challenges.iter().find(|c| c.kind == "dns-01").expect("dns-01");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, challenge.key_authorization.as_bytes());
        let value = data_encoding::BASE64URL_NOPAD.encode(digest.as_ref());
        pebble.challenges.add_txt("_acme-challenge.example.org", &value);
        urls.push(challenge.url.clone());
    }
    ca.answer(&opened.url, &urls).await.expect("told");
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Ready);
}

#[tokio::test]
async fn an_authorization_that_is_still_good_is_used_again() {
    let pebble = Pebble::start(PebbleOptions { authz_reuse: 100, ..PebbleOptions::default() });
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    issue(&ca, &pebble, &order(&NAMES), KeyAlgorithm::EcdsaP256).await;
    let again = ca.open_order(&order(&NAMES)).await.expect("an order");
    assert_eq!(again.status, OrderStatus::Ready);
    assert!(ca.authorizations(&again.url).await.expect("authorizations").iter().all(|a| a.valid));
    let leaf = csr(KeyAlgorithm::EcdsaP256, &NAMES);
    ca.finalize(&again.url, &leaf).await.expect("finalized");
    assert_eq!(settle(&ca, &again.url).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn an_address_is_an_identifier_too() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let address = pebble.http01().ip().to_string();
    let chain = issue(&ca, &pebble, &order(&[&address]), KeyAlgorithm::EcdsaP256).await;
    assert_eq!(pki::parse::chain(&chain).expect("a chain")[0].names()[0].to_string(), address);
}
