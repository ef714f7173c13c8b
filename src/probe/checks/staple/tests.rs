//! Responses as `openssl ocsp` makes them, judged, and `openssl ocsp` asked what it thinks of the same ones.

use super::*;
use crate::pki::testing::{Authority, ca, ended, server};
use crate::probe::label::Label::*;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyPair};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use tempfile::TempDir;

/// A CA, a leaf, and a directory in which responders work.
struct World {
    dir: TempDir,
    issuer: Authority,
    leaf: Certificate,
}

impl World {
    fn new() -> Self {
        Self::with(false)
    }

    fn with(must_staple: bool) -> Self {
        let issuer = Authority::root("Test CA");
        let mut params = server(&["a.example"]);
        if must_staple {
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5])];
        }
        let leaf = issuer.sign(&params, &KeyPair::generate().unwrap());
        let world = Self { dir: tempfile::tempdir().unwrap(), issuer, leaf };
        world.keep("leaf", &world.leaf, None);
        world.keep("ca", &world.issuer.certificate, Some(world.issuer.key()));
        world.index("V", &world.leaf);
        world
    }

    fn keep(&self, name: &str, certificate: &Certificate, key: Option<&KeyPair>) {
        std::fs::write(self.dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        if let Some(key) = key {
            std::fs::write(self.dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
    }

    /// What the CA's database says of `certificate`: `V`, or `R` with the date and reason.
    fn index(&self, state: &str, certificate: &Certificate) {
        let serial = certificate.serial().as_str().to_ascii_uppercase();
        let serial = serial.strip_prefix("00").unwrap_or(&serial);
        let (state, revoked) = state.split_once(' ').unwrap_or((state, ""));
        let line = format!("{state}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=x\n");
        std::fs::write(self.dir.path().join("index.txt"), line).unwrap();
    }

    /// A response about the leaf, signed by the one kept as `signer`.
    fn respond(&self, signer: &str, more: &[&str]) -> Vec<u8> {
        let script = format!(
            "openssl ocsp -index index.txt -CA ca.pem -rsigner {signer}.pem -rkey {signer}.key -issuer ca.pem \
               -cert leaf.pem -noverify -respout staple.der {}",
            more.join(" ")
        );
        assert!(run(self.dir.path(), &script).0, "{script}");
        std::fs::read(self.dir.path().join("staple.der")).unwrap()
    }

    /// Someone who signs responses: certified by `by` as `params` say.
    fn responder(&self, by: &Authority, change: impl FnOnce(rcgen::CertificateParams) -> rcgen::CertificateParams) {
        let mut params = ca("Responder");
        params.is_ca = rcgen::IsCa::NoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2080, 1, 1));
        let key = KeyPair::generate().unwrap();
        self.keep("responder", &by.sign(&change(params), &key), Some(&key));
    }

    fn stores(&self) -> Vec<Store> {
        vec![Store {
            name: "test".into(),
            anchors: Rc::new(self.issuer.anchors()),
            source: crate::probe::chain::Source::File,
        }]
    }

    fn judged(&self, staple: &[u8], after: Duration) -> Vec<Finding> {
        let now = Response::from_der(staple).map_or(Timestamp::from_secs(0), |it| it.answers[0].this_update);
        super::staple(std::slice::from_ref(&self.leaf), &self.stores(), staple, now + after)
    }

    fn labels(&self, staple: &[u8], after: Duration) -> Vec<Label> {
        self.judged(staple, after).iter().map(|finding| finding.label).collect()
    }

    /// Whether `openssl ocsp` believes that response, now.
    fn openssl_believes(&self, staple: &[u8]) -> bool {
        std::fs::write(self.dir.path().join("staple.der"), staple).unwrap();
        let script =
            "openssl ocsp -respin staple.der -issuer ca.pem -cert leaf.pem -CAfile ca.pem -no-CApath -no_nonce";
        let (ended, said) = run(self.dir.path(), script);
        ended && said.contains("Response verify OK") && !said.contains("WARNING") && !said.contains("ERROR")
    }
}

