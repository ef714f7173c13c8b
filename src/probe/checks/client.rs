//! Client certificates: whether one is asked for, and when; whether it goes on without; what it makes of the given one.

mod given;

pub use given::{Attempt, Given, Refused};

use super::{Case, View};
use crate::probe::alert;
use crate::probe::finding::Finding;
use crate::probe::handshake::{Handshake, TLS_1_3};
use crate::probe::label::Label;
use crate::probe::survey::Sight;
use crate::probe::survey::client::denies;
use crate::probe::survey::http::Mute;

/// Issuers listed in one message.
const LISTED: usize = 4;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    case.views.iter().flat_map(|view| here(case, view).into_iter().map(|finding| view.found(finding))).collect()
}

fn here(case: &Case<'_>, view: &View<'_>) -> Vec<Finding> {
    let sight = view.sight;
    let mut found: Vec<Finding> = late(sight).into_iter().collect();
    let Some(asking) = asking(sight) else { return found };
    let tried = view.given.as_ref().filter(|given| !given.attempts.is_empty());
    found.extend(tried.into_iter().flat_map(|given| given.faults(case.at)));
    let issuers = issuers(&asking.client_authorities);
    match without(sight) {
        Without::Refused(why) if tried.is_none() => {
            let seen = format!("a client certificate is asked for{issuers}; without one, {why}");
            found.push(Finding::new(Label::ClientCertRequired, seen));
        }
        Without::Works => {
            let seen = format!("a client certificate is asked for{issuers}; the handshake ends well without one");
            found.push(Finding::new(Label::ClientCertOptional, seen));
        }
        Without::Refused(_) | Without::Unknown => {}
    }
    found
}

/// The handshake that was asked for a certificate.
fn asking(sight: &Sight) -> Option<&Handshake> {
    std::iter::once(sight.telling()).chain(&sight.old).find(|shake| shake.client_certificate_asked)
}

/// What becomes of a client without a certificate that was asked for one.
enum Without {
    /// It gets through.
    Works,
    /// It is refused for that, one sentence's end.
    Refused(String),
    /// Something else is in the way.
    Unknown,
}

fn without(sight: &Sight) -> Without {
    let refused = |shake: &Handshake| shake.end.as_ref().err().filter(|_| unwanted(shake)).map(|it| it.message.clone());
    if let Some(why) = refused(sight.telling()) {
        return Without::Refused(why);
    }
    if sight.telling().end.is_err() {
        return Without::Unknown;
    }
    if let Some(why) = sight.old.as_ref().and_then(refused) {
        return Without::Refused(format!("in TLS 1.2 {why}"));
    }
    match &sight.http {
        Some(Ok(spoken)) if denies(spoken.first.head.status) && !is_ordinary(sight) => {
            let status = spoken.first.head.status;
            Without::Refused(format!("the handshake ends well, and {} is answered {status}", spoken.first.path))
        }
        Some(Err(Mute::Alert(alert))) => {
            let alert = alert::named(*alert);
            Without::Refused(format!("the handshake ends well, and the request gets the fatal alert {alert}"))
        }
        Some(Err(Mute::Broken(why))) if is_web(sight.telling()) => {
            Without::Refused(format!("the handshake ends well, and the request gets no answer: {why}"))
        }
        _ => Without::Works,
    }
}

/// Whether the server refused for want of a client certificate: it proved its own key, asked, and broke off (in TLS 1.3 after the
/// handshake, RFC 8446 §4.4.2.4).
pub(super) fn wanted(sight: &Sight) -> bool {
    unwanted(sight.telling())
}

fn unwanted(shake: &Handshake) -> bool {
    let ended = [Label::HandshakeRefused, Label::ConnClosed, Label::ConnReset];
    let refused = shake.end.as_ref().is_err_and(|trouble| ended.contains(&trouble.label));
    refused && shake.proved && shake.client_certificate_asked
}

/// Whether a refusal concerns the page alone: another path is answered otherwise (a directory without an index).
fn is_ordinary(sight: &Sight) -> bool {
    sight.elsewhere.is_some_and(|status| !denies(status))
}

/// Whether it has agreed to speak HTTP: then it owes an answer.
fn is_web(shake: &Handshake) -> bool {
    shake.agreed.as_ref().is_some_and(|agreed| agreed.alpn.is_some())
}

/// The server asks only after the handshake.
fn late(sight: &Sight) -> Option<Finding> {
    let ways = [
        (sight.renegotiates, "in TLS 1.2 by another handshake (HelloRequest)"),
        (sight.asks_late, "in TLS 1.3 of clients that offer post-handshake authentication"),
    ];
    let ways: Vec<&str> = ways.into_iter().filter(|(so, _)| *so).map(|(_, way)| way).collect();
    if ways.is_empty() {
        return None;
    }
    let newer = sight.http.as_ref().filter(|_| sight.telling().version == Some(TLS_1_3));
    let others = newer.map_or_else(String::new, |http| match http {
        Ok(spoken) => {
            let (path, status) = (&spoken.first.path, spoken.first.head.status);
            format!("; whoever cannot be asked so in TLS 1.3 is answered {status} to {path}")
        }
        Err(mute) => format!("; whoever cannot be asked so in TLS 1.3 gets no answer: {mute}"),
    });
    let seen =
        format!("a client certificate is asked for only when the request was read, {}{others}", ways.join(", and "));
    Some(Finding::new(Label::ClientCertReactive, seen))
}

fn issuers(authorities: &[Vec<u8>]) -> String {
    match listed(authorities) {
        Some(listed) => format!(", issued by {listed}"),
        None => ", of no particular issuer".to_owned(),
    }
}

/// The first few of the issuers that are asked for; none where none is named.
fn listed(authorities: &[Vec<u8>]) -> Option<String> {
    let names = crate::pki::parse::names_of(authorities);
    let listed: Vec<String> = names.iter().take(LISTED).map(ToString::to_string).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("{}{more}", listed.join(" or ")))
}
