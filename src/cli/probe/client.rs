//! The client certificate that was typed, and what each address made of it.

use crate::cli::args::Probe;
use crate::pki::Certificate;
use crate::probe::checks::client::{Attempt, Given};
use crate::probe::checks::{Case, View};
use crate::probe::files::{Identity, Refusal};
use crate::types::Timestamp;
use std::rc::Rc;

/// What is said beside each verdict on a client certificate.
const UNTESTED: &str = "which identity the server makes of it was not tested";

/// The certificate with its key, where one was typed.
pub(super) fn identity(typed: &Probe) -> Result<Option<Rc<Identity>>, Refusal> {
    match (&typed.cert, &typed.key) {
        (Some(certificate), Some(key)) => Ok(Some(Rc::new(Identity::read(certificate, key)?))),
        _ => Ok(None),
    }
}

/// Who the client is, then what each address makes of it, a line each; nothing where no certificate was given.
pub(super) fn told(case: &Case<'_>) -> Vec<String> {
    let Some(identity) = &case.survey.query.client else { return Vec::new() };
    let mut lines = vec![who(identity.leaf())];
    let several = case.views.len() > 1;
    for view in &case.views {
        let place = if several { format!("{}, ", view.sight.address) } else { String::new() };
        lines.extend(fate(view, case.at).iter().map(|line| format!("{place}{line}")));
    }
    if case.views.iter().filter_map(|view| view.given.as_ref()).any(|given| !given.attempts.is_empty()) {
        lines.push(UNTESTED.to_owned());
    }
    lines
}

/// `CN=alice, SAN alice.example, URI(spiffe://example/alice)`.
fn who(leaf: &Certificate) -> String {
    let names = leaf.names().iter().map(ToString::to_string).chain(leaf.other_names().iter().map(ToString::to_string));
    let names: Vec<String> = names.collect();
    let subject = if leaf.subject().is_empty() { "no subject" } else { leaf.subject().as_str() };
    if names.is_empty() { format!("{subject}, no SAN") } else { format!("{subject}, SAN {}", names.join(", ")) }
}

fn fate(view: &View<'_>, now: Timestamp) -> Vec<String> {
    let Some(given) = &view.given else { return Vec::new() };
    let mut lines: Vec<String> = given.attempts.iter().map(attempt).collect();
    if given.attempts.is_empty() {
        lines.push(unasked(view).to_owned());
    }
    // Where it is refused, the findings say why.
    if given.attempts.is_empty() || given.accepted() {
        lines.extend(given.own(now).iter().map(|it| format!("others would refuse it: {}", it.seen)));
    }
    lines.extend(remark(given));
    lines
}

fn attempt(attempt: &Attempt) -> String {
    let word = if attempt.refused.is_some() { "refused" } else { "accepted" };
    format!("{}: {word}, {}", attempt.version, attempt.seen)
}

fn unasked(view: &View<'_>) -> &'static str {
    match () {
        () if view.sight.telling().end.is_err() => "not given: the handshake does not come to that",
        () if view.sight.renegotiates || view.sight.asks_late => "not given: it is asked for only after the handshake",
        () => "not given: the server does not ask for one",
    }
}

/// What other clients would make of a certificate that is accepted.
fn remark(given: &Given<'_>) -> Option<String> {
    (given.accepted() && given.named == Some(false))
        .then(|| "its issuer is not among those asked for: browsers and Java clients would not send it".to_owned())
}
