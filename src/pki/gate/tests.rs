use super::*;
use crate::pki::parse;
use crate::pki::testing::{Authority, by_openssl, ca, in_2026, openssl_accepts, server};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints,
};

const NAMES: [&str; 2] = ["a.example", "*.b.example"];

/// A public-looking hierarchy: Root → Upper → Lower → leaf.
struct World {
    root: Authority,
    upper: Authority,
    lower: Authority,
    key: KeyPair,
}

impl World {
    fn new() -> Self {
        Self::with(ca("Upper"), ca("Lower"))
    }

    fn with(upper: CertificateParams, lower: CertificateParams) -> Self {
        let root = Authority::root("Root");
        let upper = root.intermediate_with(upper);
        let lower = upper.intermediate_with(lower);
        Self { root, upper, lower, key: KeyPair::generate().unwrap() }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = server(&NAMES);
        change(&mut params);
        self.lower.sign(&params, &self.key)
    }

    fn chain(&self, leaf: Certificate) -> Vec<Certificate> {
        vec![leaf, self.lower.certificate.clone(), self.upper.certificate.clone()]
    }

    fn good(&self) -> Vec<Certificate> {
        self.chain(self.leaf(|_| {}))
    }

    fn judge(&self, sent: &[Certificate]) -> Judgement {
        self.judge_with(sent, |_| {})
    }

    fn judge_with(&self, sent: &[Certificate], change: impl FnOnce(&mut Expected<'_>)) -> Judgement {
        let names = NAMES.map(|name| name.parse().unwrap());
        let anchors = self.root.anchors();
        let origin = Origin { directory: "https://ca.example/dir", rehearsal: false };
        let mut expected = Expected {
            key: Certificate::from_der(server(&NAMES).self_signed(&self.key).unwrap().der()).unwrap().key(),
            names: &names,
            usage: Usage::Server,
            origin,
            came_from: origin,
            old_serials: &[],
            previous_issuer: None,
            anchors: &anchors,
            now: in_2026(),
        };
        change(&mut expected);
        judge(sent, &expected)
    }
}

/// What a test's closure lends for as long as the test runs.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn codes(judgement: &Judgement) -> Vec<&'static str> {
    judgement.violations.iter().map(|violation| violation.code).collect()
}

fn noted(judgement: &Judgement, word: &str) -> bool {
    judgement.notes.iter().any(|note| note.as_str().starts_with(word))
}

#[test]
fn a_good_chain_passes_unchanged_and_without_remark() {
    let world = World::new();
    let sent = world.good();
    let judgement = world.judge(&sent);
    assert_eq!((codes(&judgement), judgement.notes.len()), (vec![], 0), "{judgement:?}");
    let out = parse::chain(format!("{}{}", judgement.cert, judgement.chain).as_bytes()).unwrap();
    assert_eq!(out.iter().map(Certificate::fingerprint).collect::<Vec<_>>(), prints(&sent));
}

fn prints(certificates: &[Certificate]) -> Vec<crate::types::Fingerprint> {
    certificates.iter().map(Certificate::fingerprint).collect()
}

#[test]
fn what_can_be_left_out_is_left_out_and_noted() {
    let world = World::new();
    let sent = world.good();
    let unrelated = Authority::root("Elsewhere").intermediate("Stray").certificate;
    let with = |extra: &Certificate| [sent.as_slice(), std::slice::from_ref(extra)].concat();
    for (extra, note) in
        [(&world.root.certificate, "root_included"), (&sent[1], "duplicate_in_chain"), (&unrelated, "extra_in_chain")]
    {
        let judgement = world.judge(&with(extra));
        assert!(judgement.accepted() && noted(&judgement, note) && judgement.notes.len() == 1, "{judgement:?}");
        assert_eq!(judgement.chain, world.judge(&sent).chain);
    }
}

