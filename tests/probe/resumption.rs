//! Sessions of nginx and `openssl s_server`: resumed, shared, off; early data taken, guarded, off.

use super::asking::{assert_labels, found, query, surveyed};
use super::rig::{Nginx, SServer, free_port, hosts, scratch};
use super::somewhere;
use super::support::{Ca, Leaf};
use everleaf::probe::Label::{self, EarlyDataGuarded, EarlyDataOn, Ok, ResumptionOff, TicketsNotShared};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Two servers of one name, each with a line of its own.
fn pair(dir: &Path, leaf: &Leaf, lines: [&str; 2]) -> (String, [SocketAddr; 2]) {
    let port = free_port();
    let [one, two, _] = hosts();
    let addresses = [one, two].map(|host| SocketAddr::from((host, port)));
    let (chain, key) = leaf.write(dir, &leaf.print().short(), &leaf.fullchain());
    let http = addresses.iter().zip(lines).map(|(address, line)| {
        let versions = if line.contains("ssl_protocols") { "" } else { "ssl_protocols TLSv1.2 TLSv1.3;" };
        Nginx::tls(*address, &chain, &key).replacen("return", &format!("{versions} {line} return"), 1)
    });
    (http.collect(), addresses)
}

#[test]
fn tickets_are_shared_by_those_who_have_the_same_key() {
    let ca = Ca::new("A");
    let (leaf, rsa) = (ca.issue("a.test"), ca.issue_rsa("a.test"));
    let dir = scratch("tickets");
    let key = |name: &str, octet: u8| {
        let path = dir.path().join(name);
        fs::write(&path, [octet; 80]).unwrap();
        format!("ssl_session_ticket_key {};", path.display())
    };
    let (a, b) = (key("a.key", 1), key("b.key", 2));
    let off = "ssl_session_tickets off;";
    let old = "ssl_protocols TLSv1.2;";
    let cases: [(String, String, &[Label], &[&str]); 8] = [
        (a.clone(), a.clone(), &[Ok], &[]),
        (a.clone(), b.clone(), &[TicketsNotShared], &["TLS 1.2 ticket", "nor are 3 other pairs"]),
        (format!("{old}{a}"), format!("{old}{b}"), &[TicketsNotShared], &["TLS 1.2 ticket", "nor are 1 other"]),
        (format!("{old}{a}"), format!("{old}{a}"), &[Ok], &[]),
        (off.into(), off.into(), &[ResumptionOff, Ok], &["TLS 1.3", "TLS 1.2", "none was taken"]),
        // Who takes no tickets at all is told of by itself.
        (a.clone(), off.into(), &[ResumptionOff, Ok], &[]),
        (format!("ssl_early_data on; {a}"), a.clone(), &[EarlyDataOn], &["answered 200"]),
        (format!("ssl_early_data on; {a}"), format!("ssl_early_data on; {b}"), &[TicketsNotShared, EarlyDataOn], &[]),
    ];
    for (one, two, wanted, words) in cases {
        let (http, addresses) = pair(dir.path(), &leaf, [&one, &two]);
        let _nginx = Nginx::start(&http, addresses[0]);
        let began = Instant::now();
        let findings = found(&ca, "a.test", &addresses);
        assert_labels(&format!("{one} {two}"), &findings, wanted, words);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // And with what is asked of clients.
    let roots = dir.path().join("roots.pem");
    fs::write(&roots, ca.root()).unwrap();
    let asks = format!("{a} ssl_client_certificate {}; ssl_verify_client optional;", roots.display());
    let (http, addresses) = pair(dir.path(), &leaf, [&a, &asks]);
    let _nginx = Nginx::start(&http, addresses[0]);
    assert_labels("who is asked", &found(&ca, "a.test", &addresses), &[Label::ClientCertOptional, Ok], &[]);
    // Tickets go with their certificate: of another one they are not expected to be taken.
    let (first, [one, _]) = pair(dir.path(), &leaf, [&a, &a]);
    let (second, [two, _]) = pair(dir.path(), &rsa, [&b, &b]);
    let _nginx = Nginx::start(&format!("{first}{second}"), one);
    assert_labels("two leaves", &found(&ca, "a.test", &[one, two]), &[Label::FleetMixedCerts, Ok], &[]);
}

#[test]
fn what_a_server_gives_while_it_refuses_anothers_ticket_is_its_own() {
    let ca = Ca::new("A");
    let leaf = ca.issue("a.test");
    let dir = scratch("three");
    let [a, b] = [1, 2].map(|octet: u8| {
        let path = dir.path().join(octet.to_string());
        fs::write(&path, [octet; 80]).unwrap();
        format!("ssl_session_ticket_key {};", path.display())
    });
    let (http, [one, two]) = pair(dir.path(), &leaf, [&a, &b]);
    let (more, [three, _]) = pair(dir.path(), &leaf, [&b, &b]);
    let _nginx = Nginx::start(&format!("{http}{more}"), one);
    let survey = surveyed(query(&ca, "a.test", &[one, two, three]));
    let rounds = survey.sights.iter().flat_map(|sight| &sight.rounds);
    let seen: Vec<_> = rounds.flat_map(|it| it.others.iter().map(|(to, taken)| (it.from, *to, *taken))).collect();
    assert_eq!(seen.len(), 12, "each to two others, in two versions: {seen:?}");
    for (from, to, taken) in seen {
        assert_eq!(taken, from != one && to != one, "of {from} to {to}");
    }
}

#[test]
fn early_data_is_on_guarded_or_off() {
    let ca = Ca::new("A");
    let leaf = ca.issue("a.test");
    let dir = scratch("early");
    let on = "ssl_early_data on;";
    let guarded = format!("{on} if ($ssl_early_data) {{ return 425; }}");
    for (line, wanted, words) in [
        ("", &[Ok][..], ""),
        (on, &[EarlyDataOn], "answered 200"),
        (&guarded, &[EarlyDataGuarded, Ok], "425 Too Early"),
        ("ssl_early_data on; ssl_protocols TLSv1.2;", &[Ok], ""),
        ("ssl_early_data on; ssl_session_tickets off;", &[ResumptionOff, Ok], "none was taken"),
    ] {
        let (http, [address, _]) = pair(dir.path(), &leaf, [line, line]);
        let _nginx = Nginx::start(&http, address);
        assert_labels(line, &found(&ca, "a.test", &[address]), wanted, &[words]);
    }
}

#[test]
fn openssl_resumes_takes_early_data_or_does_neither() {
    let ca = Ca::new("A");
    let leaf = ca.issue("a.test");
    for (how, wanted) in [
        ("-www", &[Ok][..]),
        ("-www -tls1_2", &[Ok]),
        // Without tickets there is still the server's own memory.
        ("-www -no_ticket", &[Ok]),
        ("-www -no_ticket -no_cache", &[ResumptionOff, Ok]),
        ("-www -no_ticket -no_cache -tls1_2", &[ResumptionOff, Ok]),
        ("-early_data -max_early_data 4096", &[EarlyDataOn]),
        ("-early_data -max_early_data 4096 -no_anti_replay", &[EarlyDataOn]),
    ] {
        let more: Vec<&str> = how.split(' ').collect();
        let server = SServer::bare(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &more);
        assert_labels(how, &found(&ca, "a.test", &[server.address()]), wanted, &[]);
    }
}
