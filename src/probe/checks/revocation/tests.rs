//! Lists as `openssl ca -gencrl` makes them, judged, and `openssl verify -crl_check` asked what it thinks of the same ones.

use super::*;
use crate::pki::testing::{Authority, ca, server};
use crate::types::{Class, Failure};
use bytes::Bytes;
use rcgen::{KeyPair, KeyUsagePurpose};
use std::process::Command;
use std::rc::Rc;
use tempfile::TempDir;

const CONFIG: &str = "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n\
                      [plain]\nauthorityKeyIdentifier=keyid:always\n[indirect]\nissuingDistributionPoint=critical,@i\n[i]\nindirectCRL=TRUE\n\
                      [users]\nissuingDistributionPoint=critical,@u\n[u]\nonlyuser=TRUE\nfullname=URI:http://x/\n\
                      [attributes]\nissuingDistributionPoint=critical,@b\n[b]\nonlyAA=TRUE\n\
                      [delta]\n2.5.29.27=critical,DER:020103\n[odd]\n1.2.3.4=critical,DER:0500\n";
const REVOKED: &str = "R\t491231235959Z\t260501103000Z,keyCompromise\t";
const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    dir: TempDir,
    issuer: Authority,
    leaf: Certificate,
}

impl World {
    fn new() -> Self {
        Self::below(Authority::root("Test CA"))
    }

