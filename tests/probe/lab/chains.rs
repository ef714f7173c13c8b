//! Certificates and their chains.

use super::*;
use rcgen::{CustomExtension, GeneralSubtree, KeyIdMethod, NameConstraints};

#[test]
fn whom_it_is_for_and_how_long() {
    let world = World::new();
    let named = |what, asked, names: &'static [&'static str], labels: &[&'static str]| {
        let case = world.whole(what, labels, |params| params.subject_alt_names = server(names).subject_alt_names);
        case.with(|case| case.asked = asked)
    };
    let dated = |what, labels: &[&'static str], from, to| world.whole(what, labels, |params| span(params, from, to));
    let common = |what, name: &'static str, labels: &[&'static str]| {
        world.whole(what, labels, |params| {
            params.subject_alt_names.clear();
            params.distinguished_name.push(DnType::CommonName, name);
        })
    };
    hold(&[
        world.whole("a good one", &[], |_| {}),
        named("a wildcard", "a.shop.test", &["*.shop.test"], &[]),
        named("one of many names", NAME, &["a.test", "b.test", NAME], &[]),
        named("an address", "10.1.2.3", &["10.1.2.3"], &[]),
        named("an international name", "bücher.test", &["xn--bcher-kva.test"], &[]),
        named("another name", NAME, &["other.test"], &["name_mismatch"]).refused(),
        named("a wildcard too high", "b.a.shop.test", &["*.shop.test"], &["name_mismatch"]).refused(),
        named("a wildcard below a top-level name", NAME, &["*.test"], &["name_mismatch"]).refused(),
        named("a wildcard's own base", NAME, &["*.shop.test"], &["name_mismatch"]).refused(),
        named("an address that is not in it", "10.1.2.4", &["10.1.2.3"], &["name_mismatch"]).refused(),
        // OpenSSL still takes the common name; browsers, Go and Rust do not.
        common("the common name only", NAME, &["cn_only_no_san"]),
        common("another common name", "other.test", &["name_mismatch"]).refused(),
        dated("the last third of its life", &[], -60, 30),
        dated("the last fifth of its life", &["expiring_soon"], -80, 20),
        dated("ended yesterday", &["expired"], -90, -1).refused(),
        dated("begins tomorrow", &["not_yet_valid"], 1, 90).refused(),
        dated("a year and a month", &[], -10, 387),
        dated("more than two years", &["validity_too_long"], -10, 730),
        world
            .whole("not for servers", &["eku_not_server"], |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            })
            .refused(),
        world.whole("for both", &[], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        }),
        world.whole("for anything", &[], |params| params.extended_key_usages.clear()),
        world
            .whole("two defects", &["expired", "name_mismatch"], |params| {
                span(params, -90, -1);
                params.subject_alt_names = server(&["other.test"]).subject_alt_names;
            })
            .refused(),
    ]);
}

