//! At least one case for each label, and a healthy look-alike beside it.

use super::*;
use crate::pki::testing::{by_openssl, ended};
use crate::probe::label::Label::*;
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
    date_time_ymd,
};

/// Holds `case` to exactly `expected`, most telling first; what fails must be refused by openssl or webpki, and the rest by
/// neither.
#[track_caller]
fn holds(case: &Case, expected: &[Label]) {
    assert_eq!(case.labels(), expected, "{:#?}", case.verdict());
    assert_eq!(case.clients_accept(), passes(&case.verdict()), "openssl {}", case.openssl_accepts());
}

/// As [`holds`], where both witnesses look away.
#[track_caller]
fn holds_alone(case: &Case, expected: &[Label]) {
    assert_eq!(case.labels(), expected, "{:#?}", case.verdict());
    assert!(case.clients_accept() && !passes(&case.verdict()));
}

/// Certificates as they come after `leaf`, `lower` and `upper`.
fn and(world: &World, more: &[&Certificate]) -> Case {
    let mut case = world.case(|_| {});
    case.sent.extend(more.iter().map(|it| (*it).clone()));
    case
}

#[test]
fn dates() {
    let world = World::new();
    let at = |text: &str| world.case(|_| {}).with(|case| case.now = text.parse().unwrap());
    holds(&at("2025-12-31T23:59:59Z"), &[NotYetValid; 4]);
    holds(&at("2026-01-01T00:00:00Z"), &[Ok]);
    holds(&at("2026-09-30T00:00:00Z"), &[Ok]);
    holds(&at("2026-10-05T00:00:00Z"), &[ExpiringSoon]);
    let long = |name: &str| {
        let mut params = ca(name);
        params.not_after = date_time_ymd(2030, 1, 1);
        params
    };
    let lasting = World::with(long("Test Root"), long("Upper"), long("Lower"));
    let later = |usage| {
        lasting.case(both).with(|case| (case.now, case.usage) = ("2027-01-01T00:00:00Z".parse().unwrap(), usage))
    };
    holds(&later(Usage::Server), &[Expired]);
    holds(&later(Usage::Client), &[ClientCertExpired]);
    let early = lasting.case(|p| p.not_before = date_time_ymd(2026, 6, 2));
    holds(&early, &[NotYetValid]);
}

fn both(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
}

#[test]
fn names() {
    let world = World::new();
    let asked = |name: &str, names: &[&str]| {
        Case::new(&world.root.certificate, {
            let leaf = world.lower.leaf(names);
            vec![leaf, world.lower.certificate.clone(), world.upper.certificate.clone()]
        })
        .with(|case| case.names = vec![name.parse().unwrap()])
    };
    holds(&asked("a.example", &["a.example"]), &[Ok]);
    holds(&asked("www.b.example", &["*.b.example"]), &[Ok]);
    holds(&asked("10.0.0.1", &["10.0.0.1"]), &[Ok]);
    holds(&asked("xn--bcher-kva.example", &["xn--bcher-kva.example"]), &[Ok]);
    let seen = |case: &Case| case.verdict().findings()[0].seen.to_string();
    // webpki is asked about the chain alone; openssl about the name as well.
    let other = asked("b.example", &["a.example"]);
    holds(&other, &[NameMismatch]);
    assert_eq!(seen(&other), "the certificate does not cover b.example: it is for a.example");
    let deep = asked("x.www.b.example", &["*.b.example"]);
    holds(&deep, &[NameMismatch]);
    assert!(
        seen(&deep).ends_with("it is for *.b.example (a wildcard stands for exactly one label)"),
        "{}",
        seen(&deep)
    );
    let high = asked("a.example", &["*.example"]);
    holds(&high, &[NameMismatch]);
    assert!(seen(&high).ends_with("(no wildcard counts directly below a top-level name)"), "{}", seen(&high));
    let address = asked("10.0.0.2", &["a.example"]);
    holds(&address, &[NameMismatch]);
    assert!(seen(&address).contains("as an address"), "{}", seen(&address));
    let nameless = |common: &str| {
        world.case(|p| {
            p.subject_alt_names.clear();
            p.distinguished_name.push(rcgen::DnType::CommonName, common);
        })
    };
    // OpenSSL still takes the common name; browsers, Go and webpki do not.
    holds_alone(&nameless("a.example"), &[CnOnlyNoSan]);
    holds_alone(&nameless("a.example").with(|case| case.names.clear()), &[CnOnlyNoSan]);
    holds(&nameless("b.example"), &[NameMismatch]);
    holds_alone(&nameless("An appliance").with(|case| case.names.clear()), &[NameMismatch]);
    let device = world.case(|p| {
        p.subject_alt_names.clear();
        p.distinguished_name.push(rcgen::DnType::CommonName, "device 7");
        both(p);
    });
    holds(&device.with(|case| (case.names, case.usage) = (Vec::new(), Usage::Client)), &[Ok]);
}