#[test]
fn a_cross_signature_that_goes_on_in_order_is_kept() {
    let world = World::new();
    let old = Authority::root("Old Root");
    let cross = world.root.also_by(&old);
    let sent = [world.good(), vec![cross.clone()]].concat();
    let judgement = world.judge(&sent);
    assert!(judgement.accepted() && judgement.chain.ends_with(&cross.pem()), "{judgement:?}");
    let judgement = world.judge_with(&sent, |expected| expected.anchors = leak(old.anchors()));
    assert!(judgement.accepted(), "{judgement:?}");
}

type Change = Box<dyn FnOnce(&mut CertificateParams)>;

#[test]
fn every_defect_of_the_leaf_has_its_code() {
    let world = World::new();
    let year = |y| rcgen::date_time_ymd(y, 1, 1);
    let names = |names: &[&str]| server(names).subject_alt_names;
    let (missing, extra, other) =
        (names(&NAMES[..1]), names(&["a.example", "*.b.example", "c.example"]), names(&["c.example"]));
    let cases: Vec<(Change, &[&str])> = vec![
        (Box::new(move |p| p.subject_alt_names = missing), &["san_missing"]),
        (Box::new(move |p| p.subject_alt_names = extra), &["san_extra"]),
        (Box::new(move |p| p.subject_alt_names = other), &["san_missing", "san_extra"]),
        (Box::new(move |p| p.not_after = rcgen::date_time_ymd(2026, 2, 1)), &["expired"]),
        (Box::new(move |p| (p.not_before, p.not_after) = (year(2027), year(2028))), &["not_yet_valid"]),
        (Box::new(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]), &["eku_not_server"]),
        (Box::new(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), &["leaf_is_ca"]),
    ];
    for (change, expected) in cases {
        let judgement = world.judge(&world.chain(world.leaf(change)));
        assert_eq!(codes(&judgement), expected, "{judgement:?}");
    }
    let judgement =
        world.judge(&world.chain(world.leaf(|p| p.subject_alt_names = server(&["c.example"]).subject_alt_names)));
    let told: String = judgement.violations.iter().map(|violation| violation.message.to_string()).collect();
    assert!(["a.example", "*.b.example", "c.example"].iter().all(|name| told.contains(name)), "{told}");
}

#[test]
fn every_defect_of_the_chain_has_its_code() {
    let world = World::new();
    let [leaf, lower, upper] = <[Certificate; 3]>::try_from(world.good()).unwrap();
    let twin = world.upper.intermediate("Lower").certificate;
    let stray = world.upper.intermediate("Stray").certificate;
    let own = Certificate::from_der(server(&NAMES).self_signed(&world.key).unwrap().der()).unwrap();
    for (sent, expected) in [
        (vec![&leaf], "missing_intermediate"),
        (vec![&leaf, &stray, &upper], "wrong_intermediate"),
        (vec![&leaf, &twin, &upper], "wrong_intermediate"),
        (vec![&leaf, &lower], "untrusted_root"),
        (vec![&leaf, &upper, &lower], "chain_out_of_order"),
        (vec![&lower, &leaf, &upper], "chain_out_of_order"),
        (vec![&own], "self_signed"),
    ] {
        let sent: Vec<Certificate> = sent.into_iter().cloned().collect();
        assert_eq!(codes(&world.judge(&sent)), [expected]);
    }
    let other = World::new();
    assert_eq!(codes(&world.judge(&other.good())), ["key_mismatch", "untrusted_root"]);
    assert_eq!(codes(&world.judge(&[])), ["missing_intermediate"]);
}

fn constrained_to(name: &str) -> CertificateParams {
    let mut params = ca("Upper");
    let permitted_subtrees = vec![GeneralSubtree::DnsName(name.into())];
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    params
}

