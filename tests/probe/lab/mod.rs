//! The lab: endpoints with one defect each, and healthy ones that look like them, served by nginx. What `everleaf probe` says of each
//! is held to the exact labels; openssl and curl say whom ordinary clients accept.

mod chains;
mod staples;

use super::rig::{Nginx, require, scratch};
use super::somewhere;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// The name that is asked for.
const NAME: &str = "shop.test";
/// What may be said of any server here, and is no matter of its certificate.
const AMBIENT: [&str; 4] = ["hsts_missing", "resumption_off", "sni_required", "early_data_guarded"];
/// Endpoints looked at side by side.
const AT_ONCE: usize = 4;

/// Somebody who issues.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn root(name: &str) -> Self {
        Self::root_with(ca(name))
    }

    fn root_with(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { pem: params.self_signed(&key).unwrap().pem(), params, key }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { pem: self.sign(&params, &key), params, key }
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().pem()
    }

    /// The same CA, certified by `other` as well.
    fn also_by(&self, other: &Self) -> String {
        other.sign(&self.params, &self.key)
    }

    /// The same, until yesterday.
    fn ended_by(&self, other: &Self) -> String {
        let mut params = self.params.clone();
        span(&mut params, -100, -1);
        other.sign(&params, &self.key)
    }
}

/// Valid from so many days after now to so many days after now.
fn span(params: &mut CertificateParams, from: i64, to: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = |days: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(days * 86_400));
    (params.not_before, params.not_after) = (at(from), at(to));
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    span(&mut params, -100, 1000);
    params
}

fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    span(&mut params, -30, 60);
    params
}

/// Root → Upper → Lower → leaf.
struct World {
    root: Authority,
    upper: Authority,
    lower: Authority,
}

impl World {
    fn new() -> Self {
        Self::with(ca("Test Root"), ca("Upper"), ca("Lower"))
    }

    fn with(root: CertificateParams, upper: CertificateParams, lower: CertificateParams) -> Self {
        let root = Authority::root_with(root);
        let upper = root.below(upper);
        let lower = upper.below(lower);
        Self { root, upper, lower }
    }

    /// A leaf with a key of its own: `(certificate, key)`.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        issue(&self.lower, change)
    }

    /// An endpoint that sends `sent` with the leaf's key, to clients that trust the root.
    fn case(&self, what: &'static str, sent: &[&str], key: &str, labels: &[&'static str]) -> Case {
        Case {
            what,
            sent: sent.concat(),
            key: key.to_owned(),
            asked: NAME,
            stores: vec![self.root.pem.clone()],
            args: Vec::new(),
            directives: String::new(),
            labels: labels.to_vec(),
            accepted: true,
            curl: None,
        }
    }

    /// As [`Self::case`], with all that a good chain holds after a leaf that `change` makes.
    fn whole(&self, what: &'static str, labels: &[&'static str], change: impl FnOnce(&mut CertificateParams)) -> Case {
        let (leaf, key) = self.leaf(change);
        self.case(what, &[&leaf, &self.lower.pem, &self.upper.pem], &key, labels)
    }
}

fn issue(by: &Authority, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = server(&[NAME]);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (by.sign(&params, &key), key.serialize_pem())
}

/// An endpoint, and what must be said of it.
struct Case {
    what: &'static str,
    /// What it sends, PEM.
    sent: String,
    key: String,
    asked: &'static str,
    /// What clients trust; openssl and curl take the first.
    stores: Vec<String>,
    /// Further arguments of the probe.
    args: Vec<String>,
    /// Further lines for nginx.
    directives: String,
    /// What is said, besides `ok` where nothing is wrong and what is ambient.
    labels: Vec<&'static str>,
    /// Whether openssl and curl accept it.
    accepted: bool,
    /// Further arguments of curl, and whether it accepts it then.
    curl: Option<(Vec<String>, bool)>,
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The name as tools take it that know no international ones.
    fn asked_in_ascii(&self) -> String {
        self.asked.parse::<everleaf::types::Identifier>().unwrap().to_string()
    }

    /// Ordinary clients refuse.
    fn refused(self) -> Self {
        self.with(|case| case.accepted = false)
    }
}

