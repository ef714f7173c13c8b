//! Renewal information and `replaces` (RFC 9773).
#![cfg(test)]

use crate::client::{adapter, csr, issue, issuer_of, order, prove, settle};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::config::spec::KeyAlgorithm;
use everleaf::pki;
use everleaf::ports::{Ca, NewOrder, OrderStatus};
use std::rc::Rc;
use std::time::Duration;

#[tokio::test]
async fn windows_as_the_ca_sets_them() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let chain = issue(&ca, &pebble, &order(&["a.example.org"]), KeyAlgorithm::EcdsaP256).await;
    let leaf = pki::parse::chain(&chain).expect("a chain").remove(0);
    let (id, pem) = (leaf.ari_id().expect("an id"), leaf.pem());

    let info = ca.renewal_info(&id).await.expect("the default window");
    assert_eq!(info.retry_after, Duration::from_secs(21_600));
    assert!(leaf.validity().contains(info.window.start));

    pebble.set_window(&pem, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let info = ca.renewal_info(&id).await.expect("the window");
    assert_eq!(info.window.start.to_string(), "2026-01-01T00:00:00Z");

    for nonsense in ["{", r#"{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}}"#] {
        pebble.set_renewal_info(&pem, nonsense);
        let failure = ca.renewal_info(&id).await.expect_err(nonsense);
        assert_eq!(failure.code, "ari:invalid");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(6 * 3600)));
    }
    pebble.set_renewal_info(&pem, "");
    ca.renewal_info(&id).await.expect("the default again");
    let unknown = ca.renewal_info("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").await.expect_err("not this CA's");
    assert_eq!(unknown.retry_after, Some(Duration::from_secs(6 * 3600)), "{unknown:?}");
}

#[tokio::test]
async fn a_predecessor_is_named_once() {
    let pebble = Pebble::start(PebbleOptions::default());
    let ca = adapter(&issuer_of(&pebble), &Rc::default());
    let first = issue(&ca, &pebble, &order(&["a.example.org"]), KeyAlgorithm::EcdsaP256).await;
    let replaces = pki::parse::chain(&first).expect("a chain")[0].ari_id();
    let asked = NewOrder { replaces, ..order(&["a.example.org"]) };
    let opened = ca.open_order(&asked).await.expect("an order that replaces");
    assert!(!opened.replaces_dropped);
    prove(&ca, &pebble, &opened.url).await;
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Ready);
    ca.finalize(&opened.url, &csr(KeyAlgorithm::EcdsaP256, &["a.example.org"])).await.expect("finalized");
    assert_eq!(settle(&ca, &opened.url).await.status, OrderStatus::Valid);
    let again = ca.open_order(&asked).await.expect("an order without it");
    assert!(again.replaces_dropped && again.url != opened.url);

    // Neither a foreign predecessor nor one without a common name keeps a certificate from being ordered.
    let foreign = Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned());
    let foreign = NewOrder { replaces: foreign, ..order(&["b.example.org"]) };
    assert!(ca.open_order(&foreign).await.expect("an order without it").replaces_dropped);
    let second = issue(&ca, &pebble, &order(&["c.example.org"]), KeyAlgorithm::EcdsaP256).await;
    let replaces = pki::parse::chain(&second).expect("a chain")[0].ari_id();
    let renamed = NewOrder { replaces, ..order(&["d.example.org"]) };
    assert!(ca.open_order(&renamed).await.expect("an order without it").replaces_dropped);
}
