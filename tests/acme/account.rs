//! Registration: once, with a key that is durable first, found again when its URL was lost.
#![cfg(test)]

use crate::client::{Store, adapter, issuer_of, order};
use crate::rig::{Pebble, PebbleOptions};
use everleaf::config::spec::ExternalAccount;
use everleaf::ports::{Ca, StoredAccount};
use everleaf::types::{Class, Secret};
use std::rc::Rc;

#[tokio::test]
async fn the_key_is_kept_before_the_registration_and_a_lost_url_is_found() {
    let pebble = Pebble::start(PebbleOptions::default());
    let store = Rc::new(Store::default());
    let account = adapter(&issuer_of(&pebble), &store).account().await.expect("an account");
    let (before, after) = (store.0.borrow()[0].clone(), store.0.borrow()[1].clone());
    assert_eq!(before.url, None, "kept before the CA had heard of it");
    assert_eq!(after, StoredAccount { url: Some(account.url.clone()), ..before.clone() });

    // Killed between the registration and keeping its URL.
    let store = Rc::new(Store::default());
    store.0.borrow_mut().push(before);
    let found = adapter(&issuer_of(&pebble), &store).account().await.expect("the same account");
    assert_eq!(found, account);
    assert_eq!(pebble.log().matches("There are now 1 accounts").count(), 1, "{}", pebble.log());

    // Killed before the registration: the kept key is registered, no other.
    let store = Rc::new(Store::default());
    store.0.borrow_mut().push(StoredAccount { key_pkcs8: other_key(), url: None, ..after });
    let registered = adapter(&issuer_of(&pebble), &store).account().await.expect("an account");
    assert_ne!(registered.url, account.url);
    assert_eq!(store.0.borrow().last().and_then(|stored| stored.url.clone()), Some(registered.url));
}

#[tokio::test]
async fn a_forgotten_account_is_an_operators_matter_and_is_never_registered_again() {
    let mut pebble = Pebble::start(PebbleOptions::default());
    let store = Rc::new(Store::default());
    adapter(&issuer_of(&pebble), &store).account().await.expect("an account");
    pebble.restart();
    let failure =
        adapter(&issuer_of(&pebble), &store).open_order(&order(&["a.example.org"])).await.expect_err("forgotten");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:accountDoesNotExist"));
    assert!(!failure.advice.is_empty());
    assert_eq!(store.0.borrow().len(), 2);
}

#[tokio::test]
async fn an_external_account_is_bound() {
    let mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let keys = [("kid-1".to_owned(), mac.to_owned())].into();
    let pebble = Pebble::start(PebbleOptions { external_account_keys: keys, ..PebbleOptions::default() });
    let bound = |kid: &str, mac: &str| {
        let mut issuer = issuer_of(&pebble);
        issuer.external_account = Some(ExternalAccount { kid: kid.to_owned(), hmac: Secret::new(mac.to_owned()) });
        issuer
    };
    let store = Rc::new(Store::default());
    let without = adapter(&issuer_of(&pebble), &store).account().await.expect_err("none configured");
    assert_eq!((without.class, without.code.as_str()), (Class::Spec, "acme:externalAccountRequired"));
    assert!(store.0.borrow().is_empty(), "no key is made for a registration that cannot be");

    let wrong = adapter(&bound("kid-2", mac), &store).account().await.expect_err("unknown key id");
    assert_eq!((wrong.class, wrong.code.as_str()), (Class::Operator, "acme:unauthorized"));
    let account = adapter(&bound("kid-1", mac), &store).account().await.expect("an account");
    assert_eq!(store.0.borrow().len(), 2, "the key of the refused registration was used");
    let again = adapter(&bound("kid-1", mac), &store).account().await.expect("the account");
    assert_eq!(again, account);
}

#[tokio::test]
async fn terms_are_agreed_to_by_people() {
    let pebble = Pebble::start(PebbleOptions::default());
    let mut issuer = issuer_of(&pebble);
    issuer.agree_to_terms = false;
    let failure = adapter(&issuer, &Rc::default()).account().await.expect_err("not agreed");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Spec, "acme:termsOfService"));
    assert!(failure.advice.as_str().contains("https://") || failure.advice.as_str().contains("data:"), "{failure:?}");
}

fn other_key() -> Secret {
    let key = rcgen::KeyPair::generate().expect("a P-256 key");
    Secret::new(data_encoding::BASE64URL_NOPAD.encode(&key.serialize_der()))
}
