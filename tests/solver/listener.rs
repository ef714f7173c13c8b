//! The built-in http-01 listener.
#![cfg(test)]

use crate::rig::{self, Pebble, PebbleOptions};
use crate::support::{THUMBPRINT, ask, cert, proof, send, solver};
use everleaf::config::spec::{Http01, Solver as How};
use everleaf::ports::Solvers;
use everleaf::types::Class;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn address() -> SocketAddr {
    SocketAddr::from((rig::host(), rig::free_port()))
}

fn listen(name: &str, token: &str, address: SocketAddr) -> everleaf::ports::Proof {
    proof(name, token, How::Http01(Http01::Listen(vec![address])))
}

fn quiet() -> PebbleOptions {
    PebbleOptions { serve_http01: false, ..PebbleOptions::default() }
}

#[tokio::test]
async fn it_is_bound_only_while_challenges_are_up_and_shared_by_certificates() {
    let pebble = Pebble::start(quiet());
    let (solver, address) = (solver(&pebble).check_port(None), address());
    let (one, two) = (listen("a.example", "tokenA", address), listen("b.example", "tokenB", address));
    // A CA may give two orders for one name the same pending authorization.
    let shared = listen("a.example", "tokenC", address);
    assert!(ask(address, "tokenA").await.is_err(), "nothing is up");

    solver.put_up(&cert("one"), &[one.clone(), shared.clone()]).await.unwrap();
    solver.put_up(&cert("two"), &[two.clone(), shared.clone()]).await.unwrap();
    solver.put_up(&cert("two"), std::slice::from_ref(&two)).await.unwrap();
    for token in ["tokenA", "tokenB", "tokenC"] {
        let reply = ask(address, token).await.unwrap();
        assert_eq!((reply.status, reply.body), (200, format!("{token}.{THUMBPRINT}")));
    }
    assert_eq!(ask(address, "tokenX").await.unwrap().status, 404);

    solver.take_down(&cert("one"), &[one, shared.clone()]).await.unwrap();
    assert_eq!(ask(address, "tokenA").await.unwrap().status, 404);
    assert_eq!(ask(address, "tokenC").await.unwrap().status, 200, "the other certificate still needs it");
    solver.take_down(&cert("two"), &[two, shared.clone()]).await.unwrap();
    tokio::task::yield_now().await;
    assert!(TcpListener::bind(address).is_ok(), "the address is given back");
    solver.take_down(&cert("two"), &[shared]).await.unwrap();
}