#[test]
fn where_trust_ends() {
    let world = World::new();
    let (root, foreign) = (&world.root.certificate, Authority::root("Another Root").certificate);
    let trusting = |store: &Certificate, sent: &[Certificate]| Case::new(store, sent);
    let sent = world.sent(|_| {});
    holds(&trusting(root, &sent), &[Ok]);
    holds(&trusting(&foreign, &sent), &[UntrustedRoot]);
    let with_root = [sent.as_slice(), std::slice::from_ref(root)].concat();
    holds(&trusting(root, &with_root), &[RootIncluded, Ok]);
    holds(&trusting(&foreign, &with_root), &[UntrustedRoot, RootIncluded]);
    let twin = Authority::root("Test Root").certificate;
    let rekeyed = trusting(&twin, &sent);
    holds(&rekeyed, &[UntrustedRoot]);
    assert!(rekeyed.verdict().findings()[0].seen.as_str().contains("another key"), "{:?}", rekeyed.verdict());
    let direct = world.root.leaf(&["a.example"]);
    holds(&trusting(root, std::slice::from_ref(&direct)), &[Ok]);
    holds(&trusting(&foreign, &[direct]), &[UntrustedRoot]);
    let key = KeyPair::generate().unwrap();
    let own = |params: &CertificateParams| Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let selfish = own(&server(&["a.example"]));
    holds(&trusting(root, std::slice::from_ref(&selfish)), &[SelfSigned]);
    holds(&trusting(&selfish, std::slice::from_ref(&selfish)), &[Ok]);
    // What `openssl req -x509` makes calls itself a CA; webpki alone minds.
    let mut appliance = server(&["a.example"]);
    appliance.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let appliance = own(&appliance);
    let trusted = trusting(&appliance, std::slice::from_ref(&appliance));
    assert_eq!((trusted.labels(), trusted.openssl_accepts()), (vec![Ok], true));
    holds(&world.case(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), &[Unverifiable]);
}

#[test]
fn whose_clients_a_server_trusts() {
    let (world, other) = (World::new(), Authority::root("Other CA"));
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names.clear();
    };
    let asked = |root: &Certificate, sent: Vec<Certificate>| {
        Case::new(root, sent).with(|case| (case.names, case.usage) = (Vec::new(), Usage::Client))
    };
    let (root, foreign) = (&world.root.certificate, &other.certificate);
    holds(&asked(root, world.sent(client)), &[Ok]);
    holds(&asked(foreign, world.sent(client)), &[ClientCertUntrusted]);
    let direct = |name: &str| {
        let mut params = server(&[]);
        client(&mut params);
        Authority::root(name).sign(&params, &KeyPair::generate().unwrap())
    };
    // A private CA that issues leaves itself, which no name tells from an intermediate.
    holds(&asked(foreign, vec![direct("Devices of Example")]), &[ClientCertUntrusted]);
    holds(&asked(foreign, vec![direct("Other CA")]), &[ClientCertUntrusted]);
    holds(&asked(foreign, vec![direct("Example Issuing CA 1")]), &[MissingIntermediate]);
    let both = asked(root, world.sent(client)).with(|case| case.stores.push(vec![foreign.clone()]));
    holds(&both, &[TrustStoreMismatch]);
}

#[test]
fn several_stores() {
    let world = World::new();
    let (old, other) = (Authority::root("Old Root"), Authority::root("Other Root"));
    let cross = world.root.also_by(&old);
    let stores = |stores: &[&Certificate], sent: &[Certificate]| {
        Case::new(&world.root.certificate, sent)
            .with(|case| case.stores = stores.iter().map(|root| vec![(*root).clone()]).collect())
    };
    let sent = world.sent(|_| {});
    let long = [sent.as_slice(), &[cross]].concat();
    holds(&stores(&[&world.root.certificate, &old.certificate], &long), &[Ok]);
    holds(&stores(&[&world.root.certificate, &old.certificate], &sent), &[TrustStoreMismatch]);
    let neither = stores(&[&old.certificate, &other.certificate], &sent);
    holds(&neither, &[UntrustedRoot]);
    let split = stores(&[&other.certificate, &world.root.certificate], &sent);
    let seen = split.verdict().findings()[0].seen.to_string();
    assert!(seen.starts_with("trusted by store 2, and not by store 1: it lacks the issuer of CN=Upper"), "{seen}");
}