#[test]
fn where_trust_ends() {
    let world = World::new();
    let (other, old) = (Authority::root("Other Root"), Authority::root("Old Root"));
    let (leaf, key) = world.leaf(|_| {});
    let (root, upper, lower) = (&*world.root.pem, &*world.upper.pem, &*world.lower.pem);
    let sent = |what, sent: &[&str], labels: &[&'static str]| world.case(what, sent, &key, labels);
    let trusting = |case: Case, stores: &[&str]| {
        case.with(|case| case.stores = stores.iter().map(|it| (*it).to_owned()).collect())
    };
    let own = KeyPair::generate().unwrap();
    let mut params = server(&[NAME]);
    // curl takes no certificate whose issuer has no name.
    params.distinguished_name.push(DnType::CommonName, "An appliance");
    let selfish = params.self_signed(&own).unwrap().pem();
    let (direct, direct_key) = issue(&world.root, |_| {});
    let whole = [&*leaf, lower, upper];
    let crossed = world.root.also_by(&old);
    let stranger = Authority::root("Elsewhere").below(ca("Stranger")).pem;
    let twin = world.upper.below(ca("Lower")).pem;
    hold(&[
        sent("a good one", &whole, &[]),
        world.case("directly by the root", &[&direct], &direct_key, &[]),
        sent("with its root", &[&leaf, lower, upper, root], &["root_included"]),
        sent("twice the same", &[&leaf, lower, upper, lower], &["duplicate_in_chain"]),
        sent("with a stranger", &[&leaf, lower, upper, &stranger], &["extra_in_chain"]),
        sent("the leaf alone", &[&leaf], &["missing_intermediate"]).refused(),
        sent("the leaf and the root", &[&leaf, root], &["missing_intermediate", "root_included"]).refused(),
        sent("another's intermediate", &[&leaf, &stranger], &["wrong_intermediate"]).refused(),
        sent("the intermediate of another key", &[&leaf, &twin, upper], &["wrong_intermediate"]).refused(),
        sent("the wrong way round", &[&leaf, upper, lower], &["chain_out_of_order"]),
        trusting(sent("another root is trusted", &whole, &["untrusted_root"]), &[&other.pem]).refused(),
        trusting(
            sent("that, and the root is sent", &[&leaf, lower, upper, root], &["root_included", "untrusted_root"]),
            &[&other.pem],
        )
        .refused(),
        trusting(sent("two stores, and one trusts it", &whole, &["trust_store_mismatch"]), &[root, &old.pem]),
        trusting(sent("two stores, and a cross-signature", &[&leaf, lower, upper, &crossed], &[]), &[root, &old.pem]),
        world.case("signed by itself", &[&selfish], &own.serialize_pem(), &["self_signed"]).refused(),
        trusting(world.case("signed by itself, and trusted", &[&selfish], &own.serialize_pem(), &[]), &[&selfish]),
        sent("a pin of another key", &whole, &["pin_mismatch"]).with(|case| {
            case.args = vec!["--pin".into(), "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()];
        }),
        sent("alone, and two stores", &[&leaf], &["missing_intermediate"])
            .with(|case| case.stores.push(old.pem.clone()))
            .refused(),
    ]);
}

#[test]
fn several_ways_and_old_ones() {
    let world = World::new();
    let old = Authority::root("Old Root");
    let (leaf, key) = world.leaf(|_| {});
    let (upper, lower) = (&*world.upper.pem, &*world.lower.pem);
    let sent = |what, sent: &[&str], labels: &[&'static str]| world.case(what, sent, &key, labels);
    // Two keys under one name and one identifier: nothing but the signature tells them apart.
    let mut silent = ca("Lower");
    silent.key_identifier_method = KeyIdMethod::PreSpecified(vec![7]);
    let twins = World::with(ca("Test Root"), ca("Upper"), silent.clone());
    let twin = twins.upper.below(silent).pem;
    let (twins_leaf, twins_key) = twins.leaf(|_| {});
    let by_stranger = world.lower.also_by(&Authority::root("Stranger"));
    let mut ended = ca("Lower");
    span(&mut ended, -100, -1);
    let expired = World::with(ca("Test Root"), ca("Upper"), ended);
    hold(&[
        sent("a cross-signature beside the root", &[&leaf, lower, upper, &world.root.also_by(&old)], &[]),
        sent(
            "a cross-signature that ended",
            &[&leaf, lower, upper, &world.root.ended_by(&old)],
            &["expired_cross_sign"],
        ),
        sent("that, and first", &[&leaf, &world.lower.ended_by(&old), lower, upper], &["expired_cross_sign"]),
        expired.whole("an intermediate that ended", &["expired_intermediate"], |_| {}).refused(),
        sent("a stranger's signature first", &[&leaf, &by_stranger, lower, upper], &["path_client_dependent"])
            .refused(),
        sent("a stranger's signature last", &[&leaf, lower, upper, &by_stranger], &[]),
        twins
            .case(
                "a twin first",
                &[&twins_leaf, &twin, &twins.lower.pem, &twins.upper.pem],
                &twins_key,
                &["extra_in_chain", "path_client_dependent"],
            )
            .refused(),
        twins.case(
            "a twin last",
            &[&twins_leaf, &twins.lower.pem, &twins.upper.pem, &twin],
            &twins_key,
            &["extra_in_chain"],
        ),
    ]);
}

#[test]
fn what_issuers_may_do() {
    let with = |what, labels: &[&'static str], change: &dyn Fn(&mut CertificateParams, &mut CertificateParams)| {
        let (mut upper, mut lower) = (ca("Upper"), ca("Lower"));
        change(&mut upper, &mut lower);
        World::with(ca("Test Root"), upper, lower).whole(what, labels, |_| {})
    };
    let constrained = |permitted: &str, excluded: &str| {
        let names = |name: &str| {
            if name.is_empty() { Vec::new() } else { vec![GeneralSubtree::DnsName(name.to_owned())] }
        };
        Some(NameConstraints { permitted_subtrees: names(permitted), excluded_subtrees: names(excluded) })
    };
    hold(&[
        with("as many below as it allows", &[], &|upper, _| upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))),
        with("more below than it allows", &["path_length"], &|upper, _| {
            upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        })
        .refused(),
        with("an issuer that is no CA", &["issuer_not_ca"], &|_, lower| lower.is_ca = IsCa::ExplicitNoCa).refused(),
        with("an issuer that may not sign", &["issuer_not_ca"], &|_, lower| {
            lower.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        })
        .refused(),
        with("within what is permitted", &[], &|_, lower| lower.name_constraints = constrained("test", "other.test")),
        with("outside of what is permitted", &["name_constraint"], &|_, lower| {
            lower.name_constraints = constrained("example", "");
        })
        .refused(),
        with("within what is excluded", &["name_constraint"], &|upper, _| {
            upper.name_constraints = constrained("", "shop.test");
        })
        .refused(),
        with("an issuer for clients only", &["eku_not_server"], &|_, lower| {
            lower.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
        .refused(),
        with("an issuer for both", &[], &|_, lower| {
            lower.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        }),
    ]);
}

#[test]
fn how_large() {
    let world = World::new();
    let padded = |what, labels: &[&'static str], kilobytes: usize| {
        world.whole(what, labels, |params| {
            // A private extension that nobody reads.
            let filler = [
                &[0x04, 0x83],
                &u32::try_from(kilobytes << 10).unwrap().to_be_bytes()[1..],
                &vec![0x61; kilobytes << 10],
            ];
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], filler.concat())];
        })
    };
    hold(&[
        padded("large", &[], 20),
        padded("larger than some clients take", &["cert_too_large"], 80),
        padded("larger than any client takes", &["cert_too_large"], 120).refused(),
    ]);
}

