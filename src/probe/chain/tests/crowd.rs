//! Random lists from a crowd of certificates: always an answer, soon, and the same as that of openssl and webpki.

use super::*;
use proptest::prelude::*;
use rcgen::{BasicConstraints, IsCa, KeyIdMethod};
use std::sync::LazyLock;

/// Certificates that fit together in many ways, good and bad; the first few are leaves.
struct Crowd {
    roots: Vec<Certificate>,
    members: Vec<Certificate>,
}

static CROWD: LazyLock<Crowd> = LazyLock::new(|| {
    let (world, old, stranger) = (World::new(), Authority::root("Old Root"), Authority::root("Stranger Root"));
    let mut silent = ca("Silent");
    silent.key_identifier_method = KeyIdMethod::PreSpecified(vec![7]);
    let quiet = world.upper.intermediate_with(silent.clone());
    let mut strict = ca("Strict");
    strict.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let strict = world.root.intermediate_with(strict);
    let below = strict.intermediate("Below");
    let mut layman = ca("Layman");
    layman.is_ca = IsCa::NoCa;
    let layman = world.root.intermediate_with(layman);
    let leaves = [&world.lower, &quiet, &below, &layman, &world.root].map(|issuer| issuer.leaf(&["a.example"]));
    let members = [
        leaves.to_vec(),
        vec![world.lower.certificate.clone(), world.upper.certificate.clone(), world.root.certificate.clone()],
        vec![quiet.certificate.clone(), world.upper.intermediate_with(silent).certificate],
        vec![strict.certificate.clone(), below.certificate.clone(), layman.certificate.clone()],
        vec![world.upper.intermediate("Lower").certificate, Authority::root("Test Root").certificate],
        vec![world.lower.also_by(&stranger), world.lower.ended_by(&old)],
        vec![world.upper.also_by(&old), world.upper.ended_by(&world.root), world.root.also_by(&old)],
        vec![old.also_by(&world.root), old.certificate.clone(), stranger.certificate.clone()],
    ];
    let roots = vec![world.root.certificate.clone(), old.certificate, stranger.certificate];
    Crowd { roots, members: members.concat() }
});

/// The number of certificates in the crowd, and of leaves among them.
const MEMBERS: usize = 23;
const LEAVES: usize = 5;

fn some() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let rest = proptest::collection::vec(0..MEMBERS, 0..7);
    let roots = proptest::sample::subsequence(vec![0, 1, 2], 1..=2);
    (0..LEAVES, rest, roots).prop_map(|(leaf, rest, roots)| ([vec![leaf], rest].concat(), roots))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, ..ProptestConfig::default() })]

    #[test]
    fn a_list_passes_exactly_when_both_witnesses_accept_it((sent, roots) in some()) {
        assert_eq!(CROWD.members.len(), MEMBERS);
        let sent: Vec<Certificate> = sent.iter().map(|at| CROWD.members[*at].clone()).collect();
        let case = Case::new(&CROWD.roots[0], sent)
            .with(|case| case.stores = vec![roots.iter().map(|at| CROWD.roots[*at].clone()).collect()]);
        let verdict = case.verdict();
        let (openssl, webpki) = (case.openssl_accepts(), case.webpki_accepts());
        prop_assert_eq!(passes(&verdict), openssl && webpki, "openssl {} webpki {}: {:#?}", openssl, webpki, verdict);
        // Where one succeeds and the other does not, that is the finding.
        let depends = verdict.findings().iter().any(|finding| finding.label == Label::PathClientDependent);
        prop_assert_eq!(depends, webpki && !openssl, "{:#?}", verdict);
    }

    #[test]
    fn any_order_of_the_rest_tells_the_same_of_trust(
        (sent, order) in proptest::sample::subsequence((0..MEMBERS).collect::<Vec<_>>(), 1..8)
            .prop_flat_map(|some| (Just(some.clone()), Just(some).prop_shuffle()))
    ) {
        let case = |rest: &[usize]| {
            let sent: Vec<Certificate> = [0].iter().chain(rest).map(|at| CROWD.members[*at].clone()).collect();
            Case::new(&CROWD.roots[0], sent)
        };
        // What depends on the order says so in its name.
        let fixed = |case: &Case| {
            let mut labels = case.labels();
            labels.retain(|label| !matches!(label, Label::ChainOutOfOrder | Label::PathClientDependent | Label::Ok));
            labels
        };
        prop_assert_eq!(fixed(&case(&sent)), fixed(&case(&order)));
    }
}

#[test]
fn a_hundred_that_all_sign_each_other_end_soon() {
    let root = Authority::root("Root");
    let (first, all) = root.cross_signed(16);
    let sent: Vec<Certificate> =
        std::iter::once(first.leaf(&["a.example"])).chain(all.iter().cycle().take(99).cloned()).collect();
    let began = std::time::Instant::now();
    let case = Case::new(&Authority::root("Other").certificate, sent);
    assert!(!passes(&case.verdict()));
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