#[test]
fn every_defect_of_an_issuer_has_its_code() {
    let limited = |most| {
        let mut params = ca("Upper");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        params
    };
    let mut ended = ca("Lower");
    ended.not_after = rcgen::date_time_ymd(2026, 2, 1);
    let mut no_ca = ca("Lower");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let mut no_sign = ca("Lower");
    no_sign.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut client = ca("Lower");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (upper, lower, expected) in [
        (limited(0), ca("Lower"), "path_length"),
        (ca("Upper"), ended, "expired_intermediate"),
        (ca("Upper"), no_ca, "issuer_not_ca"),
        (ca("Upper"), no_sign, "issuer_not_ca"),
        (ca("Upper"), client, "eku_not_server"),
        (constrained_to("a.example"), ca("Lower"), "name_constraint"),
    ] {
        let world = World::with(upper, lower);
        let judgement = world.judge(&world.good());
        assert!(codes(&judgement).contains(&expected), "{expected}: {judgement:?}");
        assert!(judgement.violations.iter().all(|v| v.code == expected), "{judgement:?}");
    }
    // What webpki would say first must not hide what it would say next.
    let world = World::with(constrained_to("a.example"), ca("Lower"));
    let ended = world.leaf(|params| {
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_eq!(codes(&world.judge(&world.chain(ended))), ["expired", "eku_not_server", "name_constraint"]);
    let world = World::with(limited(1), ca("Lower"));
    assert!(world.judge(&world.good()).accepted(), "one CA below it is allowed");
}

#[test]
fn broken_cryptography_has_its_code() {
    let world = World::new();
    for (bits, hash, expected) in [
        ("2048", "sha256", &[][..]),
        ("1024", "sha256", &["weak_key"]),
        ("2048", "sha1", &["weak_signature"]),
        ("1024", "sha1", &["weak_key", "weak_signature"]),
    ] {
        let (root, leaf) = by_openssl(bits, hash);
        let anchors = leak(Anchors::from_pem(root.pem().as_bytes(), "test").unwrap());
        let (key, now) = (leaf.key(), leaf.validity().start);
        let judgement = world.judge_with(&[leaf], |e| (e.anchors, e.key, e.now) = (anchors, key, now));
        assert_eq!(codes(&judgement), expected, "{judgement:?}");
    }
}

#[test]
fn a_damaged_signature_is_found() {
    let world = World::new();
    let good = world.good();
    let mut der = good[0].der().to_vec();
    // The last octets belong to the signature's second integer.
    *der.last_mut().unwrap() ^= 1;
    let damaged = Certificate::from_der(&der).unwrap();
    let judgement = world.judge(&[damaged, good[1].clone(), good[2].clone()]);
    assert_eq!(codes(&judgement), ["wrong_intermediate"], "{judgement:?}");
}

#[test]
fn history_and_origin_count() {
    let world = World::new();
    let sent = world.good();
    let serials = leak([sent[0].serial().clone()]);
    let before = leak(Printable::new("CN=Somebody"));
    let staging = Origin { directory: "https://staging.example/dir", rehearsal: true };
    let judgement = world.judge_with(&sent, |expected| {
        expected.old_serials = serials;
        expected.came_from = staging;
        expected.previous_issuer = Some(before);
    });
    assert_eq!(codes(&judgement), ["rehearsal", "wrong_directory", "serial_reused"]);
    assert!(noted(&judgement, "issuer_changed"));
    let judgement = world.judge_with(&sent, |expected| {
        expected.origin = Origin { rehearsal: true, ..expected.origin };
    });
    assert_eq!(codes(&judgement), ["rehearsal"]);
}

#[test]
fn five_minutes_of_skew_are_allowed_and_not_six() {
    let world = World::new();
    let sent = world.good();
    let validity = sent[0].validity();
    let at = |now| codes(&world.judge_with(&sent, |expected| expected.now = now));
    let minute = Duration::from_secs(60);
    assert_eq!(at(validity.start - minute * 4), Vec::<&str>::new());
    assert!(at(validity.start - minute * 6).contains(&"not_yet_valid"));
    assert_eq!(at(validity.end + minute * 4), Vec::<&str>::new());
    assert!(at(validity.end + minute * 6).contains(&"expired"));
}

#[test]
fn an_expired_root_is_no_root() {
    let mut params = ca("Root");
    params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    let mut world = World::new();
    world.root = Authority::root_with(params);
    world.upper = world.root.intermediate("Upper");
    world.lower = world.upper.intermediate("Lower");
    assert_eq!(codes(&world.judge(&world.good())), ["untrusted_root"]);
}

#[test]
fn unknown_roots_are_noted_and_the_rest_is_still_judged() {
    let world = World::new();
    let unchecked = Anchors::unchecked();
    let judge = |sent: &[Certificate]| world.judge_with(sent, |expected| expected.anchors = leak(unchecked.clone()));
    let judgement = judge(&world.good());
    assert!(judgement.accepted() && noted(&judgement, "trust_unchecked"), "{judgement:?}");
    assert_eq!(codes(&judge(&world.good()[..1])), ["missing_intermediate"]);
    let client = world.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(codes(&judge(&world.chain(client))), ["eku_not_server"]);
}

#[test]
fn a_client_certificate_is_judged_as_one() {
    let world = World::new();
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let (server_only, both) = (world.good(), world.chain(world.leaf(|p| p.extended_key_usages = both)));
    for (usage, sent, expected) in
        [(Usage::Both, &both, &[][..]), (Usage::Client, &both, &[]), (Usage::Both, &server_only, &["eku_not_client"])]
    {
        assert_eq!(codes(&world.judge_with(sent, |e| e.usage = usage)), expected);
    }
}

/// What can be wrong, each with the code that must then be among the violations; `None` when it must not be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    OtherKey,
    MissingName,
    ExtraName,
    Expired,
    Future,
    WrongUsage,
    CaLeaf,
    PathLength,
    ExpiredIntermediate,
    LeafOnly,
    Foreign,
    Misordered,
    RootIncluded,
    Duplicate,
}

const DEFECTS: [(Defect, Option<&str>); 14] = [
    (Defect::OtherKey, Some("key_mismatch")),
    (Defect::MissingName, Some("san_missing")),
    (Defect::ExtraName, Some("san_extra")),
    (Defect::Expired, Some("expired")),
    (Defect::Future, Some("not_yet_valid")),
    (Defect::WrongUsage, Some("eku_not_server")),
    (Defect::CaLeaf, Some("leaf_is_ca")),
    (Defect::PathLength, Some("path_length")),
    (Defect::ExpiredIntermediate, Some("expired_intermediate")),
    (Defect::LeafOnly, Some("missing_intermediate")),
    (Defect::Foreign, Some("wrong_intermediate")),
    (Defect::Misordered, Some("chain_out_of_order")),
    (Defect::RootIncluded, None),
    (Defect::Duplicate, None),
];

/// The chain with all of `defects`, and whether its intermediates are such that defects of theirs can be seen.
fn defective(defects: &[Defect]) -> (World, Vec<Certificate>) {
    let has = |defect| defects.contains(&defect);
    let (mut upper, mut lower) = (ca("Upper"), ca("Lower"));
    if has(Defect::PathLength) {
        upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }
    if has(Defect::ExpiredIntermediate) {
        lower.not_after = rcgen::date_time_ymd(2026, 2, 1);
    }
    let world = World::with(upper, lower);
    let names: &[&str] = match (has(Defect::MissingName), has(Defect::ExtraName)) {
        (false, false) => &NAMES,
        (true, false) => &NAMES[..1],
        (false, true) => &["a.example", "*.b.example", "c.example"],
        (true, true) => &["a.example", "c.example"],
    };
    let mut params = server(names);
    if has(Defect::Expired) {
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    }
    if has(Defect::Future) {
        params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    }
    if has(Defect::WrongUsage) {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    }
    if has(Defect::CaLeaf) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = if has(Defect::OtherKey) { &KeyPair::generate().unwrap() } else { &world.key };
    let mut sent = world.chain(world.lower.sign(&params, key));
    if has(Defect::Foreign) {
        sent[1] = world.upper.intermediate("Elsewhere").certificate;
    }
    if has(Defect::Misordered) {
        sent.swap(1, 2);
    }
    if has(Defect::Duplicate) {
        sent.push(sent[1].clone());
    }
    if has(Defect::RootIncluded) {
        sent.push(world.root.certificate.clone());
    }
    if has(Defect::LeafOnly) {
        sent.truncate(1);
    }
    (world, sent)
}

/// Defects that another one hides: there is no chain to see them in, or a leaf that has ended before it began.
fn hidden(defect: Defect, defects: &[Defect]) -> bool {
    let broken = [Defect::LeafOnly, Defect::Foreign].iter().any(|cut| *cut != defect && defects.contains(cut));
    match defect {
        Defect::PathLength | Defect::ExpiredIntermediate | Defect::Misordered => broken,
        Defect::Foreign => defects.contains(&Defect::LeafOnly),
        // A validity the wrong way round is one that begins later.
        Defect::Expired => defects.contains(&Defect::Future),
        _ => false,
    }
}

fn subset() -> impl Strategy<Value = Vec<Defect>> {
    proptest::sample::subsequence(DEFECTS.map(|(defect, _)| defect).to_vec(), 0..=4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_defects_are_all_found_and_nothing_else(defects in subset()) {
        let (world, sent) = defective(&defects);
        let found = codes(&world.judge(&sent));
        // A second copy makes two orders possible, one of them right.
        let misorder_healed = defects.contains(&Defect::Duplicate) && defects.contains(&Defect::Misordered);
        for (defect, code) in DEFECTS {
            let Some(code) = code else { continue };
            if defect == Defect::Misordered && misorder_healed {
                continue;
            }
            let expected = defects.contains(&defect) && !hidden(defect, &defects);
            let cut = code == "missing_intermediate" || code == "wrong_intermediate";
            prop_assert_eq!(found.contains(&code), expected || (cut && found.contains(&code) && hidden_cut(&defects)),
                "{}: {:?} gave {:?}", code, defects, found);
        }
        let harmless = defects.iter().all(|d| matches!(d, Defect::RootIncluded | Defect::Duplicate));
        prop_assert_eq!(found.is_empty(), harmless, "{:?} gave {:?}", defects, found);
    }
}

/// A foreign intermediate that was cut off again is a missing one.
fn hidden_cut(defects: &[Defect]) -> bool {
    defects.contains(&Defect::LeafOnly) && defects.contains(&Defect::Foreign)
}

/// What the gate checks and `openssl verify` does not: names, key, order; and a CA used as a server, which it lets pass.
const OURS_ALONE: [Defect; 5] =
    [Defect::OtherKey, Defect::MissingName, Defect::ExtraName, Defect::Misordered, Defect::CaLeaf];

#[test]
fn openssl_agrees_on_every_chain() {
    let openssl = |root: &Certificate, sent: &[Certificate]| {
        openssl_accepts(std::slice::from_ref(root), sent, &["-purpose", "sslserver"], in_2026())
    };
    let singles = DEFECTS.map(|(defect, _)| vec![defect]);
    let pairs = [vec![], vec![Defect::RootIncluded, Defect::Expired], vec![Defect::Duplicate, Defect::LeafOnly]];
    for defects in singles.into_iter().chain(pairs) {
        if defects.iter().any(|defect| OURS_ALONE.contains(defect)) {
            continue;
        }
        let (world, sent) = defective(&defects);
        let ours = world.judge(&sent);
        let theirs = openssl(&world.root.certificate, &sent);
        assert_eq!(ours.accepted(), theirs, "{defects:?}: {ours:?}");
        if theirs {
            let corrected = parse::chain(format!("{}{}", ours.cert, ours.chain).as_bytes()).unwrap();
            assert!(openssl(&world.root.certificate, &corrected));
        }
    }
}
