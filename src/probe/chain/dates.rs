//! Dates. A probe allows no skew: clients do not.

use super::Question;
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::{Timestamp, humane};

/// Under this part of the life left, renewal is overdue.
const SOON: f64 = 0.25;

/// The leaf's own dates.
pub(super) fn leaf(leaf: &Certificate, question: &Question<'_>) -> Option<Finding> {
    let (validity, now, who) = (leaf.validity(), question.now, leaf.subject_or_names());
    if now < validity.start {
        let seen = format!("{who} begins on {}, in {}", validity.start, humane(validity.start.since(now)));
        return Some(Finding::new(Label::NotYetValid, seen));
    }
    if now >= validity.end {
        let label = if question.usage == Usage::Client { Label::ClientCertExpired } else { Label::Expired };
        let seen = format!("{who} ended on {}, {} ago", validity.end, humane(now.since(validity.end)));
        return Some(Finding::new(label, seen));
    }
    let left = validity.end.since(now);
    (left < validity.width().mul_f64(SOON)).then(|| {
        let seen =
            format!("{who} ends on {}, in {}, of a life of {}", validity.end, humane(left), humane(validity.width()));
        Finding::new(Label::ExpiringSoon, seen)
    })
}

/// The dates of an intermediate that the path needs.
pub(super) fn issuer(issuer: &Certificate, now: Timestamp) -> Option<Finding> {
    let ended =
        || Finding::new(Label::ExpiredIntermediate, format!("{} ended on {}", issuer.subject(), issuer.validity().end));
    early("intermediate", issuer, now).or_else(|| (now >= issuer.validity().end).then(ended))
}

/// The dates of a root. webpki does not look at them; other verifiers do.
pub(super) fn root(root: &Certificate, now: Timestamp) -> Option<Finding> {
    let ended = || {
        Finding::new(
            Label::UntrustedRoot,
            format!("the trusted root {} ended on {}", root.subject(), root.validity().end),
        )
        .check("Is the trust store old? Update it (ca-certificates), and serve a chain that ends at a newer root.")
    };
    early("trusted root", root, now).or_else(|| (now >= root.validity().end).then(ended))
}

fn early(what: &str, certificate: &Certificate, now: Timestamp) -> Option<Finding> {
    let start = certificate.validity().start;
    (now < start)
        .then(|| Finding::new(Label::NotYetValid, format!("the {what} {} begins on {start}", certificate.subject())))
}
