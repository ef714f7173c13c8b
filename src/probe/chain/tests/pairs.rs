//! Two independent defects at once are two findings.

use super::*;
use crate::probe::label::Label::*;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, date_time_ymd};

/// What can be wrong with a server's certificate, and the label it then has.
const SERVERS: [Label; 16] = [
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

/// The same of a client's; names and lifetimes are no matter there.
const CLIENTS: [Label; 14] = [
    MissingIntermediate,
    WrongIntermediate,
    ClientCertUntrusted,
    ClientCertExpired,
    ExpiringSoon,
    NotYetValid,
    ExpiredIntermediate,
    ClientCertWrongUsage,
    PathLength,
    NameConstraint,
    PinMismatch,
    ChainOutOfOrder,
    RootIncluded,
    DuplicateInChain,
];

/// The same defect of a server's certificate.
const fn of_a_server(label: Label) -> Label {
    match label {
        ClientCertUntrusted => UntrustedRoot,
        ClientCertExpired => Expired,
        ClientCertWrongUsage => EkuNotServer,
        other => other,
    }
}

fn defective(defects: &[Label], usage: Usage) -> Case {
    let has = |label| defects.iter().any(|defect| of_a_server(*defect) == label);
    // By its name an intermediate: where it is missing, nobody takes it for a CA that is not trusted.
    let (mut upper, mut lower) = (ca("Upper"), ca("Issuing"));
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
        if usage == Usage::Client {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
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
        sent.splice(1.., [world.upper.intermediate("Issuing").certificate]);
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
        case.usage = usage;
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
    let (a, b) = (of_a_server(a), of_a_server(b));
    KINDS.iter().any(|kind| kind.contains(&a) && kind.contains(&b) && !together(a, b))
}

/// Of those, what can be had together all the same.
fn together(a: Label, b: Label) -> bool {
    const CHAINS: [Label; 3] = [ExpiredIntermediate, PathLength, NameConstraint];
    (CHAINS.contains(&a) && CHAINS.contains(&b)) || [(UntrustedRoot, ChainOutOfOrder)].contains(&(a, b))
}

#[test]
fn each_pair_of_defects_is_both_and_nothing_else() {
    let servers = pairs(&SERVERS, Usage::Server);
    assert!(servers > 90, "only {servers} pairs");
}

#[test]
fn each_pair_of_defects_of_a_clients_certificate_too() {
    let clients = pairs(&CLIENTS, Usage::Client);
    assert!(clients > 65, "only {clients} pairs");
}

/// Judges each defect alone and each pair; answers how many pairs there were.
fn pairs(defects: &[Label], usage: Usage) -> usize {
    let mut pairs = 0;
    for (at, first) in defects.iter().copied().enumerate() {
        let alone = defective(&[first], usage);
        for second in defects.iter().copied().skip(at + 1).filter(|second| !exclude(first, *second)) {
            let mut expected = vec![first, second];
            if expected.iter().all(|label| label.severity() < Severity::Warn) {
                expected.push(Ok);
            }
            expected.sort_by_key(|label| (std::cmp::Reverse(label.severity()), *label));
            assert_eq!(defective(&[first, second], usage).labels(), expected, "{first:?} and {second:?}");
            pairs += 1;
        }
        let told: Vec<Label> = alone.labels().into_iter().filter(|label| *label != Ok).collect();
        assert_eq!(told, [first]);
    }
    pairs
}