#[test]
fn what_is_wanting() {
    let world = World::new();
    let leaf_only = |leaf: Certificate| Case::new(&world.root.certificate, [leaf]);
    holds(&leaf_only(world.leaf(|_| {})), &[MissingIntermediate]);
    let url = b"http://ca.example/lower.crt";
    let length = u8::try_from(url.len()).unwrap();
    let mut access = vec![0x30, 14 + length, 0x30, 12 + length, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, length];
    access.extend(url);
    let access = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
    let fetchable = leaf_only(world.leaf(|p| p.custom_extensions = vec![access]));
    holds(&fetchable, &[MissingIntermediate]);
    let seen = fetchable.verdict().findings()[0].seen.to_string();
    let key = data_encoding::HEXLOWER.encode(world.lower.certificate.subject_key.as_deref().unwrap());
    let told = format!(
        "a.example comes without its issuer: CN=Lower, key identifier {key}. It can be fetched from \
         http://ca.example/lower.crt: works in browsers, fails in curl"
    );
    assert_eq!(seen, told);
    let leaf = world.leaf(|_| {});
    let root = world.root.certificate.clone();
    holds(&Case::new(&root, [leaf.clone(), root.clone()]), &[MissingIntermediate, RootIncluded]);
    // The second intermediate is wanting, and only its name says that it is one.
    let tall = World::with(ca("Test Root"), ca("Upper Intermediate"), ca("Lower"));
    let half = Case::new(&tall.root.certificate, &tall.sent(|_| {})[..2]);
    holds(&half, &[MissingIntermediate]);

    let stranger = Authority::root("Elsewhere").intermediate("Stranger").certificate;
    holds(&Case::new(&root, [leaf.clone(), stranger.clone()]), &[WrongIntermediate]);
    let twin = world.upper.intermediate("Lower").certificate;
    let rekeyed = Case::new(&root, [leaf.clone(), twin, world.upper.certificate.clone()]);
    holds(&rekeyed, &[WrongIntermediate]);
    assert!(rekeyed.verdict().findings()[0].seen.as_str().contains("certificate 2 has that name and another key"));
    let mut damaged = leaf.der().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut sent = world.sent(|_| {});
    sent[0] = Certificate::from_der(&damaged).unwrap();
    holds(&Case::new(&root, sent), &[WrongIntermediate]);
}

#[test]
fn what_is_superfluous() {
    let world = World::new();
    let stranger = Authority::root("Elsewhere").intermediate("Stranger").certificate;
    holds(&and(&world, &[&stranger]), &[ExtraInChain, Ok]);
    holds(&and(&world, &[&world.lower.certificate]), &[DuplicateInChain, Ok]);
    let mut swapped = world.case(|_| {});
    swapped.sent.swap(1, 2);
    holds(&swapped, &[ChainOutOfOrder]);
    let root = world.root.certificate.clone();
    let early = and(&world, &[]).with(|case| case.sent.insert(1, root));
    holds(&early, &[ChainOutOfOrder, RootIncluded]);
    let old = Authority::root("Old Root");
    holds(&and(&world, &[&world.root.also_by(&old)]), &[Ok]);
}

#[test]
fn cross_signatures_that_ended() {
    let world = World::new();
    let old = Authority::root("Old Root");
    let cross = world.root.ended_by(&old);
    holds(&and(&world, &[&cross]), &[ExpiredCrossSign]);
    let first = world.lower.ended_by(&old);
    holds(&and(&world, &[]).with(|case| case.sent.insert(1, first)), &[ExpiredCrossSign]);
    // As with DST Root X3: the cross-signature is in date, and the root it leads to is not.
    let gone = Authority::root_with(ended(ca("Gone Root")));
    let through = and(&world, &[&world.root.also_by(&gone)]);
    holds(&through.with(|case| case.stores[0].push(gone.certificate.clone())), &[ExpiredCrossSign]);
    let expired = World::with(ca("Test Root"), ca("Upper"), ended(ca("Lower")));
    holds(&expired.case(|_| {}), &[ExpiredIntermediate]);
    let expired = World::with(ended(ca("Test Root")), ca("Upper"), ca("Lower"));
    holds(&expired.case(|_| {}), &[UntrustedRoot]);
}

#[test]
fn paths_that_depend_on_the_client() {
    let mut silent = ca("Lower");
    silent.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![7]);
    // Two keys under one name and one identifier: nothing but the signature tells them apart.
    let world = World::with(ca("Test Root"), ca("Upper"), silent.clone());
    let twin = world.upper.intermediate_with(silent).certificate;
    let astray = and(&world, &[]).with(|case| case.sent.insert(1, twin.clone()));
    holds(&astray, &[PathClientDependent, ExtraInChain]);
    holds(&and(&world, &[&twin]), &[ExtraInChain, Ok]);
    // With an identifier of its own the twin is passed over.
    let world = World::new();
    let twin = world.upper.intermediate("Lower").certificate;
    holds(&and(&world, &[]).with(|case| case.sent.insert(1, twin)), &[ExtraInChain, Ok]);
    // Signed by a stranger as well, and that certificate comes first.
    let stranger = Authority::root("Stranger");
    let cross = world.lower.also_by(&stranger);
    holds(&and(&world, &[]).with(|case| case.sent.insert(1, cross.clone())), &[PathClientDependent]);
    holds(&and(&world, &[&cross]), &[Ok]);
}

