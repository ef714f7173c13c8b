//! A new process goes on with an order by its URL, wherever it stood.
#![cfg(test)]

use crate::client::{Store, adapter, csr, issuer_of, order, prove, settle};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::config::spec::KeyAlgorithm;
use everleaf::pki;
use everleaf::ports::{Ca, OrderStatus};
use everleaf::types::Class;
use std::rc::Rc;

#[tokio::test]
async fn at_every_stage() {
    let pebble = Pebble::start(PebbleOptions::default());
    let (issuer, store) = (issuer_of(&pebble), Rc::new(Store::default()));
    let fresh = || adapter(&issuer, &store);
    let names = ["a.example.org", "b.example.org"];
    let opened = fresh().open_order(&order(&names)).await.expect("an order");
    let url = opened.url.as_str();
    assert_eq!((opened.status, opened.replaces_dropped), (OrderStatus::Pending, false));
    assert!(opened.expires.is_some());

    assert_eq!(fresh().look(url).await.expect("a look").status, OrderStatus::Pending);
    let early = fresh().finalize(url, &csr(KeyAlgorithm::EcdsaP256, &names)).await.expect_err("too early");
    assert_eq!((early.class, early.code.as_str()), (Class::Retry, "acme:orderNotReady"));
    prove(&fresh(), &pebble, url).await;
    assert_eq!(settle(&fresh(), url).await.status, OrderStatus::Ready);
    // Told once more after a crash: nothing is pending any longer, and that counts as told.
    let authorizations = fresh().authorizations(url).await.expect("authorizations");
    assert!(authorizations.iter().all(|authorization| authorization.valid));
    let all: Vec<_> = authorizations.iter().flat_map(|a| a.challenges.iter().map(|c| c.url.clone())).collect();
    fresh().answer(url, &all).await.expect("told already");
    let none = fresh().chain(url).await.expect_err("nothing is issued yet");
    assert_eq!(none.code, "acme:orderNotValid");

    fresh().finalize(url, &csr(KeyAlgorithm::EcdsaP256, &names)).await.expect("finalized");
    assert_eq!(settle(&fresh(), url).await.status, OrderStatus::Valid);
    // The reply to finalize was lost: the order is shown as it stands, and no second certificate is issued.
    let again = fresh().finalize(url, &csr(KeyAlgorithm::EcdsaP256, &names)).await.expect("as it stands");
    assert_eq!(again.status, OrderStatus::Valid);
    assert_eq!(pebble.issued(), 1);
    let chain = fresh().chain(url).await.expect("a chain");
    assert_eq!(fresh().chain(url).await.expect("once more"), chain);
    assert_eq!(pki::parse::chain(&chain).expect("a chain").len(), 2);
}

#[tokio::test]
async fn a_finalize_whose_reply_was_lost_is_seen_through_a_stale_handle() {
    let pebble = Pebble::start(PebbleOptions::default());
    let (issuer, store) = (issuer_of(&pebble), Rc::new(Store::default()));
    let (ca, other) = (adapter(&issuer, &store), adapter(&issuer, &store));
    let opened = ca.open_order(&order(&["a.example.org"])).await.expect("an order");
    prove(&ca, &pebble, &opened.url).await;
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Ready);
    other.finalize(&opened.url, &csr(KeyAlgorithm::EcdsaP256, &["a.example.org"])).await.expect("finalized");
    assert_eq!(settle(&other, &opened.url).await.status, OrderStatus::Valid);
    let shown = ca.finalize(&opened.url, &csr(KeyAlgorithm::EcdsaP256, &["a.example.org"])).await.expect("shown");
    assert_eq!((shown.status, pebble.issued()), (OrderStatus::Valid, 1));
}

#[tokio::test]
async fn an_order_that_the_ca_forgot_is_gone() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let opened = ca.open_order(&order(&["a.example.org"])).await.expect("an order");
    let failure = ca.look(&format!("{}x", opened.url)).await.expect_err("unknown");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "acme:orderGone"));
    ca.look(&opened.url).await.expect("the real one is still there");
}
