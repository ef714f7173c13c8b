//! What the tests of this binary share.
#![cfg(test)]

use crate::rig::{self, Pebble, Reply};
use everleaf::config::spec;
use everleaf::net::dns::Resolver;
use everleaf::ports::Proof;
use everleaf::solver::Solver;
use everleaf::types::CertName;
use std::net::SocketAddr;
use std::rc::Rc;

pub(crate) const THUMBPRINT: &str = "q0Jb2x-_thumb";

pub(crate) fn cert(name: &str) -> CertName {
    CertName::new(name).unwrap()
}

pub(crate) fn proof(name: &str, token: &str, solver: spec::Solver) -> Proof {
    Proof {
        identifier: name.parse().unwrap(),
        solver,
        url: format!("https://ca.example/challenge/{token}"),
        token: token.to_owned(),
        key_authorization: format!("{token}.{THUMBPRINT}"),
    }
}

pub(crate) fn solver(pebble: &Pebble) -> Solver {
    Solver::new(Rc::new(Resolver::new(&[pebble.challenges.dns]).unwrap()))
}

/// Asks for a token while the solver's own listener, which lives on the test's thread, goes on.
pub(crate) async fn ask(address: SocketAddr, token: &str) -> std::io::Result<Reply> {
    let path = format!("/.well-known/acme-challenge/{token}");
    tokio::task::spawn_blocking(move || rig::get(address, "a.example", &path)).await.unwrap()
}

pub(crate) async fn send(address: SocketAddr, text: String) -> std::io::Result<Reply> {
    tokio::task::spawn_blocking(move || rig::request(address, None, &text)).await.unwrap()
}
