//! `probe --cert --key`: what is said of a client certificate, and of files that are none.

use crate::desk::{Left, left, program};
use crate::rig::{Nginx, free_port, scratch, snapshot};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// A directory of certificates and keys, and an nginx that takes clients of one CA.
struct Desk {
    dir: tempfile::TempDir,
    address: SocketAddr,
    _nginx: Nginx,
}

type Authority = (CertificateParams, KeyPair);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    live(&mut params);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params, KeyPair::generate().expect("a key"))
}

fn live(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY * 60 + DAY / 2).into();
}

/// A leaf and its key, PEM.
fn leaf(by: &Authority, name: &str, usage: ExtendedKeyUsagePurpose, san: Vec<SanType>) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    live(&mut params);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![usage];
    params.subject_alt_names = san;
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, &Issuer::from_params(&by.0, &by.1)).expect("signed");
    (signed.pem(), key.serialize_pem())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

impl Desk {
    fn new() -> Self {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let dir = scratch("clients-cli");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let [servers, clients, other] = ["Example Root", "Example Clients CA", "Example Other CA"].map(authority);
        let root = |of: &Authority| of.0.self_signed(&of.1).expect("signed").pem();
        write("root.pem", &root(&servers));
        write("clients.pem", &root(&clients));
        let alice =
            vec![dns("alice.example.com"), SanType::URI("spiffe://example.com/alice".try_into().expect("a URI"))];
        for (name, (pem, key)) in [
            ("shop", leaf(&servers, "shop.example.com", ServerAuth, vec![dns("shop.example.com")])),
            ("alice", leaf(&clients, "alice", ClientAuth, alice)),
            ("mallory", leaf(&other, "mallory", ClientAuth, vec![])),
        ] {
            write(&format!("{name}.pem"), &pem);
            write(&format!("{name}.key"), &key);
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(dir.path().join(format!("{name}.key")), private).expect("private");
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = |name: &str| dir.path().join(name);
        let more =
            format!("ssl_client_certificate {}; ssl_verify_client on; return 200", path("clients.pem").display());
        let block = Nginx::tls(address, &path("shop.pem"), &path("shop.key")).replacen("return 200", &more, 1);
        let headers = "add_header Strict-Transport-Security max-age=31536000 always;";
        let http = format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:1m;\n{headers}\n{block}");
        let nginx = Nginx::start(&http, address);
        Self { address, _nginx: nginx, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("written");
    }

    fn probe(&self, args: &[&str]) -> Left {
        let at = self.address.to_string();
        let mut command =
            program(&[&["probe", "shop.example.com", "--connect", &at, "--ca", "root.pem"], args].concat());
        command.current_dir(self.dir.path());
        left(command)
    }

    /// Without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.address.to_string(), "203.0.113.1:443");
        let chances =
            [(r"\([0-9a-f]{8}\)", "(0123abcd)"), (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2027-01-31T12:00:00Z")];
        chances.into_iter().fold(text, |text, (chance, plain)| {
            regex::Regex::new(chance).expect("valid").replace_all(&text, plain).into_owned()
        })
    }
}

#[test]
fn a_client_certificate_is_given_and_its_fate_told() {
    let desk = Desk::new();
    for (name, args, code) in [
        ("wanting", &[][..], 2),
        ("accepted", &["--cert", "alice.pem", "--key", "alice.key"], 0),
        ("foreign", &["--cert", "mallory.pem", "--key", "mallory.key"], 2),
        ("mismatch", &["--cert", "alice.pem", "--key", "mallory.key"], 2),
    ] {
        let said = desk.probe(args);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{name}: {said:?}");
        assert!(said.out.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()), "{}", said.out);
        snapshot(&format!("cli/probe/client_{name}"), &desk.plain(&said.out));
    }
    let json = |args: &[&str]| desk.probe(&[args, &["--json"]].concat()).json();
    let accepted = json(&["--cert", "alice.pem", "--key", "alice.key"]);
    let client = &accepted["endpoints"][0]["client"];
    assert_eq!((&accepted["verdict"], &accepted["endpoints"][0]["ok"]), (&"ok".into(), &true.into()), "{accepted}");
    for (field, value) in [
        ("subject", "CN=alice".into()),
        ("names", serde_json::json!(["alice.example.com", "URI(spiffe://example.com/alice)"])),
        ("asked", true.into()),
        ("accepted", true.into()),
        ("issuer_asked_for", true.into()),
        ("identity_mapping", "not tested".into()),
    ] {
        assert_eq!(client[field], value, "{client}");
    }
    assert_eq!(client["tried"].as_array().map(Vec::len), Some(2), "{client}");
    let refused = json(&["--cert", "mallory.pem", "--key", "mallory.key"]);
    let client = &refused["endpoints"][0]["client"];
    assert_eq!((&client["accepted"], &client["issuer_asked_for"]), (&false.into(), &false.into()), "{client}");
    assert_eq!(refused["endpoints"][0]["ok"], false);
    let schema: Value = serde_json::from_str(include_str!("../../examples/schemas/probe-1.json")).expect("JSON");
    let mismatch = json(&["--cert", "alice.pem", "--key", "mallory.key"]);
    assert_eq!(mismatch["findings"][0]["label"], "disk_key_mismatch");
    for document in [&accepted, &refused, &mismatch] {
        crate::probe::keeps_to(document, &schema, &schema, "document");
    }
}

#[test]
fn what_is_no_client_certificate_is_told_before_anything_is_sent() {
    let desk = Desk::new();
    let alice = fs::read_to_string(desk.path("alice.key")).expect("read");
    let encrypted = alice.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    desk.write("encrypted.key", encrypted);
    desk.write("old.key", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n");
    desk.write("words", "hello\n");
    desk.write("empty", "");
    desk.write("alice.der", [0x30, 0x82, 1, 0, 0x30]);
    desk.write("short.pem", &fs::read(desk.path("alice.pem")).expect("read")[..200]);
    desk.write("odd.key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    let mut told = String::new();
    for (cert, key) in [
        ("nowhere.pem", "alice.key"),
        (".", "alice.key"),
        ("words", "alice.key"),
        ("empty", "alice.key"),
        ("alice.der", "alice.key"),
        ("short.pem", "alice.key"),
        ("alice.key", "alice.pem"),
        ("alice.pem", "nowhere.key"),
        ("alice.pem", "words"),
        ("alice.pem", "alice.pem"),
        ("alice.pem", "encrypted.key"),
        ("alice.pem", "old.key"),
        ("alice.pem", "odd.key"),
    ] {
        let said = desk.probe(&["--cert", cert, "--key", key]);
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{cert} {key}: {said:?}");
        let _ = writeln!(told, "$ everleaf probe shop.example.com --cert {cert} --key {key}\n{}", said.err);
    }
    snapshot("cli/probe/client_files", &told);
    for args in [
        &["--cert", "alice.pem"][..],
        &["--key", "alice.key"],
        &["--cert", "alice.pem", "--key", "alice.key", "--quick"],
        &["--cert", "alice.pem", "--key", "alice.key", "--fullchain", "alice.pem"],
    ] {
        assert_eq!(desk.probe(args).code, 64, "{args:?}");
    }
    // One file may hold both.
    desk.write("both.pem", format!("{alice}{}", fs::read_to_string(desk.path("alice.pem")).expect("read")));
    assert_eq!(desk.probe(&["--cert", "both.pem", "--key", "both.pem"]).code, 0);
}

#[test]
fn whether_files_would_be_taken_for_client_authentication_is_told_offline() {
    let desk = Desk::new();
    let verified = |files: &[&str]| {
        let mut command = program(&[&["verify", "--use", "client", "--ca", "clients.pem"], files].concat());
        command.current_dir(desk.dir.path());
        left(command)
    };
    let good = verified(&["alice.pem", "alice.key"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{good:?}");
    snapshot("cli/verify/client_good", &desk.plain(&good.out));
    for (files, label) in [
        (&["mallory.pem"][..], "client_cert_untrusted"),
        (&["alice.pem", "mallory.key"], "disk_key_mismatch"),
        (&["shop.pem"], "client_cert_wrong_usage"),
    ] {
        let said = verified(files);
        assert!(said.code == 2 && said.out.contains(label), "{files:?}: {said:?}");
    }
}