    fn below(issuer: Authority) -> Self {
        let leaf = issuer.sign(&server(&["a.example"]), &KeyPair::generate().unwrap());
        let world = Self { dir: tempfile::tempdir().unwrap(), leaf, issuer };
        world.write("ca.pem", world.issuer.certificate.pem());
        world.write("ca.key", world.issuer.key().serialize_pem());
        world.write("leaf.pem", world.leaf.pem());
        world.write("config", CONFIG);
        world.write("number", "0A");
        world
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn run(&self, script: &str) {
        let out = Command::new("sh").arg("-ec").arg(script).current_dir(self.dir.path()).output().expect("sh runs");
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A list with these lines of the CA's database before their serial numbers, as DER.
    fn list(&self, entries: &[(&str, &Certificate)], section: &str) -> Vec<u8> {
        let line = |(state, certificate): &(&str, &Certificate)| {
            let serial = certificate.serial().as_str().to_ascii_uppercase();
            format!("{state}{}\tunknown\t/CN=x\n", serial.strip_prefix("00").unwrap_or(&serial))
        };
        self.write("index.txt", entries.iter().map(line).collect::<String>());
        let extensions = if section.is_empty() { String::new() } else { format!("-crlexts {section}") };
        let script = format!(
            "openssl ca -gencrl -config config -keyfile ca.key -cert ca.pem -crldays 7 {extensions} -out list.pem
             openssl crl -in list.pem -outform DER -out list.der"
        );
        self.run(&script);
        std::fs::read(self.dir.path().join("list.der")).unwrap()
    }

    fn judged(&self, list: &[u8], after: Duration) -> Outcome {
        let made = crl::der(list).and_then(|der| Crl::from_der(&der).map(|list| list.this_update));
        let made = made.unwrap_or(Timestamp::from_secs(0));
        self.judged_at(list, made + after)
    }

    fn judged_at(&self, list: &[u8], now: Timestamp) -> Outcome {
        let fetched = Fetched { position: 0, url: "http://x/".into(), list: Ok(Bytes::copy_from_slice(list)) };
        look(std::slice::from_ref(&self.leaf), &stores(&self.issuer), &[fetched], now)[0].outcome.clone()
    }

    /// Why the list says nothing.
    #[track_caller]
    fn unusable(&self, list: &[u8], after: Duration) -> String {
        match self.judged(list, after) {
            Outcome::Unusable(why) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// What openssl says of the leaf by the list made last, at `now`: nothing when it is well.
    fn openssl_refuses(&self, now: Timestamp) -> Option<String> {
        let now = now.as_secs().to_string();
        let args = ["verify", "-crl_check", "-CRLfile", "list.pem", "-CAfile", "ca.pem", "-attime", &now, "leaf.pem"];
        let out = Command::new("openssl").args(args).current_dir(self.dir.path()).output().expect("openssl runs");
        (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn stores(issuer: &Authority) -> Vec<Store> {
    vec![Store { name: "test".into(), anchors: Rc::new(issuer.anchors()), source: crate::probe::chain::Source::File }]
}

#[test]
fn what_is_listed_is_revoked_and_nothing_else() {
    let (world, other) = (World::new(), World::new());
    for section in ["", "plain", "users"] {
        let empty = world.list(&[], section);
        assert!(matches!(world.judged(&empty, DAY), Outcome::NotListed { until: Some(_), .. }), "{section}");
        let others = world.list(&[(REVOKED, &other.leaf), ("V\t491231235959Z\t\t", &world.leaf)], section);
        let made = Crl::from_der(&others).unwrap().this_update;
        assert!(matches!(world.judged(&others, DAY), Outcome::NotListed { .. }), "{section}");
        // openssl wants the distribution point of the list to be one that the certificate names.
        assert!(section == "users" || world.openssl_refuses(made).is_none(), "{section}");
        let listed = world.list(&[(REVOKED, &other.leaf), (REVOKED, &world.leaf)], section);
        let Outcome::Revoked(revocation) = world.judged(&listed, DAY) else { panic!("{section}") };
        assert_eq!(revocation.to_string(), "revoked on 2026-05-01T10:30:00Z, reason keyCompromise");
        assert!(section == "users" || world.openssl_refuses(made).unwrap().contains("revoked"), "{section}");
    }
    let plain = world.list(&[("R\t491231235959Z\t260501103000Z\t", &world.leaf)], "plain");
    let Outcome::Revoked(revocation) = world.judged(&plain, DAY) else { panic!() };
    assert_eq!(revocation.to_string(), "revoked on 2026-05-01T10:30:00Z, without a reason");
    let pem = std::fs::read(world.dir.path().join("list.pem")).unwrap();
    assert_eq!(world.judged(&pem, DAY), Outcome::Revoked(revocation), "as PEM, too");
    assert_eq!(world.judged(&plain, DAY * 9), Outcome::Revoked(revocation), "an old list still lists");
}

#[test]
fn a_list_that_cannot_be_used_says_why() {
    let world = World::new();
    let empty = world.list(&[], "plain");
    let made = Crl::from_der(&empty).unwrap().this_update;
    assert!(world.unusable(&empty, DAY * 7 + SKEW).starts_with("it ended on 20"));
    assert!(world.openssl_refuses(made + DAY * 8).unwrap().contains("CRL has expired"));
    assert!(matches!(world.judged(&empty, DAY * 7), Outcome::NotListed { .. }), "five minutes of skew");
    assert!(matches!(world.judged_at(&empty, made - SKEW), Outcome::NotListed { .. }));
    assert!(
        matches!(world.judged_at(&empty, made - DAY), Outcome::Unusable(why) if why.as_str().contains("begins on"))
    );
    let listed = world.list(&[(REVOKED, &world.leaf)], "plain");
    let mut forged = listed.clone();
    let length = forged.len();
    forged[length - 1] ^= 1;
    assert!(world.unusable(&forged, DAY).contains("not by the key of CN=Test CA"));
    let twin = World { leaf: world.leaf.clone(), ..World::new() };
    assert!(world.unusable(&twin.list(&[(REVOKED, &world.leaf)], "plain"), DAY).contains("not by the key of"));
    let stranger = World { leaf: world.leaf.clone(), ..World::below(Authority::root("Stranger")) };
    assert!(world.unusable(&stranger.list(&[(REVOKED, &world.leaf)], "plain"), DAY).contains("another issuer"));
    for (section, words) in [
        ("indirect", "indirect CRL"),
        ("attributes", "attribute certificates"),
        ("delta", "delta CRL"),
        ("odd", "critical extension 1.2.3.4"),
    ] {
        let why = world.unusable(&world.list(&[(REVOKED, &world.leaf)], section), DAY);
        assert!(why.contains(words), "{section}: {why}");
    }
    assert!(world.unusable(b"<html>not found</html>", DAY).contains("its beginning cannot be read"));
    assert!(world.unusable(&listed[..listed.len() - 9], DAY).contains("cannot be read"));
    assert!(world.unusable(world.leaf.pem().as_bytes(), DAY).contains("holds no CRL"));
}

#[test]
fn who_may_sign_no_lists_signs_none() {
    let mut params = ca("Test CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let world = World::below(Authority::root_with(params));
    let list = world.list(&[(REVOKED, &world.leaf)], "plain");
    assert!(world.unusable(&list, DAY).contains("lacks cRLSign"));
    assert!(world.openssl_refuses(Crl::from_der(&list).unwrap().this_update).unwrap().contains("CRL"));
    let stores: [Store; 0] = [];
    let fetched = Fetched { position: 0, url: "http://x/".into(), list: Ok(Bytes::from(list)) };
    let looked = look(std::slice::from_ref(&world.leaf), &stores, &[fetched], Timestamp::from_secs(0));
    assert!(matches!(&looked[0].outcome, Outcome::Unusable(why) if why.as_str().contains("not at hand")));
}

#[test]
fn a_revoked_intermediate_is_a_finding_where_the_path_needs_it() {
    let root = World::new();
    let intermediate = root.issuer.intermediate("Lower");
    let sent = [intermediate.leaf(&["a.example"]), intermediate.certificate.clone()];
    let list = root.list(&[(REVOKED, &intermediate.certificate)], "plain");
    let made = Crl::from_der(&list).unwrap().this_update;
    let fetched = |position, list| Fetched { position, url: "http://x/".into(), list };
    let gone = Failure::new(Class::Retry, "crl:status", "http://x/", "the server answers with status 404");
    let fetched = [fetched(0, Err(gone)), fetched(1, Ok(Bytes::from(list)))];
    let looked = look(&sent, &stores(&root.issuer), &fetched, made);
    assert!(matches!(&looked[0].outcome, Outcome::Unusable(why) if why.as_str().contains("status 404")));
    assert!(findings(&sent, &[0], &looked).is_empty());
    let found = findings(&sent, &[0, 1], &looked);
    assert_eq!(found.iter().map(|it| it.label).collect::<Vec<_>>(), [Label::Revoked]);
    let seen = found[0].seen.as_str();
    assert!(
        seen.starts_with("the CRL at http://x/ lists CN=Lower, serial ") && seen.contains("keyCompromise"),
        "{seen}"
    );
    assert!(found[0].check.as_str().contains("withdrawn an intermediate"));
}

#[test]
fn half_a_million_entries_are_walked_over_in_time() {
    let world = World::new();
    let mut list = Vec::new();
    let entry = |number: u32| {
        let mut entry = vec![0x30, 21, 2, 4, 1];
        entry.extend_from_slice(&number.to_be_bytes()[1..]);
        entry.extend_from_slice(b"\x17\x0d260501103000Z");
        entry
    };
    for number in 0..400_000 {
        list.extend(entry(number));
    }
    assert!(list.len() < crate::probe::survey::crl::MAX_CRL);
    // Unsigned: only the walk is measured.
    let own = world.list(&[(REVOKED, &world.leaf)], "plain");
    let parsed = Crl::from_der(&own).unwrap();
    let began = std::time::Instant::now();
    let absent = parsed.with_entries(&list).listed(world.leaf.serial());
    assert_eq!(absent, Ok(None));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let highest = crate::types::Serial::from_der_content(&[1, 6, 0x1a, 0x7f]);
    assert!(parsed.with_entries(&list).listed(&highest).unwrap().is_some());
    list.truncate(list.len() - 1);
    assert!(parsed.with_entries(&list).listed(world.leaf.serial()).is_err());
}
