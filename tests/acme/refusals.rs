//! What a CA refuses, and what each refusal asks for.
#![cfg(test)]

use crate::client::{adapter, csr, issuer_of, order, prove, settle};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::config::spec::KeyAlgorithm;
use everleaf::ports::{Ca, OrderStatus};
use everleaf::types::Class;
use std::rc::Rc;

#[tokio::test]
async fn an_invalid_order_tells_each_names_error() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let opened = ca.open_order(&order(&["good.example.org", "bad.example.org"])).await.expect("an order");
    let mut urls = Vec::new();
    for authorization in ca.authorizations(&opened.url).await.expect("authorizations") {
        let challenge = authorization.challenges.iter().find(|c| c.kind == "http-01").expect("http-01").clone();
        let good = authorization.identifier.to_string() == "good.example.org";
        let shown = if good { challenge.key_authorization } else { "nonsense".to_owned() };
        pebble.challenges.add_http01(&challenge.token, &shown);
        urls.push(challenge.url);
    }
    ca.answer(&opened.url, &urls).await.expect("told");
    let OrderStatus::Invalid(failure) = settle(&ca, &opened.url).await.status else { panic!("it is not invalid") };
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:unauthorized"));
    assert!(failure.message.as_str().starts_with("bad.example.org: "), "{}", failure.message);
    assert_eq!(failure.details.len(), 1, "{:?}", failure.details);
    assert!(!failure.advice.is_empty());
    // A new process sees the same.
    let OrderStatus::Invalid(again) = ca.look(&opened.url).await.expect("a look").status else { panic!("not invalid") };
    assert_eq!(again, failure);
}

#[tokio::test]
async fn a_refused_name_is_told() {
    let blocklist = vec!["blocked.example".to_owned()];
    let pebble = Pebble::start(PebbleOptions { blocklist, ..PebbleOptions::default() });
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let failure = ca.open_order(&order(&["good.example.org", "a.blocked.example"])).await.expect_err("refused");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:rejectedIdentifier"));
    assert!(failure.details.iter().any(|line| line.as_str().starts_with("a.blocked.example: ")), "{failure:?}");
}

#[tokio::test]
async fn a_profile_that_is_not_offered_is_the_specifications_matter() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let mut asked = order(&["a.example.org"]);
    asked.profile = Some("nope".to_owned());
    let failure = ca.open_order(&asked).await.expect_err("not offered");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Spec, "acme:invalidProfile"));
    assert!(failure.details.iter().any(|line| line.as_str().contains("shortlived")), "{:?}", failure.details);
    assert_eq!(pebble.orders(), 0);
    let offers = ca.offers().await.expect("offers");
    assert!(offers.renewal_info && !offers.external_account_required && offers.profiles.len() == 3);
}

#[tokio::test]
async fn a_csr_for_other_names_leaves_the_order_ready() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let opened = ca.open_order(&order(&["a.example.org"])).await.expect("an order");
    prove(&ca, &pebble, &opened.url).await;
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Ready);
    let other = csr(KeyAlgorithm::EcdsaP256, &["a.example.org", "b.example.org"]);
    let failure = ca.finalize(&opened.url, &other).await.expect_err("refused");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:unauthorized"));
    ca.finalize(&opened.url, &csr(KeyAlgorithm::EcdsaP256, &["a.example.org"])).await.expect("finalized");
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Valid);
}

#[tokio::test]
async fn a_ca_that_is_not_trusted_or_not_there() {
    let mut pebble = Pebble::start(PebbleOptions::default());
    let mut issuer = issuer_of(&pebble);
    issuer.ca_bundle = None;
    let failure = adapter(&issuer, &Rc::default()).offers().await.expect_err("not trusted");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "net:tls"), "{failure:?}");
    pebble.stop();
    let failure = adapter(&issuer_of(&pebble), &Rc::default()).offers().await.expect_err("not there");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "net:connect"), "{failure:?}");
}
