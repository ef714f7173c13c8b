//! Stapled OCSP responses, and CRLs.

use super::*;
use crate::support::{Leaf, listen, look_at};
use everleaf::ports::Shown;
use rcgen::{CrlDistributionPoint, CustomExtension, SigningKey as _};
use std::io::{Read as _, Write as _};
use std::time::UNIX_EPOCH;

const HOUR: i64 = 3600;

/// A CA in whose directory `openssl ocsp` answers, and a leaf by it.
struct Responder {
    dir: tempfile::TempDir,
    authority: Authority,
    /// Above the CA, where it is no root itself.
    root: Option<Authority>,
    leaf: String,
    key: String,
}

impl Responder {
    fn below_a_root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = Authority::root("Test Root");
        Self::new(root.below(ca("Issuing CA")), Some(root), change)
    }

    fn root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::new(Authority::root("Test Root"), None, change)
    }

    fn new(authority: Authority, root: Option<Authority>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (leaf, key) = issue(&authority, |params| {
            params.serial_number = Some(vec![0x5a; 8].into());
            change(params);
        });
        let responder = Self { dir: scratch("ocsp"), authority, root, leaf, key };
        responder.write("ca.pem", &responder.authority.pem);
        responder.write("ca.key", &responder.authority.key.serialize_pem());
        responder.write("leaf.pem", &responder.leaf);
        responder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn run(&self, script: &str) {
        let out = Command::new("sh").arg("-ec").arg(script).current_dir(self.dir.path()).output().unwrap();
        assert!(out.status.success(), "{script}: {out:?}");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(name)).unwrap()
    }

    /// A response by the issuer, as it is made now for a day, about `serial`.
    fn response(&self, state: &str, serial: &str) -> Vec<u8> {
        self.write("index.txt", &format!("{state}\t{}\tunknown\t/CN=x\n", serial.to_uppercase()));
        self.run(&format!(
            "openssl ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -serial 0x{serial} \
               -noverify -resp_no_certs -ndays 1 -respout staple.der"
        ));
        self.read("staple.der")
    }

    /// The same with dates so many hours from now, signed anew.
    fn dated(&self, state: &str, from: i64, to: i64) -> Vec<u8> {
        let response = self.response(state, SERIAL);
        let times: Vec<usize> =
            (0..response.len() - 17).filter(|at| response[*at..].starts_with(&[0x18, 15])).collect();
        // producedAt, perhaps when it was revoked, thisUpdate, nextUpdate.
        let (this, next) = (times[times.len() - 2], times[times.len() - 1]);
        let mut data = response.clone();
        data[this + 2..this + 17].copy_from_slice(stamp(from).as_bytes());
        data[next + 2..next + 17].copy_from_slice(stamp(to).as_bytes());
        let start = signed_part(&data);
        let end = start + element_length(&data[start..]);
        let signed = &data[start..end];
        let algorithm = &data[end..end + element_length(&data[end..])];
        let signature = self.authority.key.sign(signed).unwrap();
        let basic = tlv(0x30, &[signed, algorithm, &tlv(0x03, &[&[0], &signature])]);
        let kind = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
        tlv(0x30, &[&[0x0a, 1, 0], &tlv(0xa0, &[&tlv(0x30, &[&kind, &tlv(0x04, &[&basic])])])])
    }

    /// An endpoint that sends the leaf, and staples `response`.
    fn case(&self, what: &'static str, response: Option<&[u8]>, labels: &[&'static str]) -> Case {
        let mut directives = String::new();
        if let Some(response) = response {
            let name = format!("{}.ocsp", what.replace([' ', ','], "-"));
            fs::write(self.dir.path().join(&name), response).unwrap();
            let path = self.dir.path().join(name);
            directives = format!("ssl_stapling on; ssl_stapling_file {};", path.display());
        }
        Case {
            what,
            sent: self.root.as_ref().map_or(self.leaf.clone(), |_| format!("{}{}", self.leaf, self.authority.pem)),
            key: self.key.clone(),
            asked: NAME,
            stores: vec![self.root.as_ref().unwrap_or(&self.authority).pem.clone()],
            args: Vec::new(),
            directives,
            labels: labels.to_vec(),
            accepted: true,
            curl: None,
        }
    }
}

/// The serial number of each leaf here.
const SERIAL: &str = "5a5a5a5a5a5a5a5a";
const GOOD: &str = "V\t491231235959Z\t";
const REVOKED: &str = "R\t491231235959Z\t260501103000Z,keyCompromise";

fn stamp(hours: i64) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let time = everleaf::types::Timestamp::from_secs(now + hours * HOUR).to_string();
    time.replace(['-', ':', 'T'], "")
}

/// Where in a response what is signed begins: four frames deep, behind the status and the type.
fn signed_part(response: &[u8]) -> usize {
    let into = |at: usize| at + head_length(&response[at..]);
    let past = |at: usize| at + element_length(&response[at..]);
    into(into(past(into(into(past(into(0)))))))
}

