//! `verify`: what it says of files, good, bad and hostile.

use crate::desk::{Left, left, program};
use crate::rig::{self, scratch, snapshot};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

/// A directory with a CA's root, an intermediate, and a leaf with its key; all valid through 2026.
struct Files {
    dir: tempfile::TempDir,
    leaf: String,
    intermediate: String,
    key: String,
}

fn named(common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca(common: &str) -> CertificateParams {
    let mut params = named(common);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // The same in every run, since it is shown.
    params.key_identifier_method = KeyIdMethod::PreSpecified(common.bytes().take(12).collect());
    params
}

/// An authorityInfoAccess extension (RFC 5280 §4.2.2.1) that says where the issuer's certificate is.
fn issuer_at(url: &str) -> CustomExtension {
    let length = u8::try_from(url.len()).expect("short");
    let head = [0x30, 14 + length, 0x30, 12 + length, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, length];
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], [&head[..], url.as_bytes()].concat())
}

impl Files {
    fn new() -> Self {
        let dir = scratch("verify");
        let [root_key, upper_key, key] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let root = ca("Root of Example");
        let upper = ca("Example Issuing CA 1");
        let mut leaf = named("shop.example.com");
        leaf.subject_alt_names = vec![rcgen::SanType::DnsName("shop.example.com".try_into().expect("a name"))];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.custom_extensions = vec![issuer_at("http://ca.example/issuing-1.der")];
        let by_root = Issuer::from_params(&root, &root_key);
        let files = Self {
            leaf: leaf.signed_by(&key, &Issuer::from_params(&upper, &upper_key)).expect("signed").pem(),
            intermediate: upper.signed_by(&upper_key, &by_root).expect("signed").pem(),
            key: key.serialize_pem(),
            dir,
        };
        files.write("root.pem", root.self_signed(&root_key).expect("signed").pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner may read.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
    }

    fn fullchain(&self) -> String {
        format!("{}{}", self.leaf, self.intermediate)
    }

    /// `everleaf verify`, in the directory, in the summer of 2026.
    fn verify(&self, args: &[&str]) -> Left {
        let mut command = program(&[&["verify", "--ca", "root.pem", "--at", "2026-06-01"], args].concat());
        command.current_dir(self.dir.path());
        left(command)
    }

    /// As [`Self::verify`], held to the kept words in `tests/cli/verify/PLACE.txt`.
    #[track_caller]
    fn says(&self, place: &str, args: &[&str], code: i32) {
        let said = self.verify(args);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{said:?}");
        assert!(said.out.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()), "{}", said.out);
        let shown = format!("$ everleaf verify {}\n{}", args.join(" "), said.out);
        // Keys are made anew each time.
        let key = regex::Regex::new(r"\b[0-9a-f]{8}\b").expect("valid");
        snapshot(&format!("cli/verify/{place}"), &key.replace_all(&shown, "0123abcd"));
    }
}

#[test]
fn a_good_pair_is_ok_and_a_leaf_alone_lacks_its_issuer() {
    let files = Files::new();
    files.write("fullchain.pem", files.fullchain());
    files.write("privkey.pem", &files.key);
    files.write("cert.pem", &files.leaf);
    files.says("good", &["fullchain.pem", "privkey.pem", "--name", "shop.example.com"], 0);
    files.says("leaf_only", &["cert.pem"], 2);
    let readme = include_str!("../../README.md");
    let kept =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/verify/leaf_only.txt")).expect("kept");
    assert!(readme.contains(&kept), "README.md must show:\n{kept}");
}

#[test]
fn files_in_any_order_are_one_certificate() {
    let files = Files::new();
    files.write("privkey.pem", &files.key);
    files.write("chain.pem", &files.intermediate);
    files.write("cert.pem", &files.leaf);
    files.write("fullchain.pem", files.fullchain());
    files.write("bundle.pem", format!("{}{}", files.key, files.fullchain()));
    for names in [
        &["privkey.pem", "chain.pem", "cert.pem"][..],
        &["cert.pem", "fullchain.pem", "chain.pem"],
        &["bundle.pem"],
        &["bundle.pem", "--use", "server", "--name", "shop.example.com"],
    ] {
        let said = files.verify(names);
        assert_eq!((said.code, said.out.lines().next()), (0, Some(&*format!("ok    {}", shown(names)))), "{said:?}");
    }
    files.write("backwards.pem", format!("{}{}", files.intermediate, files.leaf));
    files.says("backwards", &["backwards.pem", "privkey.pem"], 1);
}