#[test]
fn what_issuers_may_do() {
    let with = |change: fn(&mut CertificateParams)| {
        let (mut upper, lower) = (ca("Upper"), ca("Lower"));
        change(&mut upper);
        World::with(ca("Test Root"), upper, lower).case(|_| {})
    };
    holds(&with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), &[PathLength]);
    holds(&with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))), &[Ok]);
    holds(&with(|p| p.is_ca = IsCa::ExplicitNoCa), &[IssuerNotCa]);
    holds(&with(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), &[IssuerNotCa]);
    holds(&with(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]), &[EkuNotServer]);
    holds(&with(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), &[Ok]);
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let within = |permitted: &[&str], excluded: &[&str]| {
        let trees = |names: &[&str]| names.iter().map(|name| dns(name)).collect();
        let constraints = NameConstraints { permitted_subtrees: trees(permitted), excluded_subtrees: trees(excluded) };
        let mut upper = ca("Upper");
        upper.name_constraints = Some(constraints);
        World::with(ca("Test Root"), upper, ca("Lower")).case(|_| {})
    };
    holds(&within(&["example"], &[]), &[Ok]);
    holds(&within(&["a.example"], &[]), &[NameConstraint]);
    holds(&within(&[], &["b.example"]), &[NameConstraint]);
    holds(&within(&[], &["c.example"]), &[Ok]);
}

#[test]
fn what_the_leaf_may_do() {
    let world = World::new();
    let used = |usage, eku: &[ExtendedKeyUsagePurpose]| {
        world.case(|p| p.extended_key_usages = eku.to_vec()).with(|case| case.usage = usage)
    };
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    holds(&used(Usage::Server, std::slice::from_ref(&client)), &[EkuNotServer]);
    holds(&used(Usage::Server, &[ExtendedKeyUsagePurpose::Any]), &[EkuNotServer]);
    holds(&used(Usage::Server, &[]), &[Ok]);
    holds(&used(Usage::Server, &[server.clone(), client.clone()]), &[Ok]);
    holds(&used(Usage::Client, &[server]), &[ClientCertWrongUsage]);
    holds(&used(Usage::Client, &[client]), &[Ok]);
    holds(&used(Usage::Client, &[]), &[Ok]);
    holds(&used(Usage::Client, &[ExtendedKeyUsagePurpose::Any]), &[ClientCertWrongUsage]);
    let keyed = |usages: &[KeyUsagePurpose]| world.case(|p| p.key_usages = usages.to_vec());
    holds(&keyed(&[KeyUsagePurpose::DigitalSignature]), &[Ok]);
    holds(&keyed(&[KeyUsagePurpose::CrlSign]), &[EkuNotServer]);
}

#[test]
fn lifetimes_sizes_and_pins() {
    let world = World::new();
    let days = |days: u32| world.case(|p| p.not_after = p.not_before + std::time::Duration::from_secs(86_400) * days);
    holds(&days(398), &[Ok]);
    holds(&days(399), &[ValidityTooLong]);
    let names = |count: usize| {
        let names: Vec<String> =
            (0..count).map(|n| format!("host-{n:05}.some-long-label-to-fill-space.a.example")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("a.example");
        let leaf = world.lower.leaf(&names);
        Case::new(&world.root.certificate, [leaf, world.lower.certificate.clone(), world.upper.certificate.clone()])
    };
    holds(&names(1_000), &[Ok]);
    holds(&names(1_300), &[CertTooLarge]);
    let pinned = |pins: &[KeyId]| world.case(|_| {}).with(|case| case.pins = pins.to_vec());
    let stranger = Authority::root("Stranger").certificate.key();
    holds_alone(&pinned(&[stranger]), &[PinMismatch]);
    holds(&pinned(&[stranger, world.lower.certificate.key()]), &[Ok]);
    holds(&pinned(&[world.root.certificate.key()]), &[Ok]);
}

#[test]
fn weak_cryptography() {
    let case = |bits, hash| {
        let (root, leaf) = by_openssl(bits, hash);
        let now = leaf.validity().start + std::time::Duration::from_secs(60);
        Case::new(&root, [leaf]).with(|case| case.now = now)
    };
    holds(&case("2048", "sha256"), &[Ok]);
    holds(&case("1024", "sha256"), &[WeakKey]);
    holds(&case("2048", "sha1"), &[WeakSignature]);
    holds(&case("1024", "sha1"), &[WeakKey, WeakSignature]);
}
