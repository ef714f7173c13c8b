//! What rustls cannot speak, told from hellos of our own making: against servers that speak nothing else, each beside one that is
//! well.

use super::asking::{assert_labels, found};
use super::rig::{Daemon, Nginx, SServer, free_port, require, run, scratch};
use super::somewhere;
use super::support::{Ca, Leaf, listen};
use everleaf::config::spec::StartTls;
use everleaf::probe::Label;
use everleaf::probe::survey::hello::{self, Answer, Offer};
use nix::sched::{CloneFlags, unshare};
use rcgen::SanType;
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A group of 1024 bits, whose making takes seconds: `openssl dhparam 1024`.
const DH_1024: &str = "-----BEGIN DH PARAMETERS-----
MIGHAoGBAKKbji5Tej4abl6vegCoEBj921pYIQVe7ZcT8FDoaFaQOZLe5xkgwJdU
kDjKM2h3m3+SNl3ye5n1jYO+nKlIkS8YcUdxtBzS5CnibxUjL1Qald0x+vnLVja6
u0xyJmbImi2ZvlF8FcDHJ3POkVrlHbA9RLYGS2kTTG7iuAakfWVnAgEC
-----END DH PARAMETERS-----
";

/// Groups of 1024 and of 2048 bits in `dir`.
fn groups(dir: &Path) -> [String; 2] {
    let [short, long] = ["1024", "2048"].map(|name| dir.join(name).display().to_string());
    std::fs::write(&short, DH_1024).unwrap();
    let genpkey = ["genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", &long];
    run(Command::new(require("openssl")).args(genpkey), None);
    [short, long]
}

fn wait_for<T>(asking: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(asking)
}

fn name_of(leaf: &Leaf) -> ServerName<'static> {
    ServerName::try_from(leaf.name.clone()).unwrap()
}

fn ask(address: SocketAddr, leaf: &Leaf, offer: Offer) -> Answer {
    wait_for(hello::ask(address, &name_of(leaf), StartTls::No, offer))
}

/// The labels found, and that what was seen holds `words`.
#[track_caller]
fn assert_found(what: &str, address: SocketAddr, (ca, leaf): (&Ca, &Leaf), wanted: &[Label], words: &[&str]) {
    let wanted = if wanted.is_empty() { &[Label::Ok][..] } else { wanted };
    assert_labels(what, &found(ca, &leaf.name, &[address]), wanted, words);
}

