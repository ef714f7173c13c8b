//! Two independent defects at once are two findings.

use super::*;
use crate::probe::label::Label::*;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, date_time_ymd};

/// What can be wrong, and the label it then has.
const DEFECTS: [Label; 16] = [
    MissingIntermediate,
    WrongIntermediate,
    UntrustedRoot,
    Expired,
    ExpiringSoon,
    NotYetValid,
    ExpiredIntermediate,
    NameMismatch,
    EkuNotServer,
    PathLength,
    NameConstraint,
    PinMismatch,
    ChainOutOfOrder,
    ValidityTooLong,
    RootIncluded,
    DuplicateInChain,
];

fn defective(defects: &[Label]) -> Case {
    let has = |label| defects.contains(&label);
    let (mut upper, mut lower) = (ca("Upper"), ca("Lower"));
    if has(PathLength) {
        upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }
    if has(ExpiredIntermediate) {
        upper.not_after = date_time_ymd(2026, 2, 1);
    }
    if has(NameConstraint) {
        let excluded_subtrees = vec![GeneralSubtree::DnsName("b.example".into())];
        lower.name_constraints = Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees });
    }
    let world = World::with(ca("Test Root"), upper, lower);
    let leaf = world.leaf(|params| {
        if has(ValidityTooLong) {
            (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2027, 12, 1));
        }
        if has(Expired) {
            params.not_after = date_time_ymd(2026, 5, 1);
        }
        if has(ExpiringSoon) {
            params.not_after = date_time_ymd(2026, 6, 3);
        }
        if has(NotYetValid) {
            params.not_after += date_time_ymd(2026, 6, 5) - params.not_before;
            params.not_before = date_time_ymd(2026, 6, 5);
        }
        if has(EkuNotServer) {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }
    });
    let mut sent = vec![leaf, world.lower.certificate.clone(), world.upper.certificate.clone()];
    if has(MissingIntermediate) {
        sent.truncate(1);
    }
    if has(WrongIntermediate) {
        sent.splice(1.., [world.upper.intermediate("Lower").certificate]);
    }
    if has(ChainOutOfOrder) {
        sent.swap(1, 2);
    }
    if has(DuplicateInChain) {
        sent.push(sent[0].clone());
    }
    if has(RootIncluded) {
        sent.push(world.root.certificate.clone());
    }
    Case::new(&world.root.certificate, sent).with(|case| {
        if has(UntrustedRoot) {
            case.stores = vec![vec![Authority::root("Another Root").certificate]];
        }
        if has(NameMismatch) {
            case.names = vec!["c.example".parse().unwrap()];
        }
        if has(PinMismatch) {
            case.pins = vec![Authority::root("Stranger").certificate.key()];
        }
    })
}

/// Defects that cannot be had together: two of one kind, or one in a certificate that the other takes away.
fn exclude(a: Label, b: Label) -> bool {
    const KINDS: [&[Label]; 3] = [
        &[MissingIntermediate, WrongIntermediate, UntrustedRoot, ChainOutOfOrder],
        &[Expired, ExpiringSoon, NotYetValid],
        &[MissingIntermediate, WrongIntermediate, ExpiredIntermediate, PathLength, NameConstraint],
    ];
    KINDS.iter().any(|kind| kind.contains(&a) && kind.contains(&b) && !together(a, b))
}

/// Of those, what can be had together all the same.
fn together(a: Label, b: Label) -> bool {
    const CHAINS: [Label; 3] = [ExpiredIntermediate, PathLength, NameConstraint];
    (CHAINS.contains(&a) && CHAINS.contains(&b)) || [(UntrustedRoot, ChainOutOfOrder)].contains(&(a, b))
}

#[test]
fn each_pair_of_defects_is_both_and_nothing_else() {
    let mut pairs = 0;
    for (at, first) in DEFECTS.into_iter().enumerate() {
        let alone = defective(&[first]);
        for second in DEFECTS.into_iter().skip(at + 1).filter(|second| !exclude(first, *second)) {
            let mut expected = vec![first, second];
            if expected.iter().all(|label| label.severity() < Severity::Warn) {
                expected.push(Ok);
            }
            expected.sort_by_key(|label| (std::cmp::Reverse(label.severity()), *label));
            assert_eq!(defective(&[first, second]).labels(), expected, "{first:?} and {second:?}");
            pairs += 1;
        }
        let told: Vec<Label> = alone.labels().into_iter().filter(|label| *label != Ok).collect();
        assert_eq!(told, [first]);
    }
    assert!(pairs > 90, "only {pairs} pairs");
}