#[tokio::test]
async fn it_answers_what_http_asks_and_nothing_more() {
    let pebble = Pebble::start(quiet());
    let (solver, address) = (solver(&pebble).check_port(None), address());
    solver.put_up(&cert("one"), &[listen("a.example", "tokenA", address)]).await.unwrap();
    let path = "/.well-known/acme-challenge/tokenA";
    let length = format!("Content-Length: {}", "tokenA.".len() + THUMBPRINT.len());

    let head = send(address, format!("HEAD {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains(&length), "{}", head.head);
    let status = |text: String| async move { send(address, text).await.unwrap().status };
    assert_eq!(status(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await, 200);
    assert_eq!(status(format!("GET http://a.example{path}?x=y HTTP/1.1\r\n\r\n")).await, 200);
    assert_eq!(status(format!("POST {path} HTTP/1.1\r\n\r\n")).await, 405);
    assert_eq!(status("GET /.well-known/acme-challenge/ HTTP/1.1\r\n\r\n".to_owned()).await, 404);
    assert_eq!(status("GET /.well-known/acme-challenge/../tokenA HTTP/1.1\r\n\r\n".to_owned()).await, 404);
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n".to_owned()).await, 404);
    assert_eq!(status("\u{16}\u{3}\u{1}nonsense\r\n\r\n".to_owned()).await, 400);
    assert_eq!(status(format!("GET {path} HTTP/1.1\r\nX: {}", "x".repeat(4096))).await, 431);
}

#[tokio::test]
async fn silent_connections_do_not_stand_in_a_cas_way() {
    let pebble = Pebble::start(quiet());
    let (solver, address) = (solver(&pebble).check_port(None), address());
    solver.put_up(&cert("one"), &[listen("a.example", "tokenA", address)]).await.unwrap();
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(ask(address, "tokenA").await.unwrap().status, 200);
    drop(silent);
}

#[tokio::test]
async fn an_address_in_use_is_a_failure_that_names_it_and_whoever_has_it() {
    let pebble = Pebble::start(quiet());
    let (solver, address) = (solver(&pebble), address());
    let nginx = rig::Nginx::start(&format!("server {{ listen {address}; }}"), address);
    let failure = solver.put_up(&cert("one"), &[listen("a.example", "tokenA", address)]).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.class), ("solver:inUse", Class::Operator), "{failure:?}");
    assert!(failure.to_string().contains(&address.to_string()), "{failure}");
    assert!(failure.message.as_str().contains("nginx (process "), "{failure}");
    for way in ["webroot", "stateless", "proxy"] {
        assert!(failure.advice.as_str().contains(way), "{failure:?}");
    }
    drop(nginx);
}

#[tokio::test]
async fn a_token_that_is_no_base64url_is_refused() {
    let pebble = Pebble::start(quiet());
    let root = tempfile::tempdir().unwrap();
    let evil = proof("a.example", "../../evil", How::Http01(Http01::Webroot(root.path().to_owned())));
    let failure = solver(&pebble).put_up(&cert("one"), std::slice::from_ref(&evil)).await.unwrap_err();
    assert_eq!(failure.code, "solver:token");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    solver(&pebble).take_down(&cert("one"), &[evil]).await.unwrap();
}

#[tokio::test]
async fn both_unspecified_addresses_can_be_named() {
    let pebble = Pebble::start(quiet());
    let port = rig::free_port();
    let both: [SocketAddr; 2] = [([0, 0, 0, 0], port).into(), (std::net::Ipv6Addr::UNSPECIFIED, port).into()];
    let proofs = [proof("a.example", "tokenA", How::Http01(Http01::Listen(both.to_vec())))];
    let solver = solver(&pebble).check_port(None);
    if TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_err() {
        let failure = solver.put_up(&cert("one"), &proofs).await.unwrap_err();
        assert!(failure.place.as_str().contains("[::]"), "a machine without IPv6 says so: {failure:?}");
        return;
    }
    solver.put_up(&cert("one"), &proofs).await.unwrap();
    let places: [SocketAddr; 2] = [(rig::host(), port).into(), (std::net::Ipv6Addr::LOCALHOST, port).into()];
    for place in places {
        assert_eq!(ask(place, "tokenA").await.unwrap().status, 200, "{place}");
    }
    solver.take_down(&cert("one"), &proofs).await.unwrap();
    tokio::task::yield_now().await;
    assert!(TcpListener::bind(both[0]).is_ok(), "the address is given back");
}

#[tokio::test]
async fn another_everleaf_at_the_address_is_waited_for() {
    let pebble = Pebble::start(quiet());
    let (solver, address) = (solver(&pebble).check_port(None), address());
    // A server that goes by the name, with the address for a second.
    let dir = rig::scratch("other");
    let program = dir.path().join("everleaf");
    std::fs::copy(rig::require("openssl"), &program).unwrap();
    let (certificate, key) = rig::self_signed(&["a.example"]);
    std::fs::write(dir.path().join("both.pem"), certificate + &key).unwrap();
    let mut command = std::process::Command::new(program);
    command.args(["s_server", "-quiet", "-accept", &address.to_string(), "-cert"]).arg(dir.path().join("both.pem"));
    let mut other = rig::Daemon::spawn("other", &command, dir.path());
    other.await_port(address);
    let ended = tokio::task::spawn_blocking(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(other);
        std::time::Instant::now()
    });
    solver.put_up(&cert("one"), &[listen("a.example", "tokenA", address)]).await.unwrap();
    let bound = std::time::Instant::now();
    assert!(ended.await.unwrap() < bound);
    assert_eq!(ask(address, "tokenA").await.unwrap().status, 200);
}
