//! Several edges behind one name: the shipped rules for nginx and HAProxy, and the self-check that asks every address.
#![cfg(test)]

use crate::rig::{self, HaProxy, Nginx, Pebble, PebbleOptions};
use crate::support::{THUMBPRINT, ask, cert, proof, solver};
use everleaf::config::spec::{Http01, Solver as How};
use everleaf::ports::Solvers;
use everleaf::types::Printable;
use std::net::SocketAddr;

/// A shipped rule that answers for an account.
pub(crate) fn stateless(file: &str, thumbprint: &str) -> String {
    shipped(file).replace("THUMBPRINT", thumbprint)
}

/// A shipped rule that passes requests on to everleaf's listener.
pub(crate) fn proxy(file: &str, listener: SocketAddr) -> String {
    shipped(file).replace("192.0.2.10:8402", &listener.to_string())
}

fn shipped(file: &str) -> String {
    let path = rig::repository().join("examples/edges").join(file);
    std::fs::read_to_string(path).unwrap()
}

pub(crate) fn nginx(address: SocketAddr, rule: &str) -> Nginx {
    Nginx::start(
        &format!("server {{ listen {address}; {rule}\nlocation / {{ return 301 https://$host$request_uri; }} }}"),
        address,
    )
}

pub(crate) fn haproxy(address: SocketAddr, rule: &str) -> HaProxy {
    let fallback = "    http-request redirect scheme https unless { path_beg /.well-known/acme-challenge/ }\n";
    HaProxy::start("", &format!("frontend http\n    bind {address}\n{rule}\n{fallback}"), address)
}

/// What edges serve at port 443 to everybody but a validating CA.
pub(crate) struct Sites {
    dir: tempfile::TempDir,
    root: String,
}

