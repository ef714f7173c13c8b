//! The certificates, as `chain` judges them.

use super::{Case, Presented};
use crate::probe::finding::Finding;
use crate::probe::label::Label;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for view in &case.views {
        found.extend(said(&view.presented).map(|finding| view.found(finding)));
        let Some(other) = &view.other else { continue };
        let main: Vec<Label> = said(&view.presented).map(|finding| finding.label).collect();
        let family = other.leaf().and_then(|leaf| leaf.key_kind().family());
        let which = family.map_or_else(String::new, |family| format!(" (the {family} certificate)"));
        // What is wrong with both has one cause.
        let fresh = said(other).filter(|finding| !main.contains(&finding.label));
        found.extend(fresh.map(|finding| view.found(Finding::with(&finding, &which))));
    }
    found
}

fn said(presented: &Presented) -> impl Iterator<Item = Finding> + '_ {
    let unreadable = presented.unreadable.iter().map(|(place, why)| {
        Finding::new(Label::Unverifiable, format!("certificate {place} that is sent cannot be read: {why}"))
    });
    unreadable.chain(presented.judged.findings.iter().cloned())
}