/// Whose certificate, how the server is started, more of that, the labels, words of the evidence.
type Case<'a> = (&'a Leaf, &'a str, &'a str, &'a [Label], &'a [&'a str]);

#[test]
fn openssl_shows_why_it_was_refused() {
    use Label::{NoCommonCipher, Ok, ProtocolTooOld, Tls13Only, WeakCipher, WeakDh};
    let ca = Ca::new("A");
    let (ecdsa, rsa) = (ca.issue("a.test"), ca.issue_rsa("a.test"));
    let dir = scratch("dh");
    let [short, long] = groups(dir.path());
    let (dhe_short, dhe_long) = (format!("-dhparam {short}"), format!("-dhparam {long}"));
    let cases: [Case<'_>; 28] = [
        (&rsa, "-tls1_1 -cipher ALL@SECLEVEL=0", "", &[ProtocolTooOld], &["TLS 1.1"]),
        (&ecdsa, "-tls1 -cipher ALL@SECLEVEL=0", "", &[ProtocolTooOld], &["TLS 1.0"]),
        // At the usual security level it does not even come to TLS 1.1.
        (&rsa, "-tls1_1", "", &[ProtocolTooOld], &["TLS 1.2 and 1.3 are refused", "protocol_version (70)"]),
        (&rsa, "-tls1_1 -cipher DHE@SECLEVEL=0", &dhe_short, &[ProtocolTooOld, WeakDh], &["TLS 1.1", "1024 bits"]),
        (&rsa, "-tls1_2", "", &[], &[]),
        (&rsa, "-tls1_2 -cipher AES128-SHA", "", &[WeakCipher], &["TLS_RSA_WITH_AES_128_CBC_SHA", "static key"]),
        (&rsa, "-tls1_2 -cipher AES128-GCM-SHA256", "", &[WeakCipher], &["TLS_RSA_WITH_AES_128_GCM_SHA256"]),
        (&ecdsa, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", "", &[WeakCipher], &["CBC, SHA-1"]),
        (&ecdsa, "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384", "", &[WeakCipher], &["CBC;"]),
        (&rsa, "-tls1_2 -cipher ECDHE-RSA-AES128-SHA:AES128-SHA:AES256-SHA256", "", &[WeakCipher], &[]),
        (&ecdsa, "-tls1_2 -cipher AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256", "", &[], &[]),
        (&rsa, "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256@SECLEVEL=0", &dhe_short, &[WeakDh], &["1024 bits"]),
        (&rsa, "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", &dhe_long, &[WeakCipher], &["2048 bits"]),
        (&rsa, "-tls1_2 -cipher DHE:ECDHE-RSA-AES128-GCM-SHA256@SECLEVEL=0", &dhe_short, &[], &[]),
        (&ecdsa, "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "", &[NoCommonCipher], &["handshake_failure (40)"]),
        (&rsa, "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "", &[NoCommonCipher], &["protocol_version (70)"]),
        (&rsa, "-tls1_2 -groups P-521", "", &[NoCommonCipher], &["secp521r1"]),
        (&ecdsa, "-tls1_3 -groups X448", "", &[NoCommonCipher], &["X448"]),
        (&ecdsa, "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "", &[NoCommonCipher], &["TLS_AES_128_CCM_SHA256"]),
        (&ecdsa, "-tls1_3", "", &[Tls13Only, Ok], &[]),
        // TLS 1.2 beside a TLS 1.3 that works: for nobody, for old clients, for OpenSSL's, for all.
        (
            &ecdsa,
            "-cipher ECDHE-RSA-AES128-GCM-SHA256",
            "",
            &[Tls13Only, Ok],
            &["TLS 1.2 is on, and cannot be had", "to all suites"],
        ),
        (&rsa, "-cipher ECDHE-ECDSA-AES128-GCM-SHA256", "", &[Tls13Only, Ok], &[]),
        (&ecdsa, "-cipher ECDHE-ECDSA-AES128-CCM", "", &[Tls13Only, Ok], &["TLS_ECDHE_ECDSA_WITH_AES_128_CCM"]),
        (&rsa, "-cipher DHE-RSA-AES128-GCM-SHA256@SECLEVEL=0", &dhe_short, &[Tls13Only, Ok], &["1024 bits"]),
        (&rsa, "-cipher DHE-RSA-AES128-GCM-SHA256", &dhe_long, &[Ok], &[]),
        (&rsa, "-cipher AES128-GCM-SHA256", "", &[WeakCipher], &["static key", "TLS 1.3 works"]),
        (&ecdsa, "-cipher ECDHE-ECDSA-AES256-SHA", "", &[WeakCipher], &["CBC, SHA-1"]),
        (&ecdsa, "-cipher ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-GCM-SHA256", "", &[Ok], &[]),
    ];
    let servers = cases.map(|(leaf, how, dh, ..)| {
        let more: Vec<&str> = how.split(' ').chain(dh.split(' ').filter(|word| !word.is_empty())).collect();
        SServer::start(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &more)
    });
    for ((leaf, how, dh, wanted, words), server) in cases.iter().zip(&servers) {
        assert_found(&format!("{how} {dh}"), server.address(), (&ca, leaf), wanted, words);
    }
}

#[test]
fn nginx_shows_why_it_was_refused() {
    use Label::{NoCommonCipher, ProtocolTooOld, Tls13Only, WeakCipher, WeakDh};
    let ca = Ca::new("A");
    let (ecdsa, rsa) = (ca.issue("a.test"), ca.issue_rsa("a.test"));
    let dir = scratch("nginx-hello");
    let [short, long] = groups(dir.path());
    let [with_short, with_long] =
        [short, long].map(|path| format!("ssl_dhparam {path}; ssl_protocols TLSv1.2; ssl_ciphers"));
    let cases: [(&Leaf, String, &[Label]); 10] = [
        (&ecdsa, String::new(), &[]),
        (&ecdsa, "ssl_protocols TLSv1.2;".into(), &[]),
        (&ecdsa, "ssl_protocols TLSv1.3;".into(), &[Tls13Only, Label::Ok]),
        (
            &ecdsa,
            "ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;".into(),
            &[Tls13Only, Label::Ok],
        ),
        (&rsa, "ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;".into(), &[ProtocolTooOld]),
        (&rsa, "ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA:DES-CBC3-SHA;".into(), &[WeakCipher]),
        (&ecdsa, "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;".into(), &[NoCommonCipher]),
        (&rsa, format!("{with_short} DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0;"), &[WeakDh]),
        (&rsa, format!("{with_short} DHE-RSA-AES128-GCM-SHA256:AES128-SHA:@SECLEVEL=0;"), &[WeakCipher]),
        (&rsa, format!("{with_long} DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;"), &[]),
    ];
    let places: Vec<SocketAddr> = cases.iter().map(|_| somewhere()).collect();
    let mut http = String::new();
    for ((leaf, how, _), place) in cases.iter().zip(&places) {
        let (chain, key) = leaf.write(dir.path(), &leaf.print().short(), &leaf.fullchain());
        http.push_str(&Nginx::tls(*place, &chain, &key).replacen("return", &format!("{how} return"), 1));
    }
    let _nginx = Nginx::start(&http, places[0]);
    for ((leaf, how, wanted), place) in cases.iter().zip(&places) {
        assert_found(how, *place, (&ca, leaf), wanted, &[]);
    }
}

/// `gnutls-serv` listens on every interface there is: it gets a network of its own, in which there is only loopback.
#[test]
fn gnutls_shows_why_it_was_refused() {
    use Label::{NoCommonCipher, ProtocolTooOld, WeakCipher, WeakDh};
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: these tests run as root");
    run(Command::new(require("ip")).args(["link", "set", "lo", "up"]), None);
    let ca = Ca::new("A");
    let (ecdsa, rsa) = (ca.issue("a.test"), ca.issue_rsa("a.test"));
    let dir = scratch("gnutls");
    let [short, _] = groups(dir.path());
    let tls12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2";
    let cases: [(&Leaf, String, &[Label]); 10] = [
        (&ecdsa, "NORMAL".into(), &[]),
        (&ecdsa, tls12.into(), &[]),
        (&rsa, "NORMAL:-VERS-ALL:+VERS-TLS1.1".into(), &[ProtocolTooOld]),
        (&ecdsa, "NORMAL:-VERS-ALL:+VERS-TLS1.0:+VERS-TLS1.1".into(), &[ProtocolTooOld]),
        (&rsa, format!("{tls12}:-KX-ALL:+RSA"), &[WeakCipher]),
        // The file's 1024 bits are for clients that name no group (RFC 7919); others get one of 2048.
        (&rsa, format!("{tls12}:-KX-ALL:+DHE-RSA"), &[WeakCipher]),
        (&rsa, format!("{tls12}:-KX-ALL:+DHE-RSA:-GROUP-ALL"), &[WeakDh]),
        (&ecdsa, format!("{tls12}:-KX-ALL:+ECDHE-RSA"), &[NoCommonCipher]),
        (&ecdsa, format!("{tls12}:-CIPHER-ALL:+AES-128-CCM"), &[NoCommonCipher]),
        (&ecdsa, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1".into(), &[NoCommonCipher]),
    ];
    for (leaf, priority, wanted) in cases {
        let (chain, key) = leaf.write(dir.path(), &leaf.print().short(), &leaf.fullchain());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new(require("gnutls-serv"));
        command.args(["--http", "--quiet", "--disable-client-cert", "--priority", &priority, "--dhparams", &short]);
        command.arg(format!("--port={}", address.port()));
        command.arg("--x509certfile").arg(chain).arg("--x509keyfile").arg(key);
        let mut server = Daemon::spawn("gnutls-serv", &command, dir.path());
        server.await_port(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())));
        assert_found(&priority, address, (&ca, leaf), wanted, &[]);
    }
}

#[test]
fn who_refuses_everything_alike_is_told_as_seen() {
    let ca = Ca::new("A");
    let leaf = ca.issue("a.test");
    let always = |answer: &'static [u8]| {
        listen(somewhere(), move |_, mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 4096]);
        })
    };
    let alert = "to any version with any suite it says the same";
    for (answer, label, words) in [
        (&[21, 3, 3, 0, 2, 2, 40][..], Label::HandshakeRefused, ["handshake_failure (40)", alert]),
        (&[21, 3, 1, 0, 2, 2, 80], Label::HandshakeRefused, ["internal_error (80)", alert]),
        (&[21, 3, 1, 0, 2, 2, 200], Label::HandshakeRefused, ["unknown (200)", alert]),
        (&[21, 3, 1, 0, 2, 2, 70], Label::ProtocolTooOld, ["protocol_version (70)", "TLS 1.0 and 1.1"]),
        // A warning and nothing after it.
        (&[21, 3, 1, 0, 2, 2, 112], Label::SniRejected, ["unrecognized_name (112)", ""]),
    ] {
        assert_found(&format!("{answer:?}"), always(answer), (&ca, &leaf), &[label], &words);
    }
}

