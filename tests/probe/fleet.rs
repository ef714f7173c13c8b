//! Several servers of one name: what sets one apart from the others, and what does not.

use super::asking::{assert_labels, found};
use super::endpoints::self_signed;
use super::rig::{Nginx, scratch};
use super::somewhere;
use super::support::{Ca, Leaf, live};
use everleaf::probe::Label::{
    self, CnOnlyNoSan, FleetMixedCerts, NodeChainBroken, NodePolicyDiffers, NodeSniBroken, Ok, StaleNode, Tls13Only,
};
use everleaf::probe::{Finding, Severity};
use rcgen::KeyPair;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A fleet: what each of its servers serves, with lines of its own.
struct Fleet<'a> {
    nodes: Vec<(&'a Leaf, String, String)>,
    wanted: &'a [Label],
    words: &'a [&'a str],
}

/// Serves all of `fleets` with one nginx, and holds each to its labels; answers what was found.
fn hold(ca: &Ca, fleets: &[Fleet<'_>]) -> Vec<(Vec<SocketAddr>, Vec<Finding>)> {
    let dir = scratch("fleet");
    let tickets = dir.path().join("tickets.key");
    fs::write(&tickets, [7; 80]).unwrap();
    let mut http = String::new();
    let placed: Vec<Vec<SocketAddr>> = fleets
        .iter()
        .map(|fleet| {
            let place = |(leaf, chain, line): &(&Leaf, String, String)| {
                let address = somewhere();
                http.push_str(&block(dir.path(), address, leaf, chain, line));
                address
            };
            fleet.nodes.iter().map(place).collect()
        })
        .collect();
    let _ = writeln!(http, "ssl_session_ticket_key {};", tickets.display());
    let _nginx = Nginx::start(&http, placed[0][0]);
    let each = fleets.iter().zip(placed).map(|(fleet, addresses)| {
        let seen = found(ca, "a.test", &addresses);
        let lines: Vec<&str> = fleet.nodes.iter().map(|(_, _, line)| line.as_str()).collect();
        assert_labels(&format!("{lines:?}"), &seen, fleet.wanted, fleet.words);
        (addresses, seen)
    });
    each.collect()
}

fn block(dir: &Path, address: SocketAddr, leaf: &Leaf, chain: &str, line: &str) -> String {
    let stem = format!("{}-{}", leaf.print().short(), address.port());
    let (chain, key) = leaf.write(dir, &stem, chain);
    let versions = if line.contains("ssl_protocols") { "" } else { "ssl_protocols TLSv1.2 TLSv1.3;" };
    let text = Nginx::tls(address, &chain, &key).replacen("return", &format!("{versions} {line} return"), 1);
    if line.contains("# h2") { text.replacen(" ssl;", " ssl http2;", 1) } else { text }
}

fn with<'a>(leaf: &'a Leaf, line: &str) -> (&'a Leaf, String, String) {
    (leaf, leaf.fullchain(), line.to_owned())
}

#[test]
fn servers_that_do_not_speak_alike_are_named_with_what_they_do() {
    let ca = Ca::new("A");
    let leaf = ca.issue("a.test");
    let rsa = ca.issue_rsa("a.test");
    let hsts = |value: &str| format!("add_header Strict-Transport-Security '{value}';");
    let (year, month) = (hsts("max-age=31536000"), hsts("max-age=2592000"));
    let [new, old] = ["ssl_protocols TLSv1.3;", "ssl_protocols TLSv1.2;"].map(str::to_owned);
    let older = "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0;".to_owned();
    let (none, h2) = (String::new(), "# h2\n".to_owned());
    let differs = &[NodePolicyDiffers][..];
    let cases: [(Vec<&String>, &[Label], &[&str]); 13] = [
        (vec![&none, &none], &[Ok], &[]),
        (vec![&year, &year, &year], &[Ok], &[]),
        (
            vec![&year, &year, &none],
            differs,
            &["here no Strict-Transport-Security, elsewhere HSTS with max-age=31536000"],
        ),
        // Two against each other: the lesser is told of.
        (vec![&none, &year], differs, &["here no Strict-Transport-Security"]),
        (
            vec![&month, &month, &year],
            differs,
            &["here HSTS with max-age=31536000, elsewhere HSTS with max-age=2592000"],
        ),
        (vec![&none, &old], differs, &["here no TLS 1.3 (TLS 1.2), elsewhere TLS 1.2 and 1.3"]),
        (vec![&new, &none, &none], &[NodePolicyDiffers, Tls13Only], &["here TLS 1.3 only, elsewhere TLS 1.2 and 1.3"]),
        (vec![&new, &new], &[Tls13Only, Ok], &[]),
        (vec![&none, &none, &older], differs, &["here TLS 1.1 too, elsewhere nothing older than TLS 1.2"]),
        (vec![&older, &older], &[Ok], &[]),
        (vec![&h2, &none], differs, &["here http/1.1, elsewhere h2"]),
        (vec![&h2, &h2], &[Ok], &[]),
        (
            vec![&year, &old],
            differs,
            &["no TLS 1.3 (TLS 1.2), elsewhere TLS 1.2 and 1.3; here no Strict-Transport-Security"],
        ),
    ];
    let mut fleets: Vec<Fleet<'_>> = cases
        .iter()
        .map(|(lines, wanted, words)| Fleet {
            nodes: lines.iter().map(|line| with(&leaf, line)).collect(),
            wanted,
            words,
        })
        .collect();

    // Another certificate is another server; an error page's header is not the page's; two causes are two.
    let error = "return 503;".to_owned();
    fleets.extend([
        Fleet { nodes: vec![with(&leaf, &year), with(&rsa, &old)], wanted: &[FleetMixedCerts, Ok], words: &[] },
        Fleet { nodes: vec![with(&leaf, &year), with(&leaf, &error)], wanted: &[], words: &["is answered 503"] },
        Fleet {
            nodes: vec![with(&leaf, &none), with(&leaf, &none), (&leaf, leaf.cert.clone(), old.clone())],
            wanted: &[NodeChainBroken, NodePolicyDiffers],
            words: &[],
        },
    ]);
    let seen = hold(&ca, &fleets);
    for (at, odd) in [(2, 2), (3, 0), (4, 2), (5, 1), (6, 0), (8, 2), (10, 1)] {
        let (addresses, findings) = &seen[at];
        let named: Vec<_> = findings.iter().filter(|it| it.label.severity() == Severity::Warn).collect();
        assert!(named.len() == 1 && named[0].address == Some(addresses[odd]), "{at}: {named:#?}");
    }
}

