//! Several addresses of one name against each other. Where all do the same, nothing is said here.

mod policy;

use super::{Case, View, reach};
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::{Label, Severity};
use crate::types::humane;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut found = policy::differs(case);
    let fine: Vec<&View<'_>> = case.views.iter().filter(|view| view.is_fine()).collect();
    if fine.is_empty() || case.views.len() < 2 {
        return found;
    }
    let apart = |view: &View<'_>| fine.iter().all(|it| it.sight.address != view.sight.address);
    let odd = case.views.iter().filter(|view| apart(view) && !reach::unmeant(case, view));
    found.extend(odd.filter_map(|view| outlier(case, view, &fine).map(|it| view.found(it))));
    found.extend(generations(case, &fine));
    found
}

/// What sets an address that fails apart from those that do not.
fn outlier(case: &Case<'_>, view: &View<'_>, fine: &[&View<'_>]) -> Option<Finding> {
    let others = others(fine);
    let Some(leaf) = view.leaf() else {
        let trouble = view.sight.main.end.as_ref().err().filter(|trouble| !trouble.answered)?;
        return Some(Finding::new(Label::NodeDown, format!("{} ({others})", trouble.message)));
    };
    let asked = &case.survey.query.name;
    if !leaf.names().iter().any(|name| name.covers(asked)) {
        let seen = format!("here {asked} gets the certificate of {} ({others})", leaf.subject_or_names());
        return Some(Finding::new(Label::NodeSniBroken, seen));
    }
    let newer = fine.iter().filter_map(|it| it.leaf()).find(|it| begins(it) > begins(leaf));
    if let Some(newer) = newer.filter(|_| leaf.validity().end <= case.at) {
        return Some(stale(leaf, newer, &others));
    }
    let chain = view.presented.judged.findings.iter().find(|finding| {
        Label::NodeChainBroken.explains().contains(&finding.label) && finding.label.severity() == Severity::Fail
    })?;
    let seen = format!("{}: {} ({others})", chain.label.as_str(), chain.seen.as_str());
    Some(Finding::new(Label::NodeChainBroken, seen))
}

fn others(fine: &[&View<'_>]) -> String {
    match fine {
        [one] => format!("{} is fine", one.sight.address),
        [one, two] => format!("{} and {} are fine", one.sight.address, two.sight.address),
        [one, rest @ ..] => format!("{} and {} others are fine", one.sight.address, rest.len()),
        [] => String::new(),
    }
}

fn begins(leaf: &Certificate) -> crate::types::Timestamp {
    leaf.validity().start
}

fn stale(leaf: &Certificate, newer: &Certificate, others: &str) -> Finding {
    let seen = format!(
        "serial {}, {} to {}, is {} older than serial {}, which is served elsewhere ({others})",
        leaf.serial(),
        leaf.validity().start,
        leaf.validity().end,
        humane(begins(newer).since(begins(leaf))),
        newer.serial(),
    );
    Finding::new(Label::StaleNode, seen)
}

/// Different certificates, each good: is one left behind, or does each node have its own?
fn generations(case: &Case<'_>, fine: &[&View<'_>]) -> Vec<Finding> {
    let leaves: Vec<(&View<'_>, &Certificate)> = fine.iter().filter_map(|view| Some((*view, view.leaf()?))).collect();
    let served = |leaf: &Certificate| leaves.iter().filter(|(_, it)| it.fingerprint() == leaf.fingerprint()).count();
    let shared = leaves.iter().any(|(_, leaf)| served(leaf) > 1);
    let mut found = Vec::new();
    let mut mixed = false;
    for (view, leaf) in &leaves {
        let newer = leaves.iter().map(|(_, it)| *it).filter(|it| follows(it, leaf, shared));
        if let Some(newer) = newer.max_by_key(|it| begins(it)) {
            let current: Vec<&View<'_>> = leaves
                .iter()
                .filter(|(_, it)| it.fingerprint() == newer.fingerprint())
                .map(|(view, _)| *view)
                .collect();
            found.push(view.found(stale(leaf, newer, &others(&current))));
        } else {
            mixed |= leaves.iter().any(|(_, it)| it.fingerprint() != leaf.fingerprint() && !follows(leaf, it, shared));
        }
    }
    if mixed {
        found.push(Finding::new(Label::FleetMixedCerts, listed(case, &leaves)));
    }
    found
}

/// How much later in the older one's life the newer one must begin, where each address has a certificate of its own: a fourth.
const LATER: u32 = 4;

/// Whether `newer` took the place of `older`. Where addresses share a certificate, any later one does; where each has its own,
/// they may have been issued some days apart.
fn follows(newer: &Certificate, older: &Certificate, shared: bool) -> bool {
    let alike = newer.key_kind().family() == older.key_kind().family();
    let (new, old) = (newer.validity(), older.validity());
    let later = (new.start, new.end) > (old.start, old.end);
    let long = new.start.since(old.start) >= old.width() / LATER;
    let replaced = shared || newer.key() == older.key() || long;
    newer.fingerprint() != older.fingerprint() && alike && later && replaced
}

fn listed(case: &Case<'_>, leaves: &[(&View<'_>, &Certificate)]) -> String {
    let one = |(view, leaf): &(&View<'_>, &Certificate)| {
        let left = humane(leaf.validity().end.since(case.at));
        format!("{} serial {} ({left} left)", view.sight.address, leaf.serial())
    };
    leaves.iter().map(one).collect::<Vec<_>>().join(", ")
}
