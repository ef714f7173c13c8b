//! Certificates that no CA should hand out, each wrong in one respect: signed by Pebble's own intermediate for the very key
//! that was ordered with. Every certificate of the configuration meets one of them, all in one run.

use super::plain::plain;
use crate::rig::scene::Scene;
use crate::rig::{Answer, Asked, Fault, FaultyCa, Kind, PebbleOptions, Times, Validation, snapshot};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

const DAY: Duration = Duration::from_secs(86_400);

/// What is made of an honest answer.
struct Case {
    name: &'static str,
    /// The word that the refusal must have; nothing where it is to be accepted.
    code: Option<&'static str>,
    body: fn(&Kit, &Honest) -> Vec<u8>,
}

const fn case(name: &'static str, code: &'static str, body: fn(&Kit, &Honest) -> Vec<u8>) -> Case {
    Case { name, code: Some(code), body }
}

const CASES: [Case; 19] = [
    case("another-key", "key_mismatch", |kit, it| kit.chain(&it.params(), &KeyPair::generate().expect("a key"))),
    case("bundled-key", "gate:unreadable", |_, it| {
        [it.pem.clone(), KeyPair::generate().expect("a key").serialize_pem()].concat().into()
    }),
    case("ca-leaf", "leaf_is_ca", |kit, it| {
        let mut params = it.params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        kit.chain(&params, it)
    }),
    case("client-only", "eku_not_server", |kit, it| {
        let mut params = it.params();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        kit.chain(&params, it)
    }),
    case("cn-only", "san_missing", |kit, it| {
        let mut params = it.params();
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, it.host.as_str());
        kit.chain(&params, it)
    }),
    case("cut-short", "gate:unreadable", |_, it| it.pem[..it.pem.len() - 200].into()),
    case("expired", "expired", |kit, it| {
        let mut params = it.params();
        (params.not_before, params.not_after) = (params.not_before - DAY * 50, params.not_before - DAY);
        kit.chain(&params, it)
    }),
    case("extra-name", "san_extra", |kit, it| {
        let mut params = it.params();
        params.subject_alt_names.push(SanType::DnsName("victim.example.org".try_into().expect("a name")));
        kit.chain(&params, it)
    }),
    case("foreign-chain", "missing_intermediate", |_, it| [it.leaf_pem(), stranger()].concat().into()),
    case("foreign-signer", "untrusted_root", |_, it| {
        let (issuer, pem) = strange_issuer();
        [it.params().signed_by(it, &issuer).expect("signed").pem(), pem].concat().into()
    }),
    case("future", "not_yet_valid", |kit, it| {
        let mut params = it.params();
        params.not_before += DAY * 2;
        kit.chain(&params, it)
    }),
    case("hundred", "gate:unreadable", |_, it| it.pem.repeat(50).into()),
    case("leaf-only", "missing_intermediate", |_, it| it.leaf_pem().into()),
    case("misordered", "chain_out_of_order", |kit, it| [kit.intermediate.clone(), it.leaf_pem()].concat().into()),
    case("missing-name", "san_missing", |kit, it| {
        let mut params = it.params();
        params.subject_alt_names.truncate(1);
        kit.chain(&params, it)
    }),
    case("other-name", "san_extra", |kit, it| {
        let mut params = it.params();
        params.subject_alt_names = vec![SanType::DnsName("victim.example.org".try_into().expect("a name"))];
        kit.chain(&params, it)
    }),
    case("previous", "serial_reused", |kit, it| {
        let seen = kit.seen.lock().expect("no panic");
        seen.get(&it.host).and_then(|all| all.first()).expect("an earlier one").clone().into()
    }),
    case("self-signed", "self_signed", |_, it| {
        let key = KeyPair::generate().expect("a key");
        it.params().self_signed(&key).expect("signed").pem().into()
    }),
    Case {
        name: "text-between",
        code: None,
        body: |kit, it| {
            [it.leaf_pem(), "issuer: a CA that explains itself\n".to_owned(), kit.intermediate.clone()].concat().into()
        },
    },
];

