//! Server names: whether the answer to this name is another's, and what comes without one.

use super::{Case, View};
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::handshake::Handshake;
use crate::probe::label::Label;
use crate::types::Identifier;

/// Names listed in one message.
const LISTED: usize = 4;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let asked = &case.survey.query.name;
    case.views.iter().filter_map(|view| here(view, asked).map(|finding| view.found(finding))).collect()
}

fn here(view: &View<'_>, asked: &Identifier) -> Option<Finding> {
    let leaf = view.leaf()?;
    let unnamed = view.presented.judged.findings.iter().any(|it| it.label == Label::CnOnlyNoSan);
    match covers(leaf, asked) {
        true => required(view, leaf, asked),
        // It is meant for the name, and says so where nobody looks.
        false if unnamed => None,
        false => misroute(view, leaf, asked),
    }
}

fn covers(leaf: &Certificate, asked: &Identifier) -> bool {
    leaf.names().iter().any(|name| name.covers(asked))
}

fn shown(handshake: &Handshake) -> Option<Certificate> {
    handshake.chain.first().and_then(|leaf| Certificate::from_der(leaf).ok())
}

/// Without the name it does not work.
fn required(view: &View<'_>, leaf: &Certificate, asked: &Identifier) -> Option<Finding> {
    let nameless = view.sight.nameless.as_ref().filter(|_| view.sight.main.agreed.is_some())?;
    let seen = match (shown(nameless), &nameless.end) {
        (Some(other), _) if other.fingerprint() != leaf.fingerprint() && !covers(&other, asked) => {
            format!("without SNI the certificate is for {}", names(&other))
        }
        (None, Err(trouble)) if trouble.answered => format!("without SNI, {}", trouble.message),
        _ => return None,
    };
    Some(Finding::new(Label::SniRequired, seen))
}

/// That a certificate is another virtual host's is only said where this server is seen to have several, or to know the name: one
/// that shows the same to everybody simply has the wrong certificate.
fn misroute(view: &View<'_>, leaf: &Certificate, asked: &Identifier) -> Option<Finding> {
    let sight = view.sight;
    let same = |it: &Certificate| it.fingerprint() == leaf.fingerprint();
    let default: Vec<Certificate> =
        [&sight.nameless, &sight.stranger].into_iter().flatten().filter_map(shown).collect();
    let near: Vec<(&Identifier, Certificate)> =
        sight.neighbours.iter().filter_map(|(name, shake)| Some((name, shown(shake)?))).collect();
    let of = names(leaf);
    if let Some(own) = default.iter().find(|it| covers(it, asked)) {
        let seen = format!(
            "for {asked} the certificate of {of} is served, and without that name the right one, for {}",
            names(own)
        );
        return Some(Finding::new(Label::SniMisroute, seen));
    }
    if let Some((name, own)) = near.iter().find(|(_, it)| covers(it, asked)) {
        let seen =
            format!("for {asked} the certificate of {of} is served; for {name} the right one is, for {}", names(own));
        return Some(Finding::new(Label::SniMisroute, seen));
    }
    let others = default.iter().chain(near.iter().map(|(_, it)| it)).any(|it| !same(it));
    if !others {
        return None;
    }
    if default.iter().any(same) {
        let seen =
            format!("for {asked} the default certificate is served, which is for {of}; other names get their own");
        return Some(Finding::new(Label::SniMisroute, seen));
    }
    let home = near.iter().find(|(name, it)| same(it) && covers(leaf, name));
    home.map(|(name, _)| {
        let seen = format!("for {asked} the same certificate is served as for {name}; it is for {of}");
        Finding::new(Label::SniMisroute, seen)
    })
}

fn names(leaf: &Certificate) -> String {
    let listed: Vec<String> = leaf.names().iter().take(LISTED).map(ToString::to_string).collect();
    match leaf.names().len().saturating_sub(LISTED) {
        _ if listed.is_empty() => leaf.subject_or_names(),
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
