//! The prober against real servers: nginx, `openssl s_server`, and sockets that misbehave on purpose.
#![cfg(test)]

mod asking;
mod clients;
mod clock;
mod crl;
mod disk;
mod endpoints;
mod fleet;
mod hello;
mod http;
mod lab;
mod resumption;
#[path = "../rig/mod.rs"]
mod rig;
mod support;

use everleaf::config::spec::{Expect, Roots, StartTls, Target};
use everleaf::ports::{Observation, Shown};
use everleaf::types::Failure;
use rig::{Nginx, SServer, free_port, host, hosts, scratch};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use support::{Ca, How, Leaf, after_plain_text, in_turn, listen, look, look_at, look_how};

fn somewhere() -> SocketAddr {
    SocketAddr::from((host(), free_port()))
}

fn refused(observation: &Observation) -> &Failure {
    match &observation.shown {
        Shown::HandshakeFailed { failure } => failure,
        other => panic!("{other:?}"),
    }
}

fn silent(observation: &Observation) -> &Failure {
    match &observation.shown {
        Shown::Unreachable { failure } => failure,
        other => panic!("{other:?}"),
    }
}

fn broken(observation: &Observation) -> &str {
    match &observation.shown {
        Shown::BrokenChain { message } => message.as_str(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_shows(observation: &Observation, leaf: &Leaf) {
    match &observation.shown {
        Shown::Other { leaf: seen, .. } => assert_eq!(*seen, leaf.print()),
        other => panic!("{other:?}"),
    }
}

fn noted(observation: &Observation, label: &str) -> bool {
    observation.notes.iter().any(|note| note.as_str().starts_with(label))
}

#[test]
fn nginx_shows_the_old_leaf_until_it_is_reloaded() {
    let ca = Ca::new("A");
    let (old, new) = (ca.issue("a.test"), ca.issue("a.test"));
    let dir = scratch("probe");
    let address = somewhere();
    let (chain, key) = old.write(dir.path(), "live", &old.fullchain());
    let nginx = Nginx::start(&Nginx::tls(address, &chain, &key), address);
    assert_eq!(look_at(address, &old).shown, Shown::Wanted);
    new.write(dir.path(), "live", &new.fullchain());
    let before = look_at(address, &new);
    assert_shows(&before, &old);
    assert_eq!(before.matched, 0);
    nginx.reload();
    let after = look_how(address, &new, &How { handshakes: 4, over: Duration::from_millis(300), ..How::default() });
    assert_eq!((after.shown, after.matched, after.notes.len()), (Shown::Wanted, 4, 0));
    assert_eq!(after.address, Some(address));
}

#[test]
fn a_broken_chain_is_named_and_a_harmless_one_noted() {
    let (ca, other) = (Ca::new("A"), Ca::new("B"));
    let leaf = ca.issue("a.test");
    let dir = scratch("probe");
    let (cert, inter, root) = (leaf.cert.as_str(), ca.intermediate(), ca.root());
    let twin = ca.twin();
    let cases: Vec<(String, Option<&str>, Option<&str>)> = vec![
        (format!("{cert}{inter}"), None, None),
        (cert.to_owned(), Some("missing_intermediate"), None),
        (format!("{cert}{root}"), Some("missing_intermediate"), None),
        (format!("{cert}{}", other.intermediate()), Some("wrong_intermediate"), None),
        (format!("{cert}{twin}"), Some("wrong_intermediate"), None),
        (format!("{cert}{inter}{root}"), None, Some("root_included")),
        (format!("{cert}{inter}{inter}"), None, Some("duplicate_in_chain")),
        (format!("{cert}{}{inter}", other.intermediate()), None, Some("extra_in_chain")),
    ];
    let mut http = String::new();
    let mut addresses = Vec::new();
    for (number, (served, _, _)) in cases.iter().enumerate() {
        let address = somewhere();
        let (chain, key) = leaf.write(dir.path(), &number.to_string(), served);
        http.push_str(&Nginx::tls(address, &chain, &key));
        addresses.push(address);
    }
    let _nginx = Nginx::start(&http, addresses[0]);
    for ((_, fault, note), address) in cases.iter().zip(addresses) {
        let seen = look_at(address, &leaf);
        match fault {
            Some(label) => assert!(broken(&seen).starts_with(label), "{seen:?}"),
            None => assert_eq!(seen.shown, Shown::Wanted, "{seen:?}"),
        }
        assert_eq!(seen.notes.len(), usize::from(note.is_some()), "{seen:?}");
        assert!(note.is_none_or(|label| noted(&seen, label)), "{seen:?}");
    }
}

#[test]
fn a_chain_out_of_order_is_named() {
    let ca = Ca::new("A");
    let mut leaf = ca.issue("a.test");
    let extra = Ca::new("B").intermediate().to_owned();
    let served = format!("{extra}{}", leaf.chain);
    // The complete chain has two intermediates here; the server sends them the other way round.
    leaf.chain = format!("{}{extra}", leaf.chain);
    let edge = SServer::start(somewhere(), &leaf.cert, &served, &leaf.key, &[]);
    assert!(broken(&look_at(edge.address(), &leaf)).starts_with("chain_out_of_order"));
}

#[test]
fn the_name_asked_for_chooses_the_virtual_host() {
    let ca = Ca::new("A");
    let (a, b) = (ca.issue("a.test"), ca.issue("b.test"));
    let dir = scratch("probe");
    let address = somewhere();
    let mut http = String::new();
    for leaf in [&a, &b] {
        let (chain, key) = leaf.write(dir.path(), &leaf.name, &leaf.fullchain());
        let listen = format!("server {{ server_name {};", leaf.name);
        http.push_str(&Nginx::tls(address, &chain, &key).replacen("server {", &listen, 1));
    }
    let _ = writeln!(http, "server {{ server_name reject.test; listen {address} ssl; ssl_reject_handshake on; }}");
    let _nginx = Nginx::start(&http, address);
    assert_eq!(look_at(address, &a).shown, Shown::Wanted);
    assert_eq!(look_at(address, &b).shown, Shown::Wanted);
    // Without SNI the first one answers, and without a match too.
    let by_address = How { sni: Some(address.ip().to_string()), ..How::default() };
    assert_shows(&look_how(address, &b, &by_address), &a);
    assert_eq!(look_how(address, &a, &by_address).shown, Shown::Wanted);
    let reject = How { sni: Some("reject.test".into()), ..How::default() };
    assert_eq!(refused(&look_how(address, &a, &reject)).code, "probe:sni_rejected");
}

#[test]
fn what_does_not_speak_tls_is_named() {
    let leaf = Ca::new("A").issue("a.test");
    let http = somewhere();
    let _nginx = Nginx::start(&format!("server {{ listen {http}; return 200 ok; }}"), http);
    let shown = look_at(http, &leaf);
    let failure = refused(&shown);
    assert_eq!(failure.code, "probe:not_tls");
    assert!(failure.message.as_str().contains("HTTP/1.1 400"), "{failure}");
    let banner = listen(somewhere(), |_, mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let shown = look_at(banner, &leaf);
    assert!(refused(&shown).code == "probe:not_tls" && refused(&shown).message.as_str().contains("SSH-2.0"));
    let closes = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    assert_eq!(refused(&look_at(closes, &leaf)).code, "probe:conn_closed");
    let resets = listen(somewhere(), |_, stream| {
        // Closing with bytes unread makes the kernel send RST.
        let _ = stream.peek(&mut [0; 1]);
    });
    assert_eq!(refused(&look_at(resets, &leaf)).code, "probe:conn_reset");
    assert_eq!(silent(&look_at(somewhere(), &leaf)).code, "probe:tcp_refused");
}

#[test]
fn noise_of_any_kind_gets_an_answer_at_once() {
    let leaf = Ca::new("A").issue("a.test");
    // A record header in front of some, so that the noise reaches the handshake's own parser.
    let noisy = listen(somewhere(), |number, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let mut state = u32::try_from(number).unwrap().wrapping_mul(2_654_435_761) | 1;
        let mut noise = vec![[20, 21, 22, 23, 128][number % 5], 3, 3, 0, 60];
        noise.extend((0..65 + number % 7).map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        }));
        noise[5] = [2, 11, 20][number % 3];
        let _ = stream.write_all(&noise[number % 2..]);
    });
    let began = Instant::now();
    for _ in 0..60 {
        let code = refused(&look_at(noisy, &leaf)).code.clone();
        assert!(
            ["probe:not_tls", "probe:handshake_refused", "probe:conn_closed", "probe:conn_reset"].contains(&&*code),
            "{code}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(30), "none of them waited: {:?}", began.elapsed());
}

#[test]
fn a_silent_socket_costs_no_more_than_its_limit() {
    let leaf = Ca::new("A").issue("a.test");
    let listener = TcpListener::bind(somewhere()).unwrap();
    let began = Instant::now();
    let seen = look_at(listener.local_addr().unwrap(), &leaf);
    assert_eq!(silent(&seen).code, "probe:handshake_timeout");
    let took = began.elapsed();
    assert!(Duration::from_secs(10) <= took && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn each_of_two_certificates_is_looked_for_by_its_family() {
    let ca = Ca::new("A");
    let (ecdsa, rsa, old) = (ca.issue("a.test"), ca.issue_rsa("a.test"), ca.issue_rsa("a.test"));
    let dir = scratch("probe");
    let (both, stale, only) = (somewhere(), somewhere(), somewhere());
    let files = [&ecdsa, &rsa, &old].map(|leaf| leaf.write(dir.path(), &leaf.print().short(), &leaf.fullchain()));
    let second = |at: usize| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; return 200 ok;",
            files[at].0.display(),
            files[at].1.display()
        )
    };
    let dual = |address, at| Nginx::tls(address, &files[0].0, &files[0].1).replacen("return 200 ok;", &second(at), 1);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let http = format!(
            "ssl_protocols {protocol};\n{}{}{}",
            dual(both, 1),
            dual(stale, 2),
            Nginx::tls(only, &files[2].0, &files[2].1)
        );
        let _nginx = Nginx::start(&http, both);
        assert_eq!(look_at(both, &ecdsa).shown, Shown::Wanted, "{protocol}");
        assert_eq!(look_at(both, &rsa).shown, Shown::Wanted, "{protocol}");
        assert_eq!(look_at(stale, &ecdsa).shown, Shown::Wanted, "{protocol}");
        assert_shows(&look_at(stale, &rsa), &old);
        // A server that still has only the other family serves the old leaf; its handshake is not broken.
        assert_shows(&look_at(only, &ecdsa), &old);
    }
}

#[test]
fn one_old_worker_is_enough_to_end_the_count() {
    let ca = Ca::new("A");
    let (old, new) = (ca.issue("a.test"), ca.issue("a.test"));
    let address = in_turn(somewhere(), [new.clone(), new.clone(), old.clone(), new.clone()]);
    let how = How { handshakes: 8, over: Duration::from_millis(400), ..How::default() };
    let first = look_how(address, &new, &how);
    assert_shows(&first, &old);
    assert_eq!(first.matched, 2);
    let began = Instant::now();
    let again = look_how(address, &new, &how);
    assert_eq!((again.shown, again.matched), (Shown::Wanted, 8));
    assert!(began.elapsed() >= Duration::from_millis(400), "spread over the span");
}

#[test]
fn an_edge_for_known_clients_can_be_live() {
    let ca = Ca::new("A");
    let (leaf, old) = (ca.issue("a.test"), ca.issue("a.test"));
    let dir = scratch("probe");
    let address = somewhere();
    let (chain, key) = leaf.write(dir.path(), "a", &leaf.fullchain());
    let roots = dir.path().join("clients.pem");
    std::fs::write(&roots, ca.root()).unwrap();
    let mtls = format!("ssl_verify_client on; ssl_client_certificate {}; return 200", roots.display());
    let _nginx = Nginx::start(&Nginx::tls(address, &chain, &key).replacen("return 200", &mtls, 1), address);
    let seen = look_at(address, &leaf);
    assert_eq!((&seen.shown, seen.notes.len()), (&Shown::Wanted, 1));
    assert!(noted(&seen, "a client certificate is asked for"));
    for version in ["-tls1_2", "-tls1_3"] {
        let more = ["-Verify", "1", "-verify_return_error", version];
        let strict = SServer::start(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &more);
        let seen = look_at(strict.address(), &leaf);
        assert_eq!(seen.shown, Shown::Wanted, "{version}: {seen:?}");
        assert_eq!(noted(&seen, "client_cert_required"), version == "-tls1_2", "{seen:?}");
        assert_shows(&look_at(strict.address(), &old), &leaf);
    }
}

#[test]
fn starttls_leads_to_the_certificate() {
    let ca = Ca::new("A");
    let (leaf, old) = (ca.issue("mail.test"), ca.issue("mail.test"));
    let smtp = &["220-mail.test ESMTP\r\n220 hello\r\n", "250-mail.test\r\n250-STARTTLS\r\n250 HELP\r\n", "220 go\r\n"];
    let imap = &["* OK IMAP4rev1\r\n", "a1 OK begin TLS\r\n"];
    for (kind, script) in [(StartTls::Smtp, &smtp[..]), (StartTls::Imap, &imap[..])] {
        let address = after_plain_text(somewhere(), script, &leaf);
        let how = How { starttls: kind, handshakes: 2, ..How::default() };
        assert_eq!(look_how(address, &leaf, &how).shown, Shown::Wanted);
        assert_shows(&look_how(address, &old, &how), &leaf);
        assert_eq!(refused(&look_at(address, &leaf)).code, "probe:not_tls");
    }
    let refusing = &["220 mail.test\r\n", "250-STARTTLS\r\n250 OK\r\n", "454 TLS not available\r\n"];
    let injected = &["220 mail.test\r\n", "250-STARTTLS\r\n250 OK\r\n", "220 go\r\n250 injected\r\n"];
    for script in [refusing, injected] {
        let address = after_plain_text(somewhere(), script, &leaf);
        let seen = look_how(address, &leaf, &How { starttls: StartTls::Smtp, ..How::default() });
        assert_eq!(refused(&seen).code, "probe:starttls_refused");
    }
}

#[test]
fn every_address_of_a_host_is_looked_at() {
    let ca = Ca::new("A");
    let (leaf, old) = (ca.issue("a.test"), ca.issue("a.test"));
    let dir = scratch("probe");
    let (port, at) = (free_port(), hosts()[0]);
    let v4 = SocketAddr::from((at, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let (chain, key) = leaf.write(dir.path(), "new", &leaf.fullchain());
    let (old_chain, old_key) = old.write(dir.path(), "old", &old.fullchain());
    let http = format!("{}{}", Nginx::tls(v4, &chain, &key), Nginx::tls(v6, &old_chain, &old_key));
    let _nginx = Nginx::start(&http, v4);
    assert_shows(&look_at(v6, &leaf), &old);
    assert_eq!(look_at(v6, &old).shown, Shown::Wanted);
    let dns = rig::Bind::start(&rig::BindOptions {
        address: SocketAddr::from((hosts()[1], free_port())),
        zones: vec![("a.test".into(), format!("@ NS ns1\nns1 A {at}\n@ A {at}\n@ AAAA ::1\nempty TXT x"))],
    });
    let how = How { resolvers: vec![dns.address()], ..How::default() };
    let target = |host: &str| Target::Host { host: host.into(), port };
    let seen = look(target("a.test"), &leaf, &how);
    assert_eq!(seen.iter().map(|it| it.address).collect::<Vec<_>>(), [Some(v4), Some(v6)]);
    assert_eq!(seen[0].shown, Shown::Wanted);
    assert_shows(&seen[1], &old);
    for (host, code) in [("empty.a.test", "probe:dns_no_address"), ("none.a.test", "probe:dns_no_address")] {
        let seen = look(target(host), &leaf, &how);
        assert_eq!((seen.len(), seen[0].address, silent(&seen[0]).code.as_str()), (1, None, code));
    }
    let dead = How { resolvers: vec![SocketAddr::from((hosts()[2], free_port()))], ..How::default() };
    assert_eq!(silent(&look(target("a.test"), &leaf, &dead)[0]).code, "probe:dns_failed");
}

#[test]
fn any_valid_certificate_will_do_where_a_cdn_terminates() {
    let (ca, cdn) = (Ca::new("A"), Ca::new("CDN"));
    let ours = ca.issue("a.cdn.test");
    let dir = scratch("probe");
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, format!("{}{}", ca.root(), cdn.root())).unwrap();
    let how = How { expect: Expect::Valid, roots: Roots::File(roots), ..How::default() };
    let served = [
        cdn.issue("a.cdn.test"),
        cdn.issue_rsa("*.cdn.test"),
        Ca::new("Unknown").issue("a.cdn.test"),
        cdn.issue("b.test"),
        Leaf { chain: String::new(), ..cdn.issue("a.cdn.test") },
    ];
    let addresses = served.clone().map(|leaf| in_turn(somewhere(), [leaf]));
    let seen = addresses.map(|address| look_how(address, &ours, &how));
    assert_eq!((&seen[0].shown, &seen[1].shown), (&Shown::Wanted, &Shown::Wanted));
    assert_shows(&seen[2], &served[2]);
    assert!(noted(&seen[2], "untrusted_root"), "{:?}", seen[2]);
    assert_shows(&seen[3], &served[3]);
    assert!(noted(&seen[3], "name_mismatch"), "{:?}", seen[3]);
    assert!(broken(&seen[4]).starts_with("missing_intermediate"));
}