/// What Pebble signs with, and what it has handed out, by its first name.
struct Kit {
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
    seen: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Kit {
    fn new(scene: &Scene) -> Self {
        let intermediate = scene.pebble.intermediate(0);
        let der = CertificateDer::from_pem_slice(intermediate.as_bytes()).expect("PEM");
        let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).expect("a name");
        // Byte for byte as Go writes it: names are compared so.
        let name = DnValue::PrintableString(name.try_into().expect("plain letters"));
        params.distinguished_name.push(DnType::CommonName, name);
        let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.expect("a key identifier"));
        let key = KeyPair::from_pem(&scene.pebble.intermediate_key(0)).expect("Pebble's key");
        Self { intermediate, issuer: Issuer::new(params, key), seen: Mutex::default() }
    }

    /// A leaf as `params` say, with the intermediate.
    fn chain(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        let leaf = params.signed_by(key, &self.issuer).expect("signed");
        [leaf.pem(), self.intermediate.clone()].concat().into()
    }

    /// Notes an answer of Pebble's.
    fn saw(&self, it: &Honest) {
        self.seen.lock().expect("no panic").entry(it.host.clone()).or_default().push(it.pem.clone());
    }
}

/// What Pebble wanted to hand out.
struct Honest {
    pem: String,
    host: String,
    key: Vec<u8>,
}

impl PublicKeyData for Honest {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        if self.key.len() == 65 { &rcgen::PKCS_ECDSA_P256_SHA256 } else { &rcgen::PKCS_ECDSA_P384_SHA384 }
    }
}

impl Honest {
    fn read(answer: &Answer) -> Option<Self> {
        let pem = String::from_utf8(answer.body.clone()).ok()?;
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&leaf).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let host = names.value.general_names.iter().map(ToString::to_string).min_by_key(String::len)?;
        let host = host.trim_start_matches("DNSName(").trim_end_matches(')').to_owned();
        let key = parsed.public_key().subject_public_key.data.to_vec();
        Some(Self { pem, host, key })
    }

    /// What is right.
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new([self.host.clone(), format!("www.{}", self.host)]).expect("names");
        params.distinguished_name = DistinguishedName::new();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970 - DAY / 24;
        params.not_after = params.not_before + DAY * 45;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn leaf_pem(&self) -> String {
        const END: &str = "-----END CERTIFICATE-----\n";
        self.pem[..self.pem.find(END).expect("PEM") + END.len()].to_owned()
    }
}

fn strange_issuer() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "A stranger");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("signed").pem();
    (Issuer::new(params, key), pem)
}

fn stranger() -> String {
    strange_issuer().1
}

/// One certificate for each case.
fn configured(scene: &Scene, key: &str) -> String {
    let one = |case: &Case| {
        let (name, solver) = (case.name, scene.solver());
        format!(
            "  - {{ name: {name}, names: [{name}.example.com, www.{name}.example.com], key: {key}, issuer: pebble, {solver}, \
             nodes: [local], confirm: none }}\n"
        )
    };
    format!("{}certificates:\n{}", scene.preamble(), CASES.iter().map(one).collect::<String>())
}

/// What is published of a certificate.
fn live(scene: &Scene, name: &str) -> Vec<Vec<u8>> {
    let files = ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "bundle.pem"];
    files.map(|file| fs::read(scene.path(&format!("live/{name}/{file}"))).expect("a published file")).into()
}