fn head_length(element: &[u8]) -> usize {
    if element[1] & 0x80 == 0 { 2 } else { 2 + usize::from(element[1] & 0x7f) }
}

fn element_length(element: &[u8]) -> usize {
    let head = head_length(element);
    let long = element[2..head].iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    head + if head == 2 { usize::from(element[1]) } else { long }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let head = if content.len() < 128 { vec![tag, length[3]] } else { vec![tag, 0x82, length[2], length[3]] };
    [head, content].concat()
}

fn must_staple(params: &mut CertificateParams) {
    let feature = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    params.custom_extensions = vec![feature];
}

/// With `--cert-status` curl minds the staple.
fn minded(case: Case, accepted: bool) -> Case {
    case.with(|case| case.curl = Some((vec!["--cert-status".into()], accepted)))
}

#[test]
fn what_is_stapled() {
    let (plain, demanding) = (Responder::below_a_root(|_| {}), Responder::below_a_root(must_staple));
    let good = plain.dated(GOOD, -2, 20);
    let of_another = demanding.dated(GOOD, -2, 20);
    let case = |what, staple: Vec<u8>, labels: &[&'static str]| {
        minded(plain.case(what, Some(&staple), labels), labels == ["staple_ok"])
    };
    hold(&[
        minded(plain.case("none", None, &[]), false),
        case("a good one", good, &["staple_ok"]),
        case("one as openssl makes it", plain.response(GOOD, SERIAL), &["staple_ok"]),
        case("one that ended", plain.dated(GOOD, -50, -2), &["staple_expired"]),
        case("one that ends soon", plain.dated(GOOD, -50, 1), &["staple_ok"]),
        case("one that begins tomorrow", plain.dated(GOOD, 24, 48), &["staple_wrong"]),
        case("another certificate's", plain.response(GOOD, "7b7b"), &["staple_wrong"]),
        case("another CA's", of_another.clone(), &["staple_wrong"]),
        case("revoked", plain.dated(REVOKED, -2, 20), &["revoked"]),
        case("revoked, and ended", plain.dated(REVOKED, -50, -2), &["revoked", "staple_expired"]),
        demanding.case("demanded, and none", None, &["must_staple_missing"]),
        demanding.case("demanded, and sent", Some(&of_another), &["staple_ok"]),
        demanding.case("demanded, and ended", Some(&demanding.dated(GOOD, -50, -2)), &["staple_expired"]),
    ]);
}

#[test]
fn two_defects_at_once_are_two_findings() {
    let over = |params: &mut CertificateParams| {
        must_staple(params);
        span(params, -90, -1);
    };
    let (ended, demanding) = (Responder::below_a_root(over), Responder::below_a_root(must_staple));
    let other = Responder::below_a_root(|params| params.subject_alt_names = server(&["other.test"]).subject_alt_names);
    let (stale, foreign) = (other.dated(GOOD, -50, -2), demanding.response(GOOD, "7b7b"));
    let alone = |case: &mut Case| case.sent.clone_from(&demanding.leaf);
    let rooted = |case: &mut Case| case.sent += &demanding.root.as_ref().unwrap().pem;
    hold(&[
        ended.case("ended, and no staple", None, &["expired", "must_staple_missing"]).refused(),
        demanding
            .case("alone, and no staple", None, &["missing_intermediate", "must_staple_missing"])
            .refused()
            .with(alone),
        other.case("another name, and an old staple", Some(&stale), &["name_mismatch", "staple_expired"]).refused(),
        demanding
            .case("its root, and another's staple", Some(&foreign), &["root_included", "staple_wrong"])
            .with(rooted),
    ]);
}

/// A responder that answers everybody with `response`.
fn answering(response: Vec<u8>) -> SocketAddr {
    listen(somewhere(), move |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let length = response.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), &response].concat());
    })
}

#[test]
fn a_staple_that_the_first_client_only_asks_for_is_not_missing() {
    let responder = Responder::below_a_root(must_staple);
    let from = |responder: SocketAddr| {
        move |case: &mut Case| {
            case.directives = format!("ssl_stapling on; ssl_stapling_responder http://{responder}/;");
        }
    };
    hold(&[
        responder.case("fetched", None, &["staple_ok"]).with(from(answering(responder.response(GOOD, SERIAL)))),
        responder.case("nobody to ask", None, &["must_staple_missing"]).with(from(somewhere())),
    ]);
}

#[test]
fn every_version_carries_it() {
    let responder = Responder::below_a_root(|_| {});
    let staple = responder.response(REVOKED, SERIAL);
    let speaking = |what, version: &str| {
        let case = responder.case(what, Some(&staple), &["revoked"]);
        case.with(|case| case.directives = format!("{} ssl_protocols {version};", case.directives))
    };
    hold(&[speaking("TLS 1.2", "TLSv1.2"), speaking("TLS 1.3", "TLSv1.3").with(|case| case.labels.push("tls13_only"))]);
}

