//! Whether it can be reached, and whether TLS comes about.

use super::{Case, View};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::humane;
use std::time::Duration;

/// From here on a handshake is called slow.
pub(in crate::probe) const SLOW: Duration = Duration::from_secs(3);

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let unresolved = case.survey.unresolved.iter().map(|it| Finding::new(it.label, &it.message));
    unresolved.chain(case.views.iter().filter_map(|view| here(case, view))).collect()
}

fn here(case: &Case<'_>, view: &View<'_>) -> Option<Finding> {
    let main = &view.sight.main;
    let trouble = match &main.end {
        Ok(()) if main.took >= SLOW => {
            let seen = format!("the handshake took {}", humane(main.took));
            return Some(view.found(Finding::new(Label::HandshakeSlow, seen)));
        }
        Ok(()) => return None,
        Err(trouble) => trouble,
    };
    if unrouted(case, view) {
        return None;
    }
    let works_without = view.sight.bare.as_ref().is_some_and(|bare| bare.end.is_ok());
    if works_without {
        let seen = format!("{}; without application protocols (h2, http/1.1) it works", trouble.message);
        return Some(view.found(Finding::new(Label::AlpnRejected, seen)));
    }
    Some(view.found(Finding::new(trouble.label, &trouble.message)))
}

/// Whether it is this machine that has no IPv6, which says nothing about a name that has other addresses.
pub(super) fn unrouted(case: &Case<'_>, view: &View<'_>) -> bool {
    let answered = |view: &View<'_>| view.sight.main.end.as_ref().err().is_none_or(|trouble| trouble.answered);
    case.survey.query.connect.is_empty() && !view.sight.routed && case.views.iter().any(answered)
}
