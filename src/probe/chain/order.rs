//! What else is sent, and in which order.

use super::route::View;
use crate::pki::Certificate;
use crate::pki::chain::{End, Link};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::Timestamp;

/// Everything about the list that is not about its path.
pub(super) fn order(sent: &[Certificate], view: &mut View<'_>, now: Timestamp) -> Vec<Finding> {
    let reached = reached(sent, view);
    let mut found: Vec<Finding> = misordered(sent, view).into_iter().collect();
    for (at, certificate) in sent.iter().enumerate().skip(1) {
        let said = |label, what: &str| {
            Some(Finding::new(label, format!("certificate {}, {}, {what}", at + 1, certificate.subject_or_names())))
        };
        let member = view.route.path.members.contains(&at);
        let root = view.paths.is_root(at);
        let copy = sent[..at].iter().position(|earlier| earlier.der() == certificate.der());
        found.extend(match copy {
            // The second copy may be the one that stands in order.
            Some(first) => said(Label::DuplicateInChain, &format!("is the same as certificate {}", first + 1)),
            None if member => None,
            None if root && (reached[at] || view.store.anchors.contains(certificate)) => {
                said(Label::RootIncluded, "is a root: clients have it or do not trust it")
            }
            None if !reached[at] => said(Label::ExtraInChain, "is no issuer of anything here"),
            None if view.route.path.end != End::Trusted => None,
            None => ended(certificate, at, view, now).and_then(|why| said(Label::ExpiredCrossSign, &why)),
        });
    }
    found
}

/// Which certificates are on any path from the leaf.
fn reached(sent: &[Certificate], view: &mut View<'_>) -> Vec<bool> {
    let mut reached = vec![false; sent.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        open.extend((0..sent.len()).filter(|next| view.paths.link(at, *next) == Link::Issued));
    }
    reached
}

/// The path's members and the root, where it is sent, in another order than that of signing.
fn misordered(sent: &[Certificate], view: &mut View<'_>) -> Option<Finding> {
    let mut places = view.route.path.members.clone();
    let last = *places.last()?;
    let roots: Vec<usize> = (1..sent.len())
        .filter(|at| !places.contains(at) && view.paths.is_root(*at) && view.paths.link(last, *at) == Link::Issued)
        .collect();
    places.extend(roots.last());
    let late = places.windows(2).find(|pair| pair[1] < pair[0])?;
    let name = |at: usize| sent[at].subject_or_names();
    let seen = format!(
        "certificate {}, {}, issued certificate {}, {}, and must come after it",
        late[1] + 1,
        name(late[1]),
        late[0] + 1,
        name(late[0])
    );
    Some(Finding::new(Label::ChainOutOfOrder, seen))
}

/// How a certificate that leads to another root than the path's has come to its end.
fn ended(certificate: &Certificate, at: usize, view: &mut View<'_>, now: Timestamp) -> Option<String> {
    let validity = certificate.validity();
    if validity.end <= now {
        return Some(format!("issued by {}, ended on {}", certificate.issuer(), validity.end));
    }
    let roots = view.paths.roots(at);
    let first = roots.first()?;
    roots
        .iter()
        .all(|root| root.validity().end <= now)
        .then(|| format!("leads to the root {}, which ended on {}", first.subject(), first.validity().end))
}