#[test]
fn the_confirm_step_notes_a_staple_that_was_left_over() {
    let responder = Responder::below_a_root(must_staple);
    let leaf = Leaf {
        name: NAME.to_owned(),
        family: everleaf::types::KeyFamily::Ecdsa,
        cert: responder.leaf.clone(),
        chain: responder.authority.pem.clone(),
        key: responder.key.clone(),
    };
    let noted = |staple: Option<&[u8]>| {
        let case = responder.case("confirmed", staple, &[]);
        let (chain, key) = leaf.write(responder.dir.path(), "confirmed", &leaf.fullchain());
        let address = somewhere();
        let block = Nginx::tls(address, &chain, &key);
        let _edge = Nginx::start(&block.replacen("return 200", &format!("{} return 200", case.directives), 1), address);
        let seen = look_at(address, &leaf);
        assert_eq!(seen.shown, Shown::Wanted);
        seen.notes.iter().map(|note| note.to_string().split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(noted(Some(&responder.response(GOOD, SERIAL))), [""; 0]);
    assert_eq!(noted(None), [""; 0]);
    assert_eq!(noted(Some(&responder.response(GOOD, "7b7b"))), ["staple_wrong"]);
    assert_eq!(noted(Some(&responder.response(REVOKED, SERIAL))), ["revoked"]);
}

#[test]
fn what_crls_say() {
    let dir = scratch("crls");
    let address = somewhere();
    let lists = Nginx::start(&format!("server {{ listen {address}; root {}; }}", dir.path().display()), address);
    let pointing = |name: &str| {
        let uris = vec![format!("http://{address}/{name}.crl")];
        Responder::root(|params| params.crl_distribution_points = vec![CrlDistributionPoint { uris }])
    };
    let list = |responder: &Responder, name: &str, state: &str| {
        responder.write("index.txt", &format!("{state}\t{}\tunknown\t/CN=x\n", SERIAL.to_uppercase()));
        responder.write("config", "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n");
        responder.write("number", "01");
        responder.run(
            "openssl ca -gencrl -config config -keyfile ca.key -cert ca.pem -crldays 7 -out list.pem
             openssl crl -in list.pem -outform DER -out list.der",
        );
        fs::write(dir.path().join(format!("{name}.crl")), responder.read("list.der")).unwrap();
    };
    let asking = |responder: &Responder, what, labels: &[&'static str], accepted| {
        responder.case(what, None, labels).with(|case| {
            case.args = vec!["--crl".into()];
            let file = responder.dir.path().join("list.pem");
            let minding = || vec!["--crlfile".into(), file.display().to_string()];
            case.curl = file.exists().then(|| (minding(), accepted));
        })
    };
    let [good, revoked, missing, foreign] = ["good", "revoked", "missing", "foreign"].map(pointing);
    list(&good, "good", GOOD);
    list(&revoked, "revoked", REVOKED);
    // A list of another CA, under the same name.
    list(&good, "foreign", REVOKED);
    list(&good, "good", GOOD);
    let stapling = revoked.response(REVOKED, SERIAL);
    hold(&[
        asking(&good, "not listed", &[], true),
        asking(&revoked, "listed", &["revoked"], false),
        asking(&missing, "no list there", &[], true),
        asking(&foreign, "another CA's list", &[], true),
        revoked.case("listed, and not asked for", None, &[]),
        revoked.case("listed and stapled", Some(&stapling), &["revoked"]).with(|case| case.args = vec!["--crl".into()]),
    ]);
    assert_eq!(lists.requests("GET /revoked.crl"), 2);
    let case = asking(&revoked, "the page", &["revoked"], false);
    let chain = dir.path().join("chain.pem");
    fs::write(&chain, &case.sent).unwrap();
    let key = dir.path().join("chain.key");
    fs::write(&key, &case.key).unwrap();
    let edge = somewhere();
    let _edge = Nginx::start(&Nginx::tls(edge, &chain, &key), edge);
    let ca = revoked.dir.path().join("ca.pem");
    let document = probe(&case, edge, &[ca]);
    let crl = &document["endpoints"][0]["crls"][0];
    assert_eq!((&crl["certificate"], &crl["revoked"]), (&1.into(), &true.into()), "{crl}");
    assert_eq!(crl["seen"], "revoked on 2026-05-01T10:30:00Z, reason keyCompromise");
    let seen = document["findings"][0]["seen"].as_str().unwrap();
    assert!(
        seen.starts_with(&format!("the CRL at http://{address}/revoked.crl lists shop.test, serial {SERIAL}")),
        "{seen}"
    );
}
