//! A lab of endpoints, each wrong in one respect or in none: the exact labels of each, and whether curl gets through, who must agree
//! with the verdict. What is said of HTTP, staples and the like has tests of its own.

use crate::rig::{HaProxy, Nginx, SServer, free_port, host, hosts, require, scratch};
use crate::support::{Ca, Leaf, handshake, listen, live, tls};
use everleaf::config::spec::StartTls;
use everleaf::net::dns::Resolver;
use everleaf::pki::Anchors;
use everleaf::probe::chain::Store;
use everleaf::probe::checks::Case;
use everleaf::probe::survey::Surveyor;
use everleaf::probe::target::{Place, Query, Target, Via};
use everleaf::probe::{Finding, Label, Severity};
use everleaf::types::{Identifier, Printable};
use rcgen::KeyPair;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What other tests hold: labels about HTTP and such.
const ELSEWHERE: [&str; 8] = ["hsts_", "http", "h3_", "staple_", "resumption_", "early_", "tickets_", "server_clock_"];

/// Everything that is listed under a CA, in one place.
struct Lab {
    ca: Ca,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { ca: Ca::new("Lab"), dir: scratch("lab") };
        fs::write(lab.roots(), lab.ca.root()).unwrap();
        lab
    }

    fn roots(&self) -> PathBuf {
        self.dir.path().join("roots.pem")
    }

    fn leaf(&self, name: &str, from: i64, to: i64) -> Leaf {
        self.ca.issue_with(name, &KeyPair::generate().unwrap(), |params| live(params, from, to))
    }

    /// An nginx `server` block that serves `chain` for `leaf`'s key; `more` goes into it.
    fn vhost(&self, address: SocketAddr, leaf: &Leaf, chain: &str, more: &str) -> String {
        let stem = format!("{}-{}", leaf.print().short(), free_port());
        let (chain, key) = leaf.write(self.dir.path(), &stem, chain);
        // One ticket key for all, as a fleet should have.
        let tickets = self.dir.path().join("tickets.key");
        fs::write(&tickets, [7; 80]).unwrap();
        let more = format!("ssl_session_ticket_key {}; {more} return 200", tickets.display());
        Nginx::tls(address, &chain, &key).replacen("return 200", &more, 1)
    }

    fn found(&self, name: &str, addresses: &[SocketAddr], change: impl FnOnce(&mut Query)) -> Vec<Finding> {
        let name: Identifier = name.parse().unwrap();
        let place = |address: &SocketAddr| Place { host: Identifier::Ip(address.ip()), port: Some(address.port()) };
        let anchors = Anchors::from_pem(&fs::read(self.roots()).unwrap(), "lab").unwrap();
        let store =
            Store { name: "lab".into(), anchors: Rc::new(anchors), source: everleaf::probe::chain::Source::File };
        let mut query = Query {
            target: Target { host: name.clone(), port: addresses[0].port() },
            connect: addresses.iter().map(|address| Via { place: place(address), node: None }).collect(),
            name,
            send_name: true,
            starttls: StartTls::No,
            stores: vec![store].into(),
            pins: Vec::new().into(),
            quick: false,
            crl: false,
            client: None,
            others: [].into(),
            http_port: None,
            vantage: Printable::new("lab"),
        };
        change(&mut query);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let survey = runtime.block_on(async {
            let resolver = Rc::new(Resolver::new(&["127.0.0.1:9".parse().unwrap()]).unwrap());
            Surveyor::new(resolver, Rc::new(crate::support::SystemClock), 200).unwrap().survey(query).await.unwrap()
        });
        let mut findings = Case::new(&survey).verdict().findings().to_vec();
        findings.retain(|it| !ELSEWHERE.iter().any(|prefix| it.label.as_str().starts_with(prefix)));
        findings
    }

    /// Holds what is said of `name` at `addresses` to `wanted`, and, for one address, the verdict to what curl does.
    #[track_caller]
    fn holds(&self, name: &str, addresses: &[SocketAddr], wanted: &[Label]) -> Vec<Finding> {
        let found = self.found(name, addresses, |_| {});
        let mut labels: Vec<Label> = found.iter().map(|it| it.label).collect();
        let mut wanted = wanted.to_vec();
        labels.sort();
        wanted.sort();
        assert_eq!(labels, wanted, "{name} at {addresses:?}: {found:#?}");
        if let [address] = addresses {
            let passes = found.iter().all(|it| it.label.severity() < Severity::Fail);
            assert_eq!(self.curl(name, *address), passes, "curl and the verdict on {name} at {address}: {found:#?}");
        }
        found
    }

    /// Whether curl gets an answer.
    fn curl(&self, name: &str, address: SocketAddr) -> bool {
        let port = address.port();
        let (url, instead) = (format!("https://{name}:{port}/"), format!("{name}:{port}:{address}"));
        let mut command = Command::new(require("curl"));
        command.args([
            "-sS",
            "-o",
            "/dev/null",
            "--max-time",
            "5",
            "--noproxy",
            "*",
            "--connect-to",
            &instead,
            "--cacert",
        ]);
        command.arg(self.roots()).arg(url).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

/// Good but for that nobody else signed it.
pub(crate) fn self_signed(name: &str) -> Leaf {
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    live(&mut params, -1, 89);
    let certificate = params.self_signed(&key).unwrap();
    Leaf {
        name: name.to_owned(),
        family: everleaf::types::KeyFamily::Ecdsa,
        cert: certificate.pem(),
        chain: String::new(),
        key: key.serialize_pem(),
    }
}

fn somewhere() -> SocketAddr {
    SocketAddr::from((host(), free_port()))
}

#[test]
fn what_is_wrong_with_a_certificate_is_named_and_nothing_else() {
    use Label::*;
    let (lab, other) = (Lab::new(), Ca::new("Other"));
    let (inter, root) = (lab.ca.intermediate().to_owned(), lab.ca.root().to_owned());
    let good = lab.leaf("a.test", -1, 89);
    let foreign = other.issue("a.test");
    let own = self_signed("a.test");
    let rsa = lab.ca.issue_rsa("a.test");
    let late = lab.leaf("a.test", -89, -1);
    let cases: Vec<(&Leaf, String, &str, Vec<Label>)> = vec![
        (&good, good.fullchain(), "a.test", vec![Ok]),
        (&good, good.cert.clone(), "a.test", vec![MissingIntermediate]),
        (&good, format!("{}{}", good.cert, other.intermediate()), "a.test", vec![WrongIntermediate]),
        (&good, format!("{}{}", good.cert, lab.ca.twin()), "a.test", vec![WrongIntermediate]),
        (&good, format!("{}{root}", good.fullchain()), "a.test", vec![RootIncluded, Ok]),
        (&good, format!("{}{inter}", good.fullchain()), "a.test", vec![DuplicateInChain, Ok]),
        (&good, format!("{}{}", good.fullchain(), other.intermediate()), "a.test", vec![ExtraInChain, Ok]),
        (&foreign, foreign.fullchain(), "a.test", vec![UntrustedRoot]),
        (&own, own.cert.clone(), "a.test", vec![SelfSigned]),
        (&good, good.fullchain(), "b.test", vec![NameMismatch]),
        (&late, late.fullchain(), "a.test", vec![Expired]),
        (&late, late.cert.clone(), "a.test", vec![Expired, MissingIntermediate]),
        (&rsa, rsa.fullchain(), "a.test", vec![Ok]),
    ];
    let early = lab.leaf("a.test", 2, 92);
    let soon = lab.leaf("a.test", -80, 10);
    let wild = lab.leaf("*.a.test", -1, 89);
    let cases = cases.into_iter().chain([
        (&early, early.fullchain(), "a.test", vec![NotYetValid]),
        (&soon, soon.fullchain(), "a.test", vec![ExpiringSoon]),
        (&wild, wild.fullchain(), "x.a.test", vec![Ok]),
        (&wild, wild.fullchain(), "x.y.a.test", vec![NameMismatch]),
    ]);
    let cases: Vec<_> = cases.map(|(leaf, chain, name, labels)| (somewhere(), leaf, chain, name, labels)).collect();
    let http: String = cases.iter().map(|(address, leaf, chain, ..)| lab.vhost(*address, leaf, chain, "")).collect();
    let _nginx = Nginx::start(&http, cases[0].0);
    for (address, _, _, name, labels) in &cases {
        lab.holds(name, &[*address], labels);
    }
    // By its address, which must stand in the certificate as an address.
    let address = cases[0].0;
    lab.holds(&address.ip().to_string(), &[address], &[NameMismatch]);
}

#[test]
fn both_certificates_of_a_server_are_judged() {
    let lab = Lab::new();
    let (ecdsa, rsa) = (lab.leaf("a.test", -1, 89), lab.ca.issue_rsa("a.test"));
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let old = lab.ca.issue_with("a.test", &key, |params| live(params, -90, -2));
    let [both, stale] = [somewhere(), somewhere()];
    let mut http = String::new();
    for (address, second) in [(both, &rsa), (stale, &old)] {
        let (chain, key) = second.write(lab.dir.path(), &second.print().short(), &second.fullchain());
        let more = format!("ssl_certificate {}; ssl_certificate_key {};", chain.display(), key.display());
        http.push_str(&lab.vhost(address, &ecdsa, &ecdsa.fullchain(), &more));
    }
    let _nginx = Nginx::start(&http, both);
    lab.holds("a.test", &[both], &[Label::Ok]);
    let found = lab.found("a.test", &[stale], |_| {});
    assert_eq!(found[0].label, Label::Expired, "{found:#?}");
    assert!(found.len() == 1 && found[0].seen.as_str().ends_with("(the rsa certificate)"), "{found:#?}");
}

#[test]
fn a_name_that_gets_anothers_certificate_is_told_from_a_certificate_without_the_name() {
    use Label::*;
    let lab = Lab::new();
    let [a, b, right] = ["a.test", "b.test", "c.test"].map(|name| lab.leaf(name, -1, 89));
    let [two, default, typo, strict, lost] = [(); 5].map(|()| somewhere());
    let named =
        |address, leaf: &Leaf, name: &str| lab.vhost(address, leaf, &leaf.fullchain(), &format!("server_name {name};"));
    let mut http = String::new();
    for text in [
        named(two, &a, "a.test"),
        named(two, &b, "b.test"),
        // The right certificate is the default one, and the name leads elsewhere.
        named(default, &right, "_"),
        named(default, &b, "c.test"),
        // c.test's own host is spelt otherwise, and the default one answers.
        named(typo, &a, "a.test"),
        named(typo, &right, "www.c.test"),
        // The virtual host of b.test takes c.test as well.
        named(lost, &a, "a.test"),
        named(lost, &b, "b.test c.test"),
        named(strict, &a, "a.test"),
    ] {
        http.push_str(&text);
    }
    let _ = writeln!(http, "server {{ listen {strict} ssl default_server; ssl_reject_handshake on; }}");
    let _nginx = Nginx::start(&http, two);
    lab.holds("a.test", &[two], &[Ok]);
    lab.holds("b.test", &[two], &[SniRequired, Ok]);
    lab.holds("c.test", &[default], &[SniMisroute]);
    lab.holds("c.test", &[typo], &[SniMisroute]);
    lab.holds("c.test", &[lost], &[SniMisroute]);
    lab.holds("a.test", &[strict], &[SniRequired, Ok]);
    lab.holds("c.test", &[strict], &[SniRejected]);
    // Of a name that is known to be served here nobody sees from outside; who names it has it asked for.
    lab.holds("c.test", &[two], &[NameMismatch]);
    let others = |query: &mut Query| query.others = ["c.test", "b.test"].map(|it| it.parse().unwrap()).into();
    let found = lab.found("c.test", &[two], others);
    assert!(found.len() == 1 && found[0].label == SniMisroute, "{found:#?}");
    assert!(found[0].seen.as_str().contains("other names get their own"), "{found:#?}");
    // The same to whoever asks: it is simply another's certificate.
    let one = SServer::start(somewhere(), &a.cert, &a.chain, &a.key, &[]);
    lab.holds("c.test", &[one.address()], &[NameMismatch]);
    let found = lab.found("c.test", &[default], |query| query.send_name = false);
    assert_eq!(found.iter().map(|it| it.label).collect::<Vec<_>>(), [Ok], "{found:#?}");
}

#[test]
fn what_is_agreed_on_and_what_is_asked_of_clients() {
    use Label::*;
    let lab = Lab::new();
    let leaf = lab.leaf("a.test", -1, 89);
    let start = |more: &[&str]| SServer::start(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, more);
    let roots = lab.roots().display().to_string();
    let asking = |more: &[&'static str]| {
        let more: Vec<&str> = ["-CAfile", &roots].into_iter().chain(more.iter().copied()).collect();
        start(&more)
    };
    let cases = [
        (start(&[]), vec![Ok]),
        (start(&["-tls1_3"]), vec![Tls13Only, Ok]),
        (start(&["-tls1_2"]), vec![Ok]),
        (asking(&["-verify", "1"]), vec![ClientCertOptional, Ok]),
        (asking(&["-verify", "1", "-tls1_2"]), vec![ClientCertOptional, Ok]),
        (asking(&["-Verify", "1", "-verify_return_error", "-tls1_3"]), vec![ClientCertRequired, Tls13Only]),
        (asking(&["-Verify", "1", "-verify_return_error", "-tls1_2"]), vec![ClientCertRequired]),
    ];
    for (server, labels) in &cases {
        lab.holds("a.test", &[server.address()], labels);
    }
    let required = lab.found("a.test", &[cases[5].0.address()], |_| {});
    assert!(required[0].seen.as_str().contains("issued by CN=Lab Root"), "{required:#?}");
    // As rustls' servers do: no protocol in common is an alert.
    let mut config = Arc::unwrap_or_clone(tls([leaf.clone()]));
    let plain = Arc::new(config.clone());
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let config = Arc::new(config);
    let picky = listen(somewhere(), move |_, stream| handshake(&config, stream));
    let found = lab.found("a.test", &[picky], |_| {});
    assert!(found.len() == 1 && found[0].label == AlpnRejected, "{found:#?}");
    assert!(found[0].seen.as_str().contains("it works"), "{found:#?}");
    let plain = listen(somewhere(), move |_, stream| handshake(&plain, stream));
    let found = lab.found("a.test", &[plain], |_| {});
    assert!(found.iter().all(|it| it.label == Ok), "{found:#?}");
}

#[test]
fn haproxy_with_a_certificate_for_each_name() {
    let lab = Lab::new();
    let address = somewhere();
    let crt = lab.dir.path().join("crt");
    fs::create_dir(&crt).unwrap();
    for name in ["a.test", "b.test"] {
        let leaf = lab.leaf(name, -1, 89);
        fs::write(crt.join(format!("{name}.pem")), format!("{}{}", leaf.fullchain(), leaf.key)).unwrap();
    }
    let sections = format!(
        "frontend web\n    bind {address} ssl crt {}/ strict-sni alpn h2,http/1.1\n    http-request return status 200",
        crt.display()
    );
    let _haproxy = HaProxy::start("", &sections, address);
    lab.holds("a.test", &[address], &[Label::SniRequired, Label::Ok]);
    lab.holds("b.test", &[address], &[Label::SniRequired, Label::Ok]);
    let found = lab.found("c.test", &[address], |_| {});
    assert!(matches!(found[..], [Finding { label: Label::SniRejected | Label::HandshakeRefused, .. }]), "{found:#?}");
    assert!(!lab.curl("c.test", address));
}

#[test]
fn addresses_of_one_name_are_held_against_each_other() {
    use Label::*;
    let lab = Lab::new();
    let (good, old, other) = (lab.leaf("a.test", -1, 89), lab.leaf("a.test", -60, 30), lab.leaf("b.test", -1, 89));
    let (recent, late) = (lab.leaf("a.test", -3, 87), lab.leaf("a.test", -90, -1));
    let rsa = lab.ca.issue_rsa("a.test");
    let addresses: Vec<SocketAddr> = (0..10).map(|place| SocketAddr::from((hosts()[place % 3], free_port()))).collect();
    let at = |place: usize| addresses[place];
    let full = |leaf: &Leaf| leaf.fullchain();
    let blocks = [
        (at(0), &good, full(&good), ""),
        (at(1), &good, full(&good), ""),
        (at(2), &old, full(&old), ""),
        (at(3), &good, good.cert.clone(), ""),
        (at(4), &other, full(&other), ""),
        (at(5), &recent, full(&recent), ""),
        (at(6), &rsa, full(&rsa), ""),
        (at(7), &good, full(&good), "ssl_protocols TLSv1.2 TLSv1.3;"),
        (at(8), &late, full(&late), ""),
    ];
    let http: String =
        blocks.iter().map(|(address, leaf, chain, more)| lab.vhost(*address, leaf, chain, more)).collect();
    let _nginx = Nginx::start(&http, at(0));
    let nobody = at(9);
    let fleet = |places: &[usize]| places.iter().map(|place| at(*place)).collect::<Vec<_>>();
    let (fine, stale, chain, elsewhere, mixed) = ([0, 1], [0, 1, 2], [0, 1, 3], [0, 4], [0, 5]);
    lab.holds("a.test", &fleet(&fine), &[Ok]);
    let found = lab.holds("a.test", &fleet(&stale), &[StaleNode]);
    assert_eq!(found[0].address, Some(at(2)));
    lab.holds("a.test", &fleet(&[2, 0]), &[StaleNode]);
    lab.holds("a.test", &fleet(&[0, 8]), &[StaleNode]);
    let found = lab.holds("a.test", &fleet(&chain), &[NodeChainBroken]);
    assert_eq!(found[0].address, Some(at(3)));
    lab.holds("a.test", &fleet(&[3]), &[MissingIntermediate]);
    let found = lab.holds("a.test", &fleet(&elsewhere), &[NodeSniBroken]);
    assert_eq!(found[0].address, Some(at(4)));
    // Each issued its own, three days apart; and one of each key family.
    lab.holds("a.test", &fleet(&mixed), &[FleetMixedCerts, Ok]);
    lab.holds("a.test", &fleet(&[0, 6]), &[FleetMixedCerts, Ok]);
    // Where the others share one, an older one was left behind.
    lab.holds("a.test", &fleet(&[0, 1, 5]), &[StaleNode]);
    let found = lab.holds("a.test", &fleet(&[0, 1, 7]), &[NodePolicyDiffers]);
    assert_eq!(found[0].address, Some(at(7)));
    lab.holds("a.test", &fleet(&[7]), &[Ok]);
    let found = lab.holds("a.test", &[at(0), nobody], &[NodeDown]);
    assert_eq!(found[0].address, Some(nobody));
    // All alike is one finding, and two causes are two.
    let found = lab.holds("b.test", &fleet(&fine), &[NameMismatch]);
    assert_eq!(found[0].address, None);
    lab.holds("a.test", &[at(0), at(1), at(2), nobody], &[StaleNode, NodeDown]);
}

#[test]
fn what_does_not_come_to_tls_is_told_apart() {
    use Label::*;
    let lab = Lab::new();
    let http = somewhere();
    let _nginx = Nginx::start(&format!("server {{ listen {http}; return 200 ok; }}"), http);
    let banner = listen(somewhere(), |_, mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let closes = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let resets = listen(somewhere(), |_, stream| {
        // Closing with bytes unread makes the kernel send RST.
        let _ = stream.peek(&mut [0; 1]);
    });
    let cases =
        [(http, NotTls), (banner, NotTls), (closes, ConnClosed), (resets, ConnReset), (somewhere(), TcpRefused)];
    for (address, label) in cases {
        lab.holds("a.test", &[address], &[label]);
    }
    // Slow to everybody, and slow to the first who came.
    let leaf = lab.leaf("a.test", -1, 89);
    let delayed = |whom: usize| {
        let config = tls([leaf.clone()]);
        listen(somewhere(), move |number, stream| {
            if number < whom {
                std::thread::sleep(Duration::from_millis(3_200));
            }
            handshake(&config, stream);
        })
    };
    for (whom, label) in [(usize::MAX, HandshakeSlow), (1, Ok)] {
        let found = lab.found("a.test", &[delayed(whom)], |_| {});
        assert!(found.len() == 1 && found[0].label == label, "{found:#?}");
    }
    // Many silent ones cost their time once, side by side.
    let silent: Vec<TcpListener> = (0..40).map(|_| TcpListener::bind(somewhere()).unwrap()).collect();
    let silent: Vec<SocketAddr> = silent.iter().map(|it| it.local_addr().unwrap()).collect();
    let began = Instant::now();
    let found = lab.found("a.test", &silent, |_| {});
    assert!(found.len() == 1 && found[0].label == HandshakeTimeout && found[0].address.is_none(), "{found:#?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn starttls_services_are_judged_like_any_other() {
    let lab = Lab::new();
    let leaf = lab.leaf("a.test", -1, 89);
    let mysql: &[u8] = b"\x49\0\0\0\x0a8.4.3\0\x01\0\0\0abcdefgh\0\xff\xff\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0\
        abcdefghijkl\0caching_sha2_password\0";
    let kinds: [(StartTls, Vec<&[u8]>); 6] = [
        (StartTls::Smtp, vec![b"220 hi\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"]),
        (StartTls::Imap, vec![b"* OK hi\r\n", b"a1 OK go\r\n"]),
        (StartTls::Pop3, vec![b"+OK hi\r\n", b"+OK go\r\n"]),
        (StartTls::Postgres, vec![b"", b"S"]),
        (StartTls::Mysql, vec![mysql]),
        (StartTls::Ldap, vec![b"", b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"]),
    ];
    for (kind, script) in kinds {
        let config = tls([leaf.clone()]);
        let address = listen(somewhere(), move |_, mut stream| {
            for (at, line) in script.iter().enumerate() {
                let _ = stream.write_all(line);
                let last = at + 1 == script.len();
                // MySQL's client answers the greeting with exactly 36 octets, and TLS follows at once.
                if last && kind == StartTls::Mysql {
                    let _ = stream.read_exact(&mut [0; 36]);
                } else if !last && !matches!(stream.read(&mut [0; 256]), Ok(count) if count > 0) {
                    return;
                }
            }
            handshake(&config, stream);
        });
        let found = lab.found("a.test", &[address], |query| query.starttls = kind);
        assert!(found.iter().all(|it| it.label == Label::Ok), "{kind:?}: {found:#?}");
        let refuses = listen(somewhere(), |_, mut stream| {
            let _ = stream.write_all(b"N");
        });
        let found = lab.found("a.test", &[refuses], |query| query.starttls = kind);
        let labels: Vec<Label> = found.iter().map(|it| it.label).collect();
        assert!(
            matches!(labels[..], [Label::StarttlsRefused | Label::ConnClosed | Label::ConnReset]),
            "{kind:?}: {found:#?}"
        );
    }
}