/// The files among `args`.
fn shown(args: &[&str]) -> String {
    args.iter().take_while(|arg| !arg.starts_with('-')).copied().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_foreign_key_that_everybody_may_read_is_two_findings() {
    let files = Files::new();
    files.write("fullchain.pem", files.fullchain());
    files.write("other.key", KeyPair::generate().expect("a key").serialize_pem());
    fs::set_permissions(files.path("other.key"), fs::Permissions::from_mode(0o644)).expect("set");
    files.says("foreign_key", &["fullchain.pem", "other.key"], 2);
    fs::set_permissions(files.path("other.key"), fs::Permissions::from_mode(0o640)).expect("set");
    let said = files.verify(&["fullchain.pem", "other.key", "--json"]);
    assert_eq!(labels(&said), ["disk_key_mismatch"]);
}

#[test]
fn whether_a_file_would_do_for_a_client() {
    let files = Files::new();
    files.write("fullchain.pem", files.fullchain());
    files.says("client", &["fullchain.pem", "--use", "client"], 2);
    files.write("other.pem", rig::self_signed(&["other.example"]).0);
    let judged = |ca: &str, at: &str| {
        let mut command = program(&["verify", "fullchain.pem", "--use", "client", "--json", "--ca", ca, "--at", at]);
        command.current_dir(files.dir.path());
        labels(&left(command))
    };
    assert_eq!(judged("root.pem", "2026-06-01"), ["client_cert_wrong_usage"]);
    assert_eq!(judged("other.pem", "2026-06-01"), ["client_cert_untrusted", "client_cert_wrong_usage"]);
    // The intermediate ends on the same day.
    let all = ["client_cert_untrusted", "client_cert_expired", "expired_intermediate", "client_cert_wrong_usage"];
    assert_eq!(judged("other.pem", "2027-01-01"), all);
}

#[test]
fn a_live_directory_is_judged_by_its_next_reload() {
    let files = Files::new();
    files.write("live/shop/fullchain.pem", files.fullchain());
    files.write("live/shop/privkey.pem", &files.key);
    files.write("live/shop/bundle.pem", format!("{}{}", files.key, files.fullchain()));
    let judged = |args: &[&str]| labels(&files.verify(&[&["live/shop", "--json"], args].concat()));
    assert_eq!(judged(&["--name", "shop.example.com"]), ["ok"]);
    assert_eq!(judged(&["--name", "www.example.com"]), ["disk_names_missing"]);
    files.write("live/shop/fullchain.pem", &files.leaf);
    files.says("live_incomplete", &["live/shop"], 2);
    files.write("live/shop/fullchain.pem", files.fullchain());
    files.write("live/shop/bundle.pem", format!("{}{}", files.key, files.leaf));
    assert_eq!(judged(&[]), ["disk_chain_incomplete"]);
    files.write("live/shop/bundle.pem", "");
    fs::remove_file(files.path("live/shop/privkey.pem")).expect("removed");
    symlink("..data/privkey.pem", files.path("live/shop/privkey.pem")).expect("linked");
    files.says("live_broken", &["live/shop"], 2);
}

fn labels(said: &Left) -> Vec<String> {
    let findings = said.json()["findings"].clone();
    findings.as_array().expect("a list").iter().map(|it| it["label"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn json_has_its_schema_and_exit_codes_follow_the_worst() {
    let files = Files::new();
    files.write("fullchain.pem", files.fullchain());
    let said = files.verify(&["fullchain.pem", "--json", "--name", "shop.example.com"]);
    let document = said.json();
    assert_eq!(document["schema"], "everleaf.probe/1");
    assert_eq!((&document["target"], &document["verdict"]), (&"fullchain.pem".into(), &"ok".into()));
    let finding = &document["findings"][0];
    for (key, value) in [("label", "ok"), ("severity", "ok"), ("seen", "Nothing wrong.")] {
        assert_eq!(finding[key], value, "{finding}");
    }
    for key in ["node", "address", "sni", "vantage"] {
        assert!(finding[key].is_null(), "{finding}");
    }
    let other = files.verify(&["fullchain.pem", "--json", "--name", "www.example.com"]).json();
    assert_eq!((&other["verdict"], &other["findings"][0]["sni"]), (&"fail".into(), &"www.example.com".into()));
    assert_eq!(document["chain"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["chain"][2]["store"], "root.pem");
    for (args, code, label) in [
        (&["--at", "2026-11-01"][..], 1, "expiring_soon"),
        (&["--at", "2027-01-01T00:00:00Z"], 2, "expired"),
        (&["--use", "client"], 2, "client_cert_wrong_usage"),
        (&["--name", "10.0.0.1"], 2, "name_mismatch"),
        (&["--pin", "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], 2, "pin_mismatch"),
    ] {
        let mut command = program(&[&["verify", "fullchain.pem", "--ca", "root.pem", "--json"], args].concat());
        if !args.contains(&"--at") {
            command.args(["--at", "2026-06-01"]);
        }
        command.current_dir(files.dir.path());
        let said = left(command);
        assert_eq!(said.code, code, "{said:?}");
        assert!(labels(&said).contains(&label.to_owned()), "{said:?}");
    }
}

#[test]
fn hostile_files_end_with_one_clear_message() {
    let files = Files::new();
    files.write("large.pem", vec![b'A'; 10 * 1024 * 1024]);
    files.write("noise", (0..9_999u32).map(|n| (n * n % 251) as u8).collect::<Vec<u8>>());
    files.write("cut.pem", &files.leaf[..files.leaf.len() / 2]);
    files.write("crowd.pem", files.leaf.repeat(101));
    files.write("privkey.pem", &files.key);
    files.write("empty/readme", "");
    nix::unistd::mkfifo(&files.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    symlink("nowhere.pem", files.path("dangling.pem")).expect("linked");
    let mut told = String::new();
    for (name, code) in [
        ("large.pem", 2),
        ("noise", 2),
        ("cut.pem", 2),
        ("dangling.pem", 2),
        ("not-there.pem", 2),
        ("pipe", 3),
        ("/dev/zero", 3),
        ("empty", 3),
        ("crowd.pem", 3),
        ("privkey.pem", 3),
        ("root.pem", 3),
    ] {
        let said = files.verify(&[name]);
        assert_eq!(said.code, code, "{said:?}");
        assert_eq!((said.out.is_empty(), said.err.lines().count()), (code == 3, usize::from(code == 3)), "{said:?}");
        writeln!(told, "$ everleaf verify {name}\n{}{}", said.out, said.err).expect("a text");
    }
    snapshot("cli/verify/hostile", &told);
    for store in ["pipe", "/dev/zero", "not-there.pem", "noise"] {
        files.write("fullchain.pem", files.fullchain());
        let mut command = program(&["verify", "fullchain.pem", "--ca", store]);
        command.current_dir(files.dir.path());
        let said = left(command);
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (3, "", 1), "{said:?}");
    }
}
