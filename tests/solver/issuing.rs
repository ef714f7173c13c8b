//! The CA itself looks: whole orders against Pebble, proved in each way.
#![cfg(test)]

use crate::dns01::{curl, hook};
use crate::edges::{Sites, haproxy, nginx, proxy, stateless};
use crate::rig::{self, Pebble, PebbleOptions};
use crate::support::{cert, solver};
use everleaf::acme::AcmeCa;
use everleaf::config::spec::{Budget, Http01, Issuer, Limits, Roots, Solver as How};
use everleaf::ports::{AccountStore, Ca, NewOrder, OrderStatus, Proof, Solvers, StoredAccount};
use everleaf::types::{Failure, IssuerName};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

#[derive(Default)]
struct Store(RefCell<Option<StoredAccount>>);

impl AccountStore for Store {
    fn ordered_before(&self, _: &str) -> Option<String> {
        None
    }

    fn load(&self, _: &IssuerName, _: &str) -> Result<Option<StoredAccount>, Failure> {
        Ok(self.0.borrow().clone())
    }

    fn save(&self, _: &IssuerName, account: &StoredAccount) -> Result<(), Failure> {
        *self.0.borrow_mut() = Some(account.clone());
        Ok(())
    }
}

fn ca(pebble: &Pebble) -> AcmeCa {
    let issuer = Issuer {
        name: "test".parse().unwrap(),
        directory: pebble.directory(),
        roots: Roots::System,
        ca_bundle: Some(pebble.tls_root_file()),
        contact: Vec::new(),
        agree_to_terms: true,
        profile: None,
        external_account: None,
        budget: Budget::default(),
        parallel: 8,
        dry_run: None,
    };
    AcmeCa::new(&issuer, &Limits::default(), Rc::new(Store::default())).unwrap()
}

/// Has Pebble validate `names`, each proved by `how`, with the self-check on; answers what became of the order.
async fn validate(ca: &AcmeCa, pebble: &Pebble, names: &[&str], how: &How) -> OrderStatus {
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    let order = NewOrder { names, profile: Some("tlsserver".to_owned()), replaces: None };
    let order = ca.open_order(&order).await.unwrap();
    let authorizations = ca.authorizations(&order.url).await.unwrap();
    let proofs: Vec<Proof> = authorizations
        .iter()
        .map(|authorization| {
            let challenge = authorization.challenges.iter().find(|challenge| challenge.kind == how.kind()).unwrap();
            Proof {
                identifier: authorization.identifier.clone(),
                solver: how.clone(),
                url: challenge.url.clone(),
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization.clone(),
            }
        })
        .collect();
    let solver =
        solver(pebble).check_port(Some(pebble.http01().port())).check_tls_port(Some(pebble.tls_alpn01().port()));
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let urls: Vec<String> = proofs.iter().map(|proof| proof.url.clone()).collect();
    ca.answer(&order.url, &urls).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = ca.look(&order.url).await.unwrap().status;
        if status != OrderStatus::Pending {
            solver.take_down(&cert("one"), &proofs).await.unwrap();
            return status;
        }
    }
    panic!("the order does not settle:\n{}", pebble.log());
}

fn quiet() -> Pebble {
    Pebble::start(PebbleOptions { serve_http01: false, ..PebbleOptions::default() })
}

/// Three names, each with one of three edges as its address, so that Pebble asks every one of them.
fn names_of_edges(pebble: &Pebble) -> ([&'static str; 3], [SocketAddr; 3]) {
    let names = ["one.example", "two.example", "three.example"];
    for (name, host) in names.iter().zip(rig::hosts()) {
        pebble.challenges.set_a(name, &[host]);
    }
    (names, rig::hosts().map(|host| SocketAddr::from((host, pebble.http01().port()))))
}

#[tokio::test]
async fn the_ca_is_answered_by_the_listener() {
    let pebble = quiet();
    let how = How::Http01(Http01::Listen(vec![pebble.http01()]));
    assert_eq!(validate(&ca(&pebble), &pebble, &["a.example", "b.example"], &how).await, OrderStatus::Ready);
}

#[tokio::test]
async fn the_ca_is_answered_by_every_edge_with_the_stateless_rule() {
    let pebble = quiet();
    let ca = ca(&pebble);
    let thumbprint = ca.account().await.unwrap().thumbprint;
    let (names, [one, two, three]) = names_of_edges(&pebble);
    let _first = nginx(one, &stateless("nginx-stateless.conf", &thumbprint));
    let _second = haproxy(two, &stateless("haproxy-stateless.cfg", &thumbprint));
    let third = nginx(three, &stateless("nginx-stateless.conf", &thumbprint));
    assert_eq!(validate(&ca, &pebble, &names, &How::Http01(Http01::Stateless)).await, OrderStatus::Ready);
    assert!(
        third.requests("GET /.well-known/acme-challenge/") >= 2,
        "the self-check's, and Pebble's from its vantages"
    );
}

#[tokio::test]
async fn the_ca_is_answered_by_every_edge_with_the_proxy_rule() {
    let pebble = quiet();
    let (names, [one, two, three]) = names_of_edges(&pebble);
    let listener = SocketAddr::from((rig::host(), rig::free_port()));
    let _first = nginx(one, &proxy("nginx-proxy.conf", listener));
    let _second = haproxy(two, &proxy("haproxy-proxy.cfg", listener));
    let _third = nginx(three, &proxy("nginx-proxy.conf", listener));
    let how = How::Http01(Http01::Listen(vec![listener]));
    assert_eq!(validate(&ca(&pebble), &pebble, &names, &how).await, OrderStatus::Ready);
}

#[tokio::test]
async fn the_ca_is_shown_what_it_asks_for_by_alpn() {
    let pebble = quiet();
    let how = How::TlsAlpn01 { listen: vec![pebble.tls_alpn01()] };
    let address = rig::host().to_string();
    assert_eq!(validate(&ca(&pebble), &pebble, &["a.example", "b.example", &address], &how).await, OrderStatus::Ready);
}

#[tokio::test]
async fn the_ca_is_shown_it_behind_nginx_and_haproxy_that_keep_port_443() {
    let pebble = quiet();
    let names = ["one.example", "two.example"];
    let port = pebble.tls_alpn01().port();
    for (name, host) in names.iter().zip(rig::hosts()) {
        pebble.challenges.set_a(name, &[host]);
    }
    let [one, two, _] = rig::hosts().map(|host| SocketAddr::from((host, port)));
    let listener = SocketAddr::from((rig::host(), rig::free_port()));
    let sites = Sites::new(&[one.ip(), two.ip()]);
    let (nginx, haproxy) = (sites.nginx_by_alpn(one, listener), sites.haproxy_by_alpn(two, listener));
    let how = How::TlsAlpn01 { listen: vec![listener] };
    assert_eq!(
        validate(&ca(&pebble), &pebble, &names, &how).await,
        OrderStatus::Ready,
        "{}\n{}",
        nginx.log(),
        haproxy.log()
    );
    for edge in [one, two] {
        assert_eq!(sites.ask(edge).status, 200, "{edge}: everybody else gets the sites");
    }
}

#[tokio::test]
async fn the_ca_finds_the_values_of_apex_and_wildcard() {
    let pebble = quiet();
    let dir = rig::scratch("hook");
    let how = hook(dir.path(), &curl(pebble.challenges.management()), Duration::from_secs(10));
    assert_eq!(validate(&ca(&pebble), &pebble, &["a.example", "*.a.example"], &how).await, OrderStatus::Ready);
}
