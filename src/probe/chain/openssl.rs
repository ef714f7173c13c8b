//! The walk of OpenSSL (`build_chain` in `x509_vfy.c`, 1.1.0 and newer): at each step it takes the first certificate that looks
//! like the issuer, a trusted one before a presented one, and does not come back when that leads nowhere.

use super::Question;
use super::route::{View, faults};
use crate::pki::Certificate;
use crate::pki::chain::{End, Link, Path, contradicts, link};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::Timestamp;

/// Why OpenSSL's walk fails where another path leads to a trusted root.
pub(super) fn astray(sent: &[Certificate], view: &mut View<'_>, question: &Question<'_>) -> Option<Finding> {
    if !view.accepts() {
        return None;
    }
    let why = walk(sent, view, question).err()?;
    Some(Finding::new(Label::PathClientDependent, format!("there is a good path, and OpenSSL takes another: {why}")))
}

/// Walks; the error says where it goes wrong.
fn walk(sent: &[Certificate], view: &mut View<'_>, question: &Question<'_>) -> Result<(), String> {
    let mut members = vec![0];
    loop {
        let at = members[members.len() - 1];
        let top = &sent[at];
        let who = top.subject_or_names();
        if view.store.anchors.contains(top) {
            return blameless(sent, &Path { members, end: End::Trusted }, None, question);
        }
        let trusted: Vec<Certificate> = view.store.anchors.issuers(top).filter(|root| likely(top, root)).collect();
        if let Some(root) = first(trusted.iter(), question.now) {
            let root = &trusted[root];
            return match link(top, root) {
                Link::Issued => blameless(sent, &Path { members, end: End::Trusted }, Some(root), question),
                _ => {
                    Err(format!("it takes the trusted {} for the issuer of {who}; it has another key", root.subject()))
                }
            };
        }
        let mut open: Vec<usize> = (1..sent.len()).collect();
        open.retain(|next| !members.contains(next) && likely(top, &sent[*next]) && !view.paths.is_root(at));
        let Some(next) = first(open.iter().map(|next| &sent[*next]), question.now).map(|place| open[place]) else {
            return Err(format!("it ends at {who}, whose issuer {} is not trusted", top.issuer()));
        };
        if view.paths.link(at, next) != Link::Issued {
            return Err(format!("it takes certificate {} for the issuer of {who}; it has another key", next + 1));
        }
        members.push(next);
    }
}

/// A path that can be walked may still be one that must not.
fn blameless(
    sent: &[Certificate],
    path: &Path,
    root: Option<&Certificate>,
    question: &Question<'_>,
) -> Result<(), String> {
    faults(sent, path, root, question).first().map_or(Ok(()), |fault| Err(fault.seen.to_string()))
}

/// Whether OpenSSL takes `issuer` for the issuer of `child` without looking at the signature (`X509_check_issued`).
fn likely(child: &Certificate, issuer: &Certificate) -> bool {
    let family = |it: &Certificate| it.key_kind().family();
    child.issuer_der == issuer.subject_der
        && !contradicts(child, issuer)
        && issuer.authority.may_sign
        && (child.signed_by.is_none() || family(issuer).is_none() || child.signed_by == family(issuer))
}

/// The place of the first in date; without one, of the one that ended last.
fn first<'a>(candidates: impl Iterator<Item = &'a Certificate> + Clone, now: Timestamp) -> Option<usize> {
    let in_date = candidates.clone().position(|it| it.validity().contains(now));
    let ends = candidates.map(|it| it.validity().end).enumerate();
    in_date.or_else(|| ends.reduce(|latest, it| if it.1 > latest.1 { it } else { latest }).map(|(place, _)| place))
}
