//! The built-in tls-alpn-01 listener, as openssl sees it.
#![cfg(test)]

use crate::edges::Sites;
use crate::rig::{self, Pebble, PebbleOptions, SServer};
use crate::support::{THUMBPRINT, cert, proof, solver};
use everleaf::config::spec::Solver as How;
use everleaf::ports::{Proof, Solvers};
use everleaf::types::{Class, sha256};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

fn address() -> SocketAddr {
    SocketAddr::from((rig::host(), rig::free_port()))
}

fn listen(name: &str, token: &str, address: SocketAddr) -> Proof {
    proof(name, token, How::TlsAlpn01 { listen: vec![address] })
}

fn quiet() -> Pebble {
    Pebble::start(PebbleOptions { serve_http01: false, ..PebbleOptions::default() })
}

/// What openssl is shown for `name`: the whole of its output, and the certificate in words.
async fn seen(address: SocketAddr, name: &str, alpn: &str, version: &'static str) -> (String, String) {
    let arguments =
        ["s_client", "-connect", &address.to_string(), "-servername", name, "-alpn", alpn, version, "-showcerts"]
            .map(str::to_owned);
    let run = move || {
        let mut client = Command::new(rig::require("openssl"));
        let client = client.args(&arguments).stdin(Stdio::null()).output().expect("openssl");
        let said = String::from_utf8_lossy(&[client.stdout, client.stderr].concat()).into_owned();
        let Some(begin) = said.find("-----BEGIN CERTIFICATE") else { return (said, String::new()) };
        let words =
            rig::run(Command::new(rig::require("openssl")).args(["x509", "-noout", "-text"]), Some(&said[begin..]));
        (said, words)
    };
    tokio::task::spawn_blocking(run).await.expect("it ran")
}

#[tokio::test]
async fn who_speaks_acme_tls_is_shown_the_digest_for_the_name_asked_for() {
    let pebble = quiet();
    let (solver, address) = (solver(&pebble).check_tls_port(None), address());
    let (one, ip) = (listen("Shop.example", "tokenA", address), listen("192.0.2.10", "tokenB", address));
    solver.put_up(&cert("one"), &[one.clone(), ip.clone()]).await.unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        for (proof, asked, san) in
            [(&one, "SHOP.example", "DNS:shop.example"), (&ip, "10.2.0.192.in-addr.arpa", "IP Address:192.0.2.10")]
        {
            let (said, words) = seen(address, asked, "acme-tls/1", version).await;
            assert!(said.contains("ALPN protocol: acme-tls/1"), "{said}");
            let digest = sha256(&[format!("{}.{THUMBPRINT}", proof.token).as_bytes()]);
            assert!(words.contains(san) && words.contains("1.3.6.1.5.5.7.1.31: critical"), "{words}");
            let shown = CertificateDer::from_pem_slice(said.as_bytes()).unwrap();
            let wanted = [&[4, 32], digest.as_bytes().as_slice()].concat();
            assert!(shown.windows(wanted.len()).any(|octets| octets == wanted), "{words}");
        }
    }
    for (name, alpn) in [("shop.example", "http/1.1"), ("other.example", "acme-tls/1")] {
        let (said, words) = seen(address, name, alpn, "-tls1_3").await;
        assert!(words.is_empty(), "{name} {alpn}: {said}");
    }
    solver.take_down(&cert("one"), &[one, ip]).await.unwrap();
    tokio::task::yield_now().await;
    assert!(TcpListener::bind(address).is_ok(), "the address is given back");
}

#[tokio::test]
async fn two_orders_for_one_name_are_shown_one_after_the_other() {
    let pebble = quiet();
    let (solver, address) = (solver(&pebble).check_tls_port(None), address());
    let (first, second) = (listen("a.example", "tokenA", address), listen("a.example", "tokenB", address));
    solver.put_up(&cert("one"), std::slice::from_ref(&first)).await.unwrap();
    // The same authorization in two orders is one face with two owners.
    solver.put_up(&cert("two"), std::slice::from_ref(&first)).await.unwrap();
    let name = cert("three");
    let waiting = solver.put_up(&name, std::slice::from_ref(&second));
    let ending = async {
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        solver.take_down(&cert("one"), std::slice::from_ref(&first)).await.unwrap();
        assert!(seen(address, "a.example", "acme-tls/1", "-tls1_3").await.0.contains("BEGIN CERT"), "still needed");
        solver.take_down(&cert("two"), std::slice::from_ref(&first)).await.unwrap();
    };
    let (put_up, ()) = futures_util::join!(waiting, ending);
    put_up.unwrap();
    assert!(seen(address, "a.example", "acme-tls/1", "-tls1_3").await.0.contains("BEGIN CERT"));
    solver.take_down(&cert("three"), &[second]).await.unwrap();
}

#[tokio::test]
async fn what_a_ca_would_not_find_is_warned_of() {
    let pebble = quiet();
    let (listener, edge) = (address(), address());
    pebble.challenges.set_a("a.example", &[rig::host()]);
    let solver = solver(&pebble).check_tls_port(Some(edge.port()));
    let proofs = [listen("a.example", "tokenA", listener)];
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert!(warnings[0].as_str().contains(&edge.to_string()), "nobody is there: {warnings:?}");

    let sites = Sites::new(&[edge.ip()]);
    let forgotten = sites.nginx_by_alpn(edge, address());
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert_eq!(warnings.len(), 1, "the rule leads to where nobody listens: {warnings:?}");
    drop(forgotten);
    let _right = sites.nginx_by_alpn(edge, listener);
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    solver.take_down(&cert("one"), &proofs).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_anothers_is_told_with_the_way_to_share_it() {
    let pebble = quiet();
    let (root, key) = rig::self_signed(&["a.example"]);
    let other = SServer::start(address(), &root, "", &key, &[]);
    let proofs = [listen("a.example", "tokenA", other.address())];
    let failure = solver(&pebble).put_up(&cert("one"), &proofs).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.class), ("solver:inUse", Class::Operator));
    assert!(failure.message.as_str().contains("openssl"), "{failure}");
    assert!(
        failure.advice.as_str().contains("acme-tls/1") && failure.advice.as_str().contains("examples/edges"),
        "{failure}"
    );
}
