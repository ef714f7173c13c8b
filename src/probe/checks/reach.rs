//! Whether it can be reached, and whether TLS comes about.

use super::{Case, SLOW, View, client, offered};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::humane;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let unresolved = case.survey.unresolved.iter().map(|it| Finding::new(it.label, &it.message));
    unresolved.chain(case.views.iter().flat_map(|view| here(case, view))).collect()
}

fn here(case: &Case<'_>, view: &View<'_>) -> Vec<Finding> {
    let main = &view.sight.main;
    let works_without = view.sight.bare.as_ref().is_some_and(|bare| bare.end.is_ok());
    let found = match &main.end {
        Ok(()) if main.took >= SLOW => {
            let seen = format!("the handshake took {}", humane(main.took));
            vec![Finding::new(Label::HandshakeSlow, seen)]
        }
        Ok(()) => Vec::new(),
        // What the server wants of clients has a check of its own.
        Err(_) if unmeant(case, view) || client::wanted(view.sight) => Vec::new(),
        Err(trouble) if works_without => {
            let seen = format!("{}; without application protocols (h2, http/1.1) it works", trouble.message);
            vec![Finding::new(Label::AlpnRejected, seen)]
        }
        Err(trouble) => match &view.sight.hellos {
            Some(hellos) => offered::refused(trouble, hellos),
            None => vec![Finding::new(trouble.label, &trouble.message)],
        },
    };
    // Of certificates that could be read all the same, their own check says more.
    let known = |label: Label| view.presented.judged.findings.iter().any(|it| it.label == label);
    found.into_iter().filter(|it| !known(it.label)).map(|finding| view.found(finding)).collect()
}

/// Whether an address that does not answer says nothing about a name that has others which do: this machine has no IPv6; or it is the
/// other loopback address, which `localhost` always has.
pub(super) fn unmeant(case: &Case<'_>, view: &View<'_>) -> bool {
    let query = &case.survey.query;
    let trouble = |view: &View<'_>| view.sight.main.end.as_ref().err().map(|trouble| (trouble.label, trouble.answered));
    let answers = |view: &View<'_>| trouble(view).is_none_or(|(_, answered)| answered);
    let own = query.target.host.to_string() == "localhost" && trouble(view) == Some((Label::TcpRefused, false));
    query.connect.is_empty() && (own || !view.sight.routed) && case.views.iter().any(answers)
}