impl Sites {
    pub(crate) fn new(hosts: &[std::net::IpAddr]) -> Self {
        let dir = rig::scratch("sites");
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let (root, key) = rig::self_signed(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (file, text) in [("cert.pem", &root), ("key.pem", &key), ("bundle.pem", &format!("{key}{root}"))] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        Self { dir, root }
    }

    /// nginx with the shipped rule.
    pub(crate) fn nginx_by_alpn(&self, address: SocketAddr, listener: SocketAddr) -> Nginx {
        let behind = SocketAddr::from((address.ip(), rig::free_port()));
        let rule = shipped("nginx-alpn.conf")
            .replace("listen 443;\n        listen [::]:443;", &format!("listen {address};"))
            .replace("127.0.0.1:8403", &listener.to_string())
            .replace("127.0.0.1:8443", &behind.to_string());
        let file = |name: &str| self.dir.path().join(name);
        Nginx::with_main(&rule, &Nginx::tls(behind, &file("cert.pem"), &file("key.pem")), address)
    }

    /// HAProxy with the shipped rule.
    pub(crate) fn haproxy_by_alpn(&self, address: SocketAddr, listener: SocketAddr) -> HaProxy {
        // Abstract sockets are the whole machine's.
        let between = format!("abns@everleaf-{}", address.port());
        let rule = shipped("haproxy-alpn.cfg")
            .replace("bind :443,:::443 v6only", &format!("bind {address}"))
            .replace("127.0.0.1:8403", &listener.to_string());
        let sites = "frontend sites\n    bind abns@everleaf-tls accept-proxy ssl crt BUNDLE\n    http-request return status 200\n";
        let sites = sites.replace("BUNDLE", &self.dir.path().join("bundle.pem").display().to_string());
        HaProxy::start("", &format!("{rule}\n{sites}").replace("abns@everleaf-tls", &between), address)
    }

    /// What an ordinary client gets.
    pub(crate) fn ask(&self, address: SocketAddr) -> rig::Reply {
        rig::request(address, Some(&self.root), "GET / HTTP/1.0\r\nHost: site.example\r\n\r\n").unwrap()
    }
}

/// Three edges at one port on three addresses, all behind `a.example`.
fn edges(pebble: &Pebble) -> [SocketAddr; 3] {
    let port = rig::free_port();
    pebble.challenges.set_a("a.example", &rig::hosts());
    rig::hosts().map(|host| SocketAddr::from((host, port)))
}

fn lines(warnings: &[Printable]) -> String {
    warnings.iter().map(Printable::as_str).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_stateless_rule_answers_on_every_edge() {
    let pebble = Pebble::start(PebbleOptions { serve_http01: false, ..PebbleOptions::default() });
    let [one, two, three] = edges(&pebble);
    let _nginx = nginx(one, &stateless("nginx-stateless.conf", THUMBPRINT));
    let _haproxy = haproxy(two, &stateless("haproxy-stateless.cfg", THUMBPRINT));
    let last = nginx(three, &stateless("nginx-stateless.conf", THUMBPRINT));
    for edge in [one, two, three] {
        let reply = ask(edge, "aZ0-_token").await.unwrap();
        assert_eq!((reply.status, reply.body), (200, format!("aZ0-_token.{THUMBPRINT}")), "{edge}");
        let evil = ask(edge, "a%22%0d%0aX:%20y").await.unwrap();
        assert!(!evil.body.contains(THUMBPRINT), "{edge}: {evil:?}");
    }

    let proofs = [proof("a.example", "aZ0-_token", How::Http01(Http01::Stateless))];
    let solver = solver(&pebble).check_port(Some(one.port()));
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert!(warnings.is_empty(), "{}", lines(&warnings));
    solver.take_down(&cert("one"), &proofs).await.unwrap();

    drop(last);
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert_eq!(warnings.len(), 1, "{}", lines(&warnings));
    assert!(lines(&warnings).contains(&three.ip().to_string()), "{}", lines(&warnings));
}

#[tokio::test]
async fn the_proxy_rule_brings_every_edges_requests_to_the_listener() {
    let pebble = Pebble::start(PebbleOptions { serve_http01: false, ..PebbleOptions::default() });
    let [one, two, three] = edges(&pebble);
    let listener = SocketAddr::from((rig::host(), rig::free_port()));
    let _nginx = nginx(one, &proxy("nginx-proxy.conf", listener));
    let _haproxy = haproxy(two, &proxy("haproxy-proxy.cfg", listener));
    let forgotten = nginx(three, "location /.well-known/ { return 404; }");
    let proofs = [proof("a.example", "aZ0-_token", How::Http01(Http01::Listen(vec![listener])))];
    let solver = solver(&pebble).check_port(Some(one.port()));

    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    for edge in [one, two] {
        let reply = ask(edge, "aZ0-_token").await.unwrap();
        assert_eq!((reply.status, reply.body), (200, format!("aZ0-_token.{THUMBPRINT}")), "{edge}");
    }
    assert_eq!(warnings.len(), 1, "{}", lines(&warnings));
    let warning = lines(&warnings);
    assert!(warning.contains(&three.ip().to_string()) && warning.contains("404"), "{warning}");
    assert_eq!(forgotten.requests("GET /.well-known/acme-challenge/aZ0-_token"), 1, "the edge itself was asked");

    solver.take_down(&cert("one"), &proofs).await.unwrap();
    assert!(ask(one, "aZ0-_token").await.unwrap().status >= 500, "the listener is gone");
}

#[tokio::test]
async fn a_webroot_is_served_by_the_edges_own_server() {
    let pebble = Pebble::start(PebbleOptions { serve_http01: false, ..PebbleOptions::default() });
    pebble.challenges.set_a("a.example", &[rig::host()]);
    let edge = SocketAddr::from((rig::host(), rig::free_port()));
    let root = rig::scratch("webroot");
    let _nginx = Nginx::start(&format!("server {{ listen {edge}; root {}; }}", root.path().display()), edge);
    let proofs = [proof("a.example", "tokenA", How::Http01(Http01::Webroot(root.path().to_owned())))];
    let solver = solver(&pebble).check_port(Some(edge.port()));
    let warnings = solver.put_up(&cert("one"), &proofs).await.unwrap();
    assert!(warnings.is_empty(), "{}", lines(&warnings));
    assert_eq!(ask(edge, "tokenA").await.unwrap().body, format!("tokenA.{THUMBPRINT}"));
    solver.take_down(&cert("one"), &proofs).await.unwrap();
    assert_eq!(ask(edge, "tokenA").await.unwrap().status, 404);
}