#[test]
fn an_older_certificate_is_told_from_one_that_each_has_of_its_own() {
    let ca = Ca::new("A");
    let by = |rsa: bool, from, to| {
        let algorithm = if rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
        ca.issue_with("a.test", &KeyPair::generate_for(algorithm).unwrap(), |params| live(params, from, to))
    };
    let [new, own, recent, later, older, late, brief] =
        [(-1, 89), (-1, 89), (-4, 86), (-25, 65), (-30, 60), (-95, -5), (-1, 20)].map(|(from, to)| by(false, from, to));
    let [rsa, old_rsa] = [(-1, 89), (-60, 30)].map(|(from, to)| by(true, from, to));
    let weeks = by(false, -20, 70);
    let again = ca.issue_again(&new, 3);
    let stranger = ca.issue("b.test");
    let placeholder = self_signed("localhost");
    let unnamed = ca.issue_with("a.test", &KeyPair::generate().unwrap(), |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.test");
    });
    let dir = scratch("pairs");
    let both = |second: &Leaf| {
        let (chain, key) = second.write(dir.path(), &second.print().short(), &second.fullchain());
        format!("ssl_certificate {}; ssl_certificate_key {};", chain.display(), key.display())
    };
    let one = |leaf| with(leaf, "");
    let dual = |leaf, second: &Leaf| with(leaf, &both(second));
    let bare = (&older, older.cert.clone(), String::new());
    let mixed = &[FleetMixedCerts, Ok][..];
    let stale = &[StaleNode][..];
    let fleets: Vec<(Vec<_>, &[Label])> = vec![
        (vec![one(&new), one(&older)], stale),
        (vec![one(&later), one(&new)], stale),
        (vec![one(&new), one(&recent)], mixed),
        (vec![one(&new), one(&weeks)], mixed),
        (vec![one(&new), one(&own)], mixed),
        (vec![one(&again), one(&new)], stale),
        (vec![one(&new), one(&brief)], stale),
        (vec![one(&new), one(&rsa)], mixed),
        (vec![one(&new), one(&old_rsa)], stale),
        (vec![one(&new), one(&new), one(&recent)], stale),
        (vec![one(&recent), one(&recent), one(&new)], &[StaleNode]),
        (vec![one(&new), one(&late)], stale),
        (vec![one(&new), one(&older), one(&later)], &[StaleNode, StaleNode]),
        // Both certificates of a server count.
        (vec![dual(&new, &rsa), dual(&new, &rsa)], &[Ok]),
        (vec![dual(&new, &rsa), dual(&new, &old_rsa)], stale),
        (vec![dual(&new, &old_rsa), one(&old_rsa)], mixed),
        // Two causes at one address.
        (vec![one(&new), bare], &[StaleNode, NodeChainBroken]),
        // What the default certificate is worth does not matter where another is meant.
        (vec![one(&new), one(&stranger)], &[NodeSniBroken]),
        (vec![one(&new), one(&placeholder)], &[NodeSniBroken]),
        (vec![one(&new), one(&unnamed)], &[CnOnlyNoSan]),
    ];
    let fleets: Vec<Fleet<'_>> =
        fleets.into_iter().map(|(nodes, wanted)| Fleet { nodes, wanted, words: &[] }).collect();
    hold(&ca, &fleets);
}