fn run(dir: &Path, script: &str) -> (bool, String) {
    let out = Command::new("sh").arg("-ec").arg(format!("({script}) 2>&1")).current_dir(dir).output().expect("sh runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SOON: Duration = Duration::from_secs(1);

/// The sentence of the one finding, with the label it must have.
#[track_caller]
fn one(found: &[Finding], label: Label) -> String {
    assert_eq!(found.iter().map(|it| it.label).collect::<Vec<_>>(), [label], "{found:#?}");
    found[0].seen.to_string()
}

#[test]
fn a_response_of_the_issuer_counts_until_it_ends() {
    let world = World::new();
    let staple = world.respond("ca", &["-ndays 4"]);
    assert!(world.openssl_believes(&staple));
    assert!(one(&world.judged(&staple, SOON), StapleOk).starts_with("the stapled OCSP response says good, from 20"));
    assert_eq!(world.labels(&staple, DAY * 4), [StapleOk], "five minutes of skew");
    let seen = one(&world.judged(&staple, DAY * 4 + HOUR), StapleExpired);
    assert!(seen.contains("ended on 20") && seen.ends_with(", 1h ago"), "{seen}");
    // RFC 6960 lets the end be left out; clients that mind set one of their own.
    let endless = world.respond("ca", &[]);
    assert!(world.openssl_believes(&endless));
    assert_eq!(world.labels(&endless, HOUR), [StapleOk]);
    assert!(one(&world.judged(&endless, DAY * 2), StapleExpired).contains("names no nextUpdate"));
    let now = Response::from_der(&staple).unwrap().answers[0].this_update;
    let early = |by: Duration| super::staple(std::slice::from_ref(&world.leaf), &world.stores(), &staple, now - by);
    assert!(one(&early(HOUR), StapleWrong).ends_with("in 1h"));
    assert_eq!(one(&early(SKEW), StapleOk), one(&world.judged(&staple, SOON), StapleOk));
}

#[test]
fn what_it_says_is_told() {
    let world = World::new();
    world.index("R 260501103000Z,keyCompromise", &world.leaf);
    let revoked = world.respond("ca", &["-ndays 4"]);
    let seen = one(&world.judged(&revoked, SOON), Revoked);
    assert!(seen.ends_with("revoked on 2026-05-01T10:30:00Z, reason keyCompromise"), "{seen}");
    assert!(seen.contains(&world.leaf.serial().to_string()), "{seen}");
    assert_eq!(world.labels(&revoked, DAY * 5), [Revoked, StapleExpired], "two causes");
    world.index("R 260501103000Z", &world.leaf);
    assert!(one(&world.judged(&world.respond("ca", &[]), SOON), Revoked).ends_with("without a reason"));
    world.index("V", &world.issuer.certificate);
    let unknown = world.respond("ca", &["-ndays 4"]);
    assert!(one(&world.judged(&unknown, SOON), StapleWrong).contains("does not know a.example"));
}

#[test]
fn a_response_for_another_certificate_is_named_with_both_serials() {
    let (world, other) = (World::new(), World::new());
    let foreign = other.respond("ca", &["-ndays 4"]);
    let seen = one(&world.judged(&foreign, SOON), StapleWrong);
    assert!(seen.contains(other.leaf.serial().as_str()) && seen.contains(world.leaf.serial().as_str()), "{seen}");
    assert!(!world.openssl_believes(&foreign));
    assert_eq!(world.labels(&foreign, DAY * 9), [StapleWrong], "that it ended as well follows from being left over");
    // The same issuer and serial number, after the CA changed its key, or its name.
    for name in ["Test CA", "Other CA"] {
        let authority = Authority::root(name);
        let mut params = server(&["a.example"]);
        params.serial_number = Some(vec![7; 16].into());
        let twin = |by: &Authority| by.sign(&params, &KeyPair::generate().unwrap());
        let rekeyed = World { leaf: twin(&world.issuer), issuer: authority, dir: tempfile::tempdir().unwrap() };
        let theirs = twin(&rekeyed.issuer);
        rekeyed.keep("leaf", &theirs, None);
        rekeyed.keep("ca", &rekeyed.issuer.certificate, Some(rekeyed.issuer.key()));
        rekeyed.index("V", &theirs);
        let staple = rekeyed.respond("ca", &["-ndays 4"]);
        let judged = super::staple(&[rekeyed.leaf], &world.stores(), &staple, crate::pki::testing::in_2026());
        assert!(one(&judged, StapleWrong).ends_with("and for another issuer"), "{judged:#?}");
    }
}

#[test]
fn whose_word_it_is() {
    let world = World::new();
    let stranger = Authority::root("Stranger");
    let signs = |by: &Authority, change: fn(rcgen::CertificateParams) -> rcgen::CertificateParams, more: &[&str]| {
        world.responder(by, change);
        let staple = world.respond("responder", &[more, &["-ndays 4"]].concat());
        let judged = world.judged(&staple, SOON);
        assert_eq!(judged[0].label == StapleOk, world.openssl_believes(&staple), "{judged:#?}");
        judged
    };
    one(&signs(&world.issuer, |it| it, &[]), StapleOk);
    one(&signs(&world.issuer, |it| it, &["-resp_key_id"]), StapleOk);
    let unqualified = |mut it: rcgen::CertificateParams| {
        it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        it
    };
    assert!(one(&signs(&world.issuer, unqualified, &[]), StapleWrong).contains("CN=Responder may not sign OCSP"));
    assert!(one(&signs(&stranger, |it| it, &[]), StapleWrong).contains("was not certified by"));
    assert!(one(&signs(&world.issuer, |it| it, &["-resp_no_certs"]), StapleWrong).contains("neither the issuer nor"));
    assert!(one(&signs(&world.issuer, ended, &[]), StapleWrong).contains("is valid from 2020-01-01"));
    let mut broken = world.respond("ca", &["-ndays 4"]);
    let at = Response::from_der(&broken).unwrap().answers[0].this_update;
    let stamp = at.to_string().replace(['-', ':', 'T'], "");
    let place = broken.windows(stamp.len()).rposition(|window| window == stamp.as_bytes()).expect("thisUpdate");
    broken[place + stamp.len() - 2] ^= 1;
    assert!(one(&world.judged(&broken, SOON), StapleWrong).contains("not by the key of CN=Test CA"), "{broken:?}");
    assert!(!world.openssl_believes(&broken));
}

#[test]
fn what_is_no_response_is_told_as_what_it_is() {
    let world = World::new();
    let judged = |staple: &[u8]| one(&world.judged(staple, SOON), StapleWrong);
    assert!(
        judged(&[0x30, 3, 0x0a, 1, 3])
            .ends_with("it is the responder's refusal tryLater, and says nothing of any certificate")
    );
    assert!(judged(&[0x30, 3, 0x0a, 1, 9]).contains("of an unknown kind"));
    assert!(judged(b"<html>").contains("its beginning cannot be read"));
    let whole = world.respond("ca", &["-ndays 4"]);
    assert!(judged(&whole[..whole.len() - 1]).contains("cannot be read"));
    assert!(judged(&[whole.as_slice(), b"x"].concat()).contains("its end cannot be read"));
}

#[test]
fn must_staple_wants_one_and_nobody_else_does() {
    let (plain, demanding) = (World::new(), World::with(true));
    assert!(plain.judged(&[], SOON).is_empty());
    assert!(one(&demanding.judged(&[], SOON), MustStapleMissing).contains("a.example demands"));
    let staple = demanding.respond("ca", &["-ndays 4"]);
    assert_eq!(demanding.labels(&staple, SOON), [StapleOk]);
    let ended = demanding.judged(&staple, DAY * 9);
    one(&ended, StapleExpired);
    assert!(ended[0].check.as_str().contains("must-staple"), "{ended:#?}");
    assert!(!plain.judged(&plain.respond("ca", &["-ndays 4"]), DAY * 9)[0].check.as_str().contains("must-staple"));
}

#[test]
fn without_the_issuer_only_what_needs_no_signature_is_said() {
    let world = World::new();
    let staple = world.respond("ca", &["-ndays 4"]);
    let judged = |after| {
        let now = Response::from_der(&staple).unwrap().answers[0].this_update + after;
        super::staple(std::slice::from_ref(&world.leaf), &[], &staple, now)
    };
    assert!(judged(SOON).is_empty());
    one(&judged(DAY * 9), StapleExpired);
}