#[test]
fn whatever_a_ca_hands_out_is_judged_before_it_is_published() {
    let options = PebbleOptions {
        validation: Validation::Never,
        serve_http01: false,
        key_algorithm: "rsa",
        ..PebbleOptions::default()
    };
    let scene = Scene::new(options);
    let ca = FaultyCa::before(&scene.pebble);
    let kit = Arc::new(Kit::new(&scene));
    let watching = Arc::clone(&kit);
    ca.on(
        Kind::Certificate,
        Times::of(CASES.len()),
        Fault::change(move |_, answer| {
            if let Some(it) = Honest::read(&answer) {
                watching.saw(&it);
            }
            answer
        }),
    );
    let lying = Arc::clone(&kit);
    ca.on(
        Kind::Certificate,
        Times::ALWAYS,
        Fault::change(move |_: &Asked, answer| {
            let Some(it) = Honest::read(&answer) else { return answer };
            let case = CASES.iter().find(|case| it.host == format!("{}.example.com", case.name));
            case.map_or(answer.clone(), |case| answer.body((case.body)(&lying, &it)))
        }),
    );
    scene.run(&ca.serves(&scene.pebble, &configured(&scene, "ecdsa-p256"))).exits(0);
    let before: BTreeMap<&str, _> = CASES.iter().map(|case| (case.name, live(&scene, case.name))).collect();
    assert_eq!(scene.pebble.orders(), CASES.len());

    ca.forget();
    let ran = scene.run(&ca.serves(&scene.pebble, &configured(&scene, "ecdsa-p384"))).exits(1);
    for case in &CASES {
        let status = scene.status(case.name);
        let now = live(&scene, case.name);
        let Some(code) = case.code else {
            assert_ne!(now, before[case.name], "{}", case.name);
            continue;
        };
        assert_eq!(now, before[case.name], "{}: byte for byte", case.name);
        let said = status["troubles"].to_string();
        assert!(said.contains(code), "{}: {code} is not said: {said}", case.name);
        assert!(status["hold"].is_object(), "{}: it waits: {status:#}", case.name);
    }
    let most = CASES.len() * (10 + 3 * 2) + 64;
    assert!(ca.count(Kind::Any) <= most, "{} requests", ca.count(Kind::Any));
    let mut lines: Vec<&str> = ran.err.lines().collect();
    lines.sort_unstable();
    snapshot("hostile/messages/ca/chains", &plain(&scene, &ca.plain(&(lines.join("\n") + "\n"))));

    // What was refused waits, although the CA is honest again; a person may ask.
    ca.heal();
    let orders = scene.pebble.orders();
    scene.everleaf(&["run"]);
    assert!(scene.pebble.orders() <= orders, "{} orders more", scene.pebble.orders() - orders);
    scene.everleaf(&["renew", "--all"]).exits(0);
    for case in &CASES {
        assert_ne!(live(&scene, case.name), before[case.name], "{}: it goes on", case.name);
    }
}

/// What is made of an honest answer's body.
type Body = fn(&[u8]) -> Vec<u8>;

#[test]
fn what_is_no_chain_at_all_is_never_published() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    scene.run(&ca.serves(&scene.pebble, &scene.unproven(""))).exits(0);
    let bodies: [(&str, Body); 3] = [
        ("empty", |_| Vec::new()),
        ("too large", |pem| [pem, "x".repeat(300 << 10).as_bytes()].concat()),
        ("DER", |pem| CertificateDer::from_pem_slice(pem).expect("PEM").to_vec()),
    ];
    // Each is fetched thrice, with seconds between.
    let most = if std::env::var_os("EVERLEAF_FULL").is_some() { 3 } else { 1 };
    for (name, body) in bodies.into_iter().take(most) {
        let (orders, before) = (scene.pebble.orders(), live(&scene, "shop"));
        let change = move |_: &Asked, answer: Answer| answer.clone().body(body(&answer.body));
        ca.on(Kind::Certificate, Times::ALWAYS, Fault::change(change));
        let ran = scene.everleaf(&["renew", "shop", "--force", "--yes"]);
        assert_ne!(ran.exit, 0, "{name}: {}", ran.err);
        assert_eq!(live(&scene, "shop"), before, "{name}: byte for byte");
        assert!(ca.count(Kind::Certificate) <= 8, "{name}: {:?}", ca.asked());
        assert!(ran.err.contains("/certZ/") && ran.err.contains("reply"), "{name}: {}", ran.err);
        ca.heal();
        scene.everleaf(&["renew", "shop", "--force", "--yes"]).exits(0);
        assert_ne!(live(&scene, "shop"), before, "{name}: it goes on");
        assert!(scene.pebble.orders() <= orders + 2, "{name}");
    }
}
