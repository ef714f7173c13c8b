//! What the tests order with: an adapter, an account store in memory, keys and CSRs.
#![cfg(test)]

use crate::rig::Pebble;
use everleaf::acme::AcmeCa;
use everleaf::config::spec::{Budget, ExternalAccount, Issuer, KeyAlgorithm, Limits, Roots};
use everleaf::pki;
use everleaf::ports::{AccountStore, Authorization, Ca, NewOrder, OrderLook, OrderStatus, StoredAccount};
use everleaf::types::{Failure, Identifier, IssuerName};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Accounts in memory; what was saved, in order.
#[derive(Default)]
pub(crate) struct Store(pub(crate) RefCell<Vec<StoredAccount>>);

impl AccountStore for Store {
    fn ordered_before(&self, _: &str) -> Option<String> {
        None
    }

    fn load(&self, _: &IssuerName, directory: &str) -> Result<Option<StoredAccount>, Failure> {
        Ok(self.0.borrow().iter().rev().find(|account| account.directory == directory).cloned())
    }

    fn save(&self, _: &IssuerName, account: &StoredAccount) -> Result<(), Failure> {
        self.0.borrow_mut().push(account.clone());
        Ok(())
    }
}

pub(crate) fn issuer(directory: &str, ca_bundle: Option<PathBuf>) -> Issuer {
    Issuer {
        name: "test".parse().expect("a name"),
        directory: directory.to_owned(),
        roots: Roots::System,
        ca_bundle,
        contact: vec!["mailto:ops@example.org".to_owned()],
        agree_to_terms: true,
        profile: None,
        external_account: None::<ExternalAccount>,
        budget: Budget::default(),
        parallel: 8,
        dry_run: None,
    }
}

pub(crate) fn issuer_of(pebble: &Pebble) -> Issuer {
    issuer(&pebble.directory(), Some(pebble.tls_root_file()))
}

/// A new process's view: an adapter that knows nothing but the account store.
pub(crate) fn adapter(issuer: &Issuer, store: &Rc<Store>) -> AcmeCa {
    adapter_within(issuer, store, &Limits::default())
}

pub(crate) fn adapter_within(issuer: &Issuer, store: &Rc<Store>, limits: &Limits) -> AcmeCa {
    let store: Rc<dyn AccountStore> = Rc::clone(store) as Rc<dyn AccountStore>;
    AcmeCa::new(issuer, limits, store).expect("an adapter")
}

pub(crate) fn order(names: &[&str]) -> NewOrder {
    NewOrder { names: ids(names), profile: Some("tlsserver".to_owned()), replaces: None }
}

pub(crate) fn ids(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().expect("an identifier")).collect()
}

pub(crate) fn csr(algorithm: KeyAlgorithm, names: &[&str]) -> Vec<u8> {
    let key = pki::key::generate(algorithm).expect("a key");
    pki::csr::request(&key.pem, &ids(names)).expect("a CSR")
}

/// Looks until the order has left `pending` and `processing`, as the agent would.
pub(crate) async fn settle(ca: &AcmeCa, url: &str) -> OrderLook {
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let look = ca.look(url).await.expect("a look");
        if !matches!(look.status, OrderStatus::Pending | OrderStatus::Processing) {
            return look;
        }
    }
    panic!("{url} does not settle");
}

/// Puts up and answers every http-01 challenge that is still to be proved.
pub(crate) async fn prove(ca: &AcmeCa, pebble: &Pebble, url: &str) -> Vec<Authorization> {
    let authorizations = ca.authorizations(url).await.expect("authorizations");
    let open = authorizations.iter().filter(|authorization| !authorization.valid);
    let challenges: Vec<_> =
        open.map(|a| a.challenges.iter().find(|c| c.kind == "http-01").expect("http-01")).collect();
    for challenge in &challenges {
        pebble.challenges.add_http01(&challenge.token, &challenge.key_authorization);
    }
    let urls: Vec<String> = challenges.iter().map(|challenge| challenge.url.clone()).collect();
    ca.answer(url, &urls).await.expect("told");
    authorizations
}

/// The whole way to a chain, as the agent goes it.
pub(crate) async fn issue(ca: &AcmeCa, pebble: &Pebble, asked: &NewOrder, algorithm: KeyAlgorithm) -> Vec<u8> {
    let names: Vec<String> = asked.names.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let opened = ca.open_order(asked).await.expect("an order");
    if opened.status == OrderStatus::Pending {
        prove(ca, pebble, &opened.url).await;
        assert_eq!(settle(ca, &opened.url).await.status, OrderStatus::Ready);
    }
    let finalized = ca.finalize(&opened.url, &csr(algorithm, &names)).await.expect("finalized");
    if finalized.status != OrderStatus::Valid {
        assert_eq!(settle(ca, &opened.url).await.status, OrderStatus::Valid);
    }
    ca.chain(&opened.url).await.expect("a chain")
}