#[test]
fn whatever_is_sent_back_costs_no_more_than_its_bounds() {
    let leaf = Ca::new("A").issue("a.test");
    let silent = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        std::thread::sleep(Duration::from_secs(60));
    });
    let slow = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        for byte in [22, 3, 3, 64, 0].into_iter().chain([2; 1000]) {
            let _ = stream.write_all(&[byte]);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    // A message that never ends, in records that are as they should be.
    let endless = listen(somewhere(), |_, mut stream| {
        let mut record = vec![22, 3, 3, 64, 0, 11, 7, 255, 255];
        record.resize(5 + (1 << 14), 0);
        while stream.write_all(&record).is_ok() {
            record[5..9].fill(0);
        }
    });
    let began = Instant::now();
    for (address, label, words) in [
        (silent, Label::HandshakeTimeout, "within 5 s"),
        (slow, Label::HandshakeTimeout, "within 5 s"),
        (endless, Label::HandshakeRefused, "too long"),
    ] {
        let answer = ask(address, &leaf, Offer::Everything);
        let hello::End::Broken(trouble) = &answer.end else { panic!("{answer:?}") };
        assert!(trouble.label == label && trouble.message.contains(words), "{trouble:?}");
        assert_eq!(answer.version, None);
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn more_certificates_than_clients_read_are_counted_in_the_clear_and_behind_encryption() {
    let ca = Ca::new("A");
    let names: Vec<String> = (0..3000).map(|number| format!("shop-number-{number}.a.test")).collect();
    let [large, well] = [3000, 1000].map(|count| {
        ca.issue_with("a.test", &rcgen::KeyPair::generate().unwrap(), |params| {
            params
                .subject_alt_names
                .extend(names[..count].iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap())));
        })
    });
    for (how, in_the_clear) in [("-tls1_2", true), ("-tls1_3", false)] {
        let server = SServer::start(somewhere(), &large.cert, &large.chain, &large.key, &[how]);
        let answer = ask(server.address(), &large, Offer::Everything);
        assert_eq!(answer.certificate_bytes.is_some_and(|bytes| bytes > 65_536), in_the_clear, "{how}");
        assert_found(how, server.address(), (&ca, &large), &[Label::CertTooLarge], &[]);
    }
    let server = SServer::start(somewhere(), &well.cert, &well.chain, &well.key, &[]);
    assert_found("30 KB", server.address(), (&ca, &well), &[], &[]);
}

#[test]
fn certificates_shown_to_a_client_that_is_refused_are_judged_as_well() {
    let ca = Ca::new("A");
    let leaf = ca.issue_rsa("a.test");
    let (incomplete, other) = (Leaf { chain: String::new(), ..leaf.clone() }, ca.issue_rsa("b.test"));
    for (served, how, wanted) in [
        (&leaf, "-tls1_1 -cipher ALL@SECLEVEL=0", &[Label::ProtocolTooOld][..]),
        (&incomplete, "-tls1_1 -cipher ALL@SECLEVEL=0", &[Label::ProtocolTooOld, Label::MissingIntermediate]),
        (&other, "-tls1_2 -cipher AES128-SHA", &[Label::WeakCipher, Label::NameMismatch]),
    ] {
        let more: Vec<&str> = how.split(' ').collect();
        let server = SServer::start(somewhere(), &served.cert, &served.chain, &served.key, &more);
        assert_found(how, server.address(), (&ca, &leaf), wanted, &[]);
    }
}
