//! Several addresses of one name against each other. Where all do the same, nothing is said here.

mod policy;

use super::clock::apart;
use super::{Case, View, reach};
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::{Label, Severity, Trouble};
use crate::types::{Timestamp, humane};
use std::time::Duration;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut found = policy::differs(case);
    let fine: Vec<&View<'_>> = case.views.iter().filter(|view| view.is_fine()).collect();
    if fine.is_empty() || case.views.len() < 2 {
        return found;
    }
    let shared = shared(&fine);
    let apart = |view: &View<'_>| fine.iter().all(|it| it.sight.address != view.sight.address);
    let odd = case.views.iter().filter(|view| apart(view) && !reach::unmeant(case, view));
    found.extend(odd.flat_map(|view| outlier(case, view, &fine, shared).into_iter().map(|it| view.found(it))));
    found.extend(generations(case, &fine, shared));
    found
}

/// What sets an address that fails apart from those that do not.
fn outlier(case: &Case<'_>, view: &View<'_>, fine: &[&View<'_>], shared: bool) -> Vec<Finding> {
    let others = others(fine);
    let Some(leaf) = view.leaf() else {
        let trouble = view.sight.main.end.as_ref().err().filter(|trouble| !trouble.answered);
        let down = |trouble: &Trouble| Finding::new(Label::NodeDown, format!("{} ({others})", trouble.message));
        return trouble.map(down).into_iter().collect();
    };
    let asked = &case.survey.query.name;
    let judged = &view.presented.judged.findings;
    let unnamed = judged.iter().any(|it| it.label == Label::CnOnlyNoSan);
    if !unnamed && !leaf.names().iter().any(|name| name.covers(asked)) {
        let seen = format!("here {asked} gets the certificate of {} ({others})", leaf.subject_or_names());
        return vec![Finding::new(Label::NodeSniBroken, seen)];
    }
    let ended = leaf.validity().end <= case.at;
    let next = || fine.iter().filter_map(|it| it.leaf()).filter(|it| ended && begins(it) > begins(leaf));
    let newer = newer(view, leaf, fine, shared).or_else(|| next().max_by_key(|it| begins(it)));
    let stale = newer.map(|newer| stale(leaf, newer, &others));
    let follows = |it: &Finding| judged.iter().any(|other| other.label.explains().contains(&it.label));
    let of_chain = |it: &Finding| Label::NodeChainBroken.explains().contains(&it.label);
    let chain = judged.iter().find(|it| of_chain(it) && !follows(it) && it.label.severity() == Severity::Fail);
    let chain = chain.map(|chain| {
        let seen = format!("{}: {} ({others})", chain.label.as_str(), chain.seen.as_str());
        Finding::new(Label::NodeChainBroken, seen)
    });
    stale.into_iter().chain(chain).collect()
}

fn others(fine: &[&View<'_>]) -> String {
    match fine {
        [one] => format!("{} is fine", one.sight.address),
        [one, two] => format!("{} and {} are fine", one.sight.address, two.sight.address),
        [one, rest @ ..] => format!("{} and {} others are fine", one.sight.address, rest.len()),
        [] => String::new(),
    }
}

fn begins(leaf: &Certificate) -> Timestamp {
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

/// The certificates of both key families that an address has.
fn leaves<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Certificate> {
    view.leaf().into_iter().chain(view.other.as_ref().and_then(|other| other.leaf()))
}

/// Whether several addresses have one certificate.
fn shared(fine: &[&View<'_>]) -> bool {
    let print = |view: &View<'_>| view.leaf().map(Certificate::fingerprint);
    fine.iter().enumerate().any(|(at, view)| fine[..at].iter().any(|earlier| print(earlier) == print(view)))
}

/// What took the place of `leaf`, which `view` still has: another address's. Of the other key family it is only where `view` has
/// none of that.
fn newer<'a>(view: &View<'_>, leaf: &Certificate, fine: &[&'a View<'_>], shared: bool) -> Option<&'a Certificate> {
    let family = |it: &Certificate| it.key_kind().family();
    let elsewhere = || fine.iter().filter(|it| it.sight.address != view.sight.address).flat_map(|it| leaves(it));
    let held = elsewhere().any(|it| it.fingerprint() == leaf.fingerprint());
    let lacks = |wanted: &Certificate| !held && leaves(view).all(|own| family(own) != family(wanted));
    let missing = |it: &&Certificate| family(it) == family(leaf) || lacks(it);
    elsewhere().filter(missing).filter(|it| follows(it, leaf, shared)).max_by_key(|it| begins(it))
}

/// Different certificates, each good: is one left behind, or does each node have its own?
fn generations(case: &Case<'_>, fine: &[&View<'_>], shared: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut mixed = false;
    for view in fine {
        let old = leaves(view).find_map(|leaf| Some((leaf, newer(view, leaf, fine, shared)?)));
        if let Some((leaf, newer)) = old {
            let has = |view: &&&View<'_>| leaves(view).any(|it| it.fingerprint() == newer.fingerprint());
            let current: Vec<&View<'_>> = fine.iter().filter(has).copied().collect();
            found.push(view.found(stale(leaf, newer, &others(&current))));
        } else if let Some(leaf) = view.leaf() {
            let others = fine.iter().filter_map(|view| view.leaf());
            mixed |= others.into_iter().any(|it| it.fingerprint() != leaf.fingerprint() && !follows(leaf, it, shared));
        }
    }
    if mixed {
        found.push(Finding::new(Label::FleetMixedCerts, listed(case, fine)));
    }
    found
}

/// How much of the older one's life must lie between the two, where each address has a certificate of its own: a fourth. What is issued
/// for each node comes days or weeks apart; what was renewed everywhere else comes after two thirds.
const LATER: u32 = 4;
/// Certificates that begin, or end, this close to each other were issued together.
const TOGETHER: Duration = Duration::from_secs(86_400);

/// Whether `newer` took the place of `older`. Where addresses share a certificate, any later one does; where each has its own,
/// they may have been issued some days apart.
fn follows(newer: &Certificate, older: &Certificate, shared: bool) -> bool {
    let alike = newer.key_kind().family() == older.key_kind().family();
    let (new, old) = (newer.validity(), older.validity());
    let together = TOGETHER.min(old.width() / LATER);
    let (later, gap) = match () {
        () if apart(new.start, old.start) >= together => (new.start > old.start, new.start.since(old.start)),
        // Issued together, one for a shorter time: not what nodes of one fleet get from one issuer.
        () if apart(new.end, old.end) >= together && alike && newer.issuer() == older.issuer() => {
            (new.end > old.end, new.end.since(old.end))
        }
        () => ((new.start, new.end) > (old.start, old.end), Duration::ZERO),
    };
    let long = gap >= old.width() / LATER;
    let replaced = long || (alike && (shared || newer.key() == older.key()));
    newer.fingerprint() != older.fingerprint() && later && replaced
}

fn listed(case: &Case<'_>, fine: &[&View<'_>]) -> String {
    let one = |view: &&View<'_>| {
        let leaf = view.leaf()?;
        let left = humane(leaf.validity().end.since(case.at));
        Some(format!("{} serial {} ({left} left)", view.sight.address, leaf.serial()))
    };
    fine.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}
