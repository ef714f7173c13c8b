//! Where the path ends, and why not at a trusted root.

use super::Question;
use super::route::View;
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::pki::chain::{End, Link};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use data_encoding::HEXLOWER;

/// Why the best path does not end at a trusted root, when it does not.
pub(super) fn end(sent: &[Certificate], view: &mut View<'_>, question: &Question<'_>) -> Option<Finding> {
    let last = *view.route.path.members.last()?;
    let certificate = &sent[last];
    match view.route.path.end {
        End::Trusted => None,
        _ if last == 0 && view.paths.is_root(0) => {
            let seen =
                format!("{} is signed with its own key, and is in no trust store", certificate.subject_or_names());
            Some(Finding::new(Label::SelfSigned, seen))
        }
        _ if rekeyed(certificate, view) => Some(untrusted(
            view,
            question,
            &format!("has a root named {}, but with another key than the one that signed", certificate.issuer()),
            certificate,
        )),
        End::WrongIssuer => Some(impostor(sent, last, view)),
        End::ForeignRoot => Some(untrusted(
            view,
            question,
            &format!("does not hold the root {}, which issued", certificate.issuer()),
            certificate,
        )),
        End::Missing => Some(absent(sent, last, view, question)),
    }
}

/// What it is called that the store does not hold where the path ends: a server's store, when clients are judged.
fn nobody_trusts(usage: Usage) -> Label {
    if usage == Usage::Client { Label::ClientCertUntrusted } else { Label::UntrustedRoot }
}

/// Whether the store has a root of the issuer's name.
fn rekeyed(certificate: &Certificate, view: &View<'_>) -> bool {
    view.store.anchors.issuers(certificate).next().is_some()
}

fn untrusted(view: &View<'_>, question: &Question<'_>, what: &str, certificate: &Certificate) -> Finding {
    let who = certificate.subject_or_names();
    Finding::new(nobody_trusts(question.usage), format!("the trust store {} {what} {who}", view.store.name))
}

/// A certificate with the issuer's name is there, and it has another key.
fn impostor(sent: &[Certificate], last: usize, view: &mut View<'_>) -> Finding {
    let certificate = &sent[last];
    let same_name = (0..sent.len()).find(|at| *at != last && view.paths.link(last, *at) == Link::NameOnly);
    let instead = match same_name {
        Some(at) => {
            let key = sent[at]
                .subject_key
                .as_deref()
                .map_or_else(String::new, |key| format!(" (key identifier {})", HEXLOWER.encode(key)));
            format!("certificate {} has that name and another key{key}", at + 1)
        }
        None => "its own key is not the one that signed it".to_owned(),
    };
    let seen = format!("{} is issued by {}; {instead}", certificate.subject_or_names(), wanted(certificate));
    Finding::new(Label::WrongIntermediate, seen)
}

/// The issuer is nowhere.
fn absent(sent: &[Certificate], last: usize, view: &mut View<'_>, question: &Question<'_>) -> Finding {
    let certificate = &sent[last];
    let who = certificate.subject_or_names();
    let need = wanted(certificate);
    let stray = (1..sent.len())
        .find(|at| sent[*at].authority.ca && !view.route.path.members.contains(at) && !view.paths.is_root(*at));
    if let Some(stray) = stray.filter(|_| last == 0) {
        let seen = format!("{who} is issued by {need}; sent is {} instead", sent[stray].subject());
        return Finding::new(Label::WrongIntermediate, seen);
    }
    if is_root_by_its_name(certificate, last == 0, question.usage) {
        let seen =
            format!("the chain ends at {who}, issued by {need}, which is not in the trust store {}", view.store.name);
        return Finding::new(nobody_trusts(question.usage), seen);
    }
    let rescue = match &certificate.issuer_url {
        Some(url) => format!(". It can be fetched from {url}: works in browsers, fails in curl"),
        None => String::new(),
    };
    let seen = format!("{who} comes without its issuer: {need}{rescue}");
    match &certificate.issuer_url {
        _ if question.published => Finding::new(Label::DiskChainIncomplete, seen),
        Some(url) if last == 0 => Finding::new(Label::MissingIntermediate, seen)
            .check(format!("Does the server load fullchain.pem, not cert.pem? The missing one is at {url}")),
        _ => Finding::new(Label::MissingIntermediate, seen),
    }
}

/// Whether what issued `certificate` is a root or an intermediate cannot be seen when it is not there, since roots are not sent.
/// Its name mostly tells; without a word there, a leaf's issuer is an intermediate and an intermediate's issuer a root. Clients'
/// certificates come from private CAs, which mostly issue leaves themselves.
fn is_root_by_its_name(certificate: &Certificate, leaf: bool, usage: Usage) -> bool {
    let name = certificate.issuer().as_str().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if says(&["intermediate", "issuing", "subordinate", "sub ca"]) => false,
        () if leaf => (usage == Usage::Client || says(&["root"])) && certificate.issuer_url.is_none(),
        () => true,
    }
}

/// An issuer by name and key.
fn wanted(certificate: &Certificate) -> String {
    match certificate.authority_key() {
        Some(key) => format!("{}, key identifier {}", certificate.issuer(), HEXLOWER.encode(key)),
        None => certificate.issuer().to_string(),
    }
}

/// Whether one store trusts what another does not.
pub(super) fn mismatch(sent: &[Certificate], views: &[View<'_>]) -> Option<Finding> {
    let accepting: Vec<&str> =
        views.iter().filter(|view| view.accepts()).map(|view| view.store.name.as_str()).collect();
    let refusing = views.iter().find(|view| !view.accepts())?;
    if accepting.is_empty() {
        return None;
    }
    let others: Vec<&str> = views.iter().filter(|view| !view.accepts()).map(|view| view.store.name.as_str()).collect();
    let why = refusing.route.faults.first().map_or_else(
        || {
            let last = refusing.route.path.members.last().and_then(|at| sent.get(*at));
            last.map_or_else(String::new, |last| {
                format!("it lacks the issuer of {}: {}", last.subject_or_names(), wanted(last))
            })
        },
        |fault| fault.seen.to_string(),
    );
    let seen = format!("trusted by {}, and not by {}: {why}", accepting.join(", "), others.join(", "));
    Some(Finding::new(Label::TrustStoreMismatch, seen))
}
