//! Whole surveys of endpoints made for a test, and what they come to.

use super::support::{Ca, SystemClock};
use everleaf::config::spec::StartTls;
use everleaf::net::dns::Resolver;
use everleaf::pki::Anchors;
use everleaf::probe::chain::Store;
use everleaf::probe::checks::Case;
use everleaf::probe::survey::{Survey, Surveyor};
use everleaf::probe::target::{Place, Query, Target, Via};
use everleaf::probe::{Finding, Label};
use everleaf::types::{Identifier, Printable};
use std::net::SocketAddr;
use std::rc::Rc;

/// What is found when `addresses` are asked for `name` by a client that trusts `ca`.
pub(crate) fn found(ca: &Ca, name: &str, addresses: &[SocketAddr]) -> Vec<Finding> {
    probed(query(ca, name, addresses))
}

/// The question that [`found`] asks.
pub(crate) fn query(ca: &Ca, name: &str, addresses: &[SocketAddr]) -> Query {
    let anchors = Anchors::from_pem(ca.root().as_bytes(), "root.pem").unwrap();
    let store =
        Store { name: "root.pem".into(), anchors: Rc::new(anchors), source: everleaf::probe::chain::Source::File };
    let via =
        |at: &SocketAddr| Via { place: Place { host: Identifier::Ip(at.ip()), port: Some(at.port()) }, node: None };
    let host: Place = name.parse().unwrap();
    Query {
        name: host.host.clone(),
        target: Target::new(host, StartTls::No),
        connect: addresses.iter().map(via).collect(),
        send_name: true,
        starttls: StartTls::No,
        stores: [store].into(),
        pins: [].into(),
        quick: false,
        crl: false,
        client: None,
        others: [].into(),
        http_port: None,
        vantage: Printable::new("here"),
    }
}

/// What a survey comes to.
pub(crate) fn probed(query: Query) -> Vec<Finding> {
    Case::new(&surveyed(query)).verdict().findings().to_vec()
}

/// All that is seen.
pub(crate) fn surveyed(query: Query) -> Survey {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let surveyor = Surveyor::new(Rc::new(Resolver::new(&[]).unwrap()), Rc::new(SystemClock), 200).unwrap();
        surveyor.survey(query).await.unwrap()
    })
}

/// That just these labels are found, one of them with each of `words` in its evidence.
#[track_caller]
pub(crate) fn assert_labels(what: &str, found: &[Finding], wanted: &[Label], words: &[&str]) {
    // HTTP has tests of its own.
    let of_http = |label: &Label| ["hsts_", "http"].iter().any(|start| label.as_str().starts_with(start));
    let mut labels: Vec<Label> = found.iter().map(|finding| finding.label).filter(|label| !of_http(label)).collect();
    labels.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(labels, wanted, "{what}: {found:#?}");
    for word in words {
        assert!(found.iter().any(|finding| finding.seen.as_str().contains(word)), "{what}: {word}: {found:#?}");
    }
}