/// A root, and leaves by it of keys and hashes that rcgen does not make: `(root, leaves with their keys)`.
fn by_openssl(kinds: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let dir = scratch("openssl");
    let mut script = String::from(
        "openssl req -x509 -newkey rsa:2048 -nodes -sha256 -subj '/CN=Test Root' -days 9 -keyout r.key -out r.pem \
           -addext keyUsage=critical,keyCertSign\nprintf 'subjectAltName=DNS:shop.test\n' > ext\n",
    );
    for (number, (key, hash)) in kinds.iter().enumerate() {
        let _ = writeln!(
            script,
            "openssl req -newkey {key} -nodes -subj /CN=leaf -keyout {number}.key -out l.csr
             openssl x509 -req -in l.csr -CA r.pem -CAkey r.key -CAcreateserial -days 5 -{hash} -extfile ext -out {number}.pem"
        );
    }
    let made = Command::new("sh").arg("-ec").arg(script).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: String| fs::read_to_string(dir.path().join(name)).unwrap();
    let leaves = (0..kinds.len()).map(|at| (read(format!("{at}.pem")), read(format!("{at}.key")))).collect();
    (read("r.pem".into()), leaves)
}

#[test]
fn weak_cryptography() {
    let (root, leaves) =
        by_openssl(&[("rsa:2048", "sha256"), ("rsa:1024", "sha256"), ("rsa:2048", "sha1"), ("rsa:3072", "sha384")]);
    let world = World::new();
    let case = |at: usize, what, labels: &[&'static str]| {
        let (leaf, key): &(String, String) = &leaves[at];
        world.case(what, &[leaf], key, labels).with(|case| case.stores = vec![root.clone()])
    };
    hold(&[
        case(0, "a good one", &[]),
        case(1, "an RSA key of 1024 bits", &["weak_key"]).refused(),
        case(2, "signed with SHA-1", &["weak_signature"]).refused(),
        case(3, "an RSA key of 3072 bits", &[]),
    ]);
}

#[test]
fn each_of_two_certificates_is_judged() {
    let world = World::new();
    let dir = scratch("families");
    let both = |what, labels: &[&'static str], change: &dyn Fn(&mut CertificateParams)| {
        let mut params = server(&[NAME]);
        change(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let chain = [world.lower.sign(&params, &key), world.lower.pem.clone(), world.upper.pem.clone()].concat();
        let file = |kind: &str, text: &str| {
            let path = dir.path().join(format!("{what}.{kind}"));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (chain, key) = (file("pem", &chain), file("key", &key.serialize_pem()));
        world.whole(what, labels, |_| {}).with(|case| {
            case.directives = format!("ssl_certificate {chain}; ssl_certificate_key {key};");
        })
    };
    // openssl and curl get the other one.
    hold(&[
        both("good", &[], &|_| {}),
        both("ended", &["expired"], &|params| span(params, -90, -1)),
        both("named", &["name_mismatch"], &|params| params.subject_alt_names = server(&["a.test"]).subject_alt_names),
    ]);
}