/// Serves all of `cases` and looks at each; fails with all that was not as it must be.
fn hold(cases: &[Case]) {
    let dir = scratch("lab");
    let mut http = String::from("ssl_ciphers DEFAULT:@SECLEVEL=0;\n");
    let mut addresses = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let file = |kind: &str, text: &str| {
            let path = dir.path().join(format!("{number}.{kind}"));
            fs::write(&path, text).unwrap();
            path
        };
        let (chain, key, address) = (file("pem", &case.sent), file("key", &case.key), somewhere());
        let block = Nginx::tls(address, &chain, &key);
        let _ = writeln!(http, "{}", block.replacen("return 200", &format!("{} return 200", case.directives), 1));
        addresses.push(address);
    }
    let _nginx = Nginx::start(&http, addresses[0]);
    let next = Mutex::new(cases.iter().zip(&addresses).enumerate());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((number, (case, address))) = next.lock().unwrap().next() else { break };
                    let told = judged(case, *address, dir.path(), number);
                    wrong.lock().unwrap().extend(told.map(|told| format!("{}: {told}", case.what)));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} are not as they must be:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is not as it must be.
fn judged(case: &Case, address: SocketAddr, dir: &Path, number: usize) -> Option<String> {
    let stores: Vec<PathBuf> = case
        .stores
        .iter()
        .enumerate()
        .map(|(at, store)| {
            let path = dir.join(format!("{number}.{at}.ca"));
            fs::write(&path, store).unwrap();
            path
        })
        .collect();
    let document = probe(case, address, &stores);
    let mut found: Vec<String> = labels(&document).into_iter().filter(|it| !AMBIENT.contains(&it.as_str())).collect();
    let wrong = document["verdict"] == "fail" || document["verdict"] == "warn";
    let ok = (!wrong).then_some("ok");
    let mut expected: Vec<String> = case.labels.iter().copied().chain(ok).map(str::to_owned).collect();
    // As often as they are told, too.
    found.sort();
    expected.sort();
    if found != expected {
        let seen =
            document["findings"].as_array().unwrap().iter().map(|it| format!("\n    {}: {}", it["label"], it["seen"]));
        return Some(format!("{found:?}, and not {expected:?}{}", seen.collect::<String>()));
    }
    let (openssl, curl) = (openssl_accepts(case, address, &stores[0]), curl_accepts(case, address, &stores[0]));
    let curls = case.curl.as_ref().map_or(case.accepted, |(_, accepted)| *accepted);
    (openssl.is_ok() != case.accepted || curl.is_ok() != curls)
        .then(|| format!("accepted by openssl and curl: {openssl:?}, {curl:?}"))
}

fn labels(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap_or_else(|| panic!("{document}"));
    findings.iter().map(|it| it["label"].as_str().unwrap().to_owned()).collect()
}

fn probe(case: &Case, address: SocketAddr, stores: &[PathBuf]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everleaf"));
    command.args(["probe", "--json", case.asked, "--connect", &address.to_string()]).args(&case.args);
    for store in stores {
        command.arg("--ca").arg(store);
    }
    let out = command.stdin(Stdio::null()).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{}: {error}: {out:?}", case.what))
}

/// Whether `openssl s_client` accepts what is served; if not, what it says.
fn openssl_accepts(case: &Case, address: SocketAddr, store: &Path) -> Result<(), String> {
    let asked = case.asked_in_ascii();
    let by_name = if asked.parse::<std::net::IpAddr>().is_ok() {
        ["-verify_ip", &asked, "-noservername"].to_vec()
    } else {
        ["-verify_hostname", &asked, "-servername", &asked].to_vec()
    };
    let mut command = Command::new("timeout");
    command.arg("20").arg(require("openssl")).args(["s_client", "-verify_return_error", "-connect"]);
    command.arg(address.to_string()).args(by_name).arg("-CAfile").arg(store);
    outcome(&mut command)
}

/// Whether curl accepts what is served; if not, what it says.
fn curl_accepts(case: &Case, address: SocketAddr, store: &Path) -> Result<(), String> {
    let mut command = Command::new(require("curl"));
    command.args(["-sS", "--noproxy", "*", "-o", "/dev/null", "-m", "20", "--cacert"]).arg(store);
    command.args(case.curl.iter().flat_map(|(args, _)| args));
    let (port, ip, asked) = (address.port(), address.ip(), case.asked_in_ascii());
    command.args(["--connect-to", &format!("{asked}:{port}:{ip}:{port}")]).arg(format!("https://{asked}:{port}/"));
    outcome(&mut command)
}

fn outcome(command: &mut Command) -> Result<(), String> {
    let out = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or_default().to_owned();
    if out.status.success() { Ok(()) } else { Err(said) }
}
