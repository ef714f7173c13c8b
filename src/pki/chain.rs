//! What a list of certificates is: which path leads from its leaf to where. webpki says whether a path is good; this says, in
//! words, what it is and what is missing.

use super::parse::Certificate;
use super::roots::Anchors;
use crate::types::Timestamp;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How many steps are taken over cross-signed certificates before the best path so far is taken. A hostile list of sixteen
/// that all sign each other has more paths than anybody could try.
const MAX_STEPS: usize = 512;

/// Whether one certificate issued another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Its subject is not the issuer named.
    No,
    /// It has the issuer's name, but not the key that signed.
    NameOnly,
    /// It has the name and the key.
    Issued,
}

/// Whether `issuer` issued `child`. A signature of a kind we cannot check counts as good: webpki has the last word.
pub(crate) fn link(child: &Certificate, issuer: &Certificate) -> Link {
    if child.issuer_der != issuer.subject_der {
        return Link::No;
    }
    let parsed = (X509Certificate::from_der(child.der()), X509Certificate::from_der(issuer.der()));
    let (Ok((_, child)), Ok((_, issuer))) = parsed else { return Link::NameOnly };
    match child.verify_signature(Some(issuer.public_key())) {
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Link::Issued,
        Err(_) => Link::NameOnly,
    }
}

/// Where a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Issued by a trusted root.
    Trusted,
    /// At a self-signed certificate that is no trusted root.
    ForeignRoot,
    /// A certificate with the issuer's name is there, but it has another key.
    WrongIssuer,
    /// The issuer is not there at all.
    Missing,
}

/// The best path through a list of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// Positions in the list, from the leaf, which is at 0. No self-signed root, unless it is the leaf.
    pub(crate) members: Vec<usize>,
    /// Where it ends.
    pub(crate) end: End,
}

impl Path {
    /// Whether its members stand in signing order, whatever stands between them.
    pub(crate) fn in_order(&self) -> bool {
        self.members.is_sorted()
    }
}

/// The best path from the first certificate of `sent`: a trusted end first, then valid dates, then length.
pub(crate) fn best_path(sent: &[Certificate], anchors: &Anchors, now: Timestamp) -> Path {
    let mut search = Search::new(sent, anchors, now);
    let mut members = Vec::with_capacity(sent.len());
    if !sent.is_empty() {
        search.visit(0, &mut members);
    }
    search.best.map_or(Path { members: Vec::new(), end: End::Missing }, |(_, path)| path)
}

/// What makes one path better than another.
type Score = (u8, bool, usize);

struct Search<'a> {
    sent: &'a [Certificate],
    anchors: &'a Anchors,
    now: Timestamp,
    links: Vec<Option<Link>>,
    steps: usize,
    best: Option<(Score, Path)>,
}

impl<'a> Search<'a> {
    fn new(sent: &'a [Certificate], anchors: &'a Anchors, now: Timestamp) -> Self {
        Self { sent, anchors, now, links: vec![None; sent.len() * sent.len()], steps: 0, best: None }
    }

    fn visit(&mut self, at: usize, members: &mut Vec<usize>) {
        self.steps += 1;
        members.push(at);
        let sent = self.sent;
        let certificate = &sent[at];
        let trusted = self.anchors.issuers(certificate).any(|root| link(certificate, &root) == Link::Issued);
        let mut end = if trusted { End::Trusted } else { End::Missing };
        for (next, candidate) in sent.iter().enumerate() {
            match self.link(at, next) {
                Link::Issued if candidate.is_self_issued() && self.link(next, next) == Link::Issued => {
                    end = if trusted || self.anchors.contains(candidate) { End::Trusted } else { End::ForeignRoot };
                }
                Link::Issued if !members.contains(&next) && self.steps < MAX_STEPS => self.visit(next, members),
                Link::NameOnly if end == End::Missing => end = End::WrongIssuer,
                _ => {}
            }
        }
        self.offer(members, end);
        members.pop();
    }

    fn link(&mut self, child: usize, issuer: usize) -> Link {
        let sent = self.sent;
        *self.links[child * sent.len() + issuer].get_or_insert_with(|| link(&sent[child], &sent[issuer]))
    }

    fn offer(&mut self, members: &[usize], end: End) {
        let rank = match end {
            End::Trusted => 3,
            End::ForeignRoot => 2,
            End::WrongIssuer | End::Missing => 1,
        };
        let in_date = members.iter().all(|at| self.sent[*at].validity().contains(self.now));
        // A trusted path is best when short; any other says most when it goes as far as it can.
        let length = if end == End::Trusted { self.sent.len() - members.len() } else { members.len() };
        let score = (rank, in_date, length);
        if self.best.as_ref().is_none_or(|(best, _)| score > *best) {
            self.best = Some((score, Path { members: members.to_vec(), end }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Authority, in_2026};

    fn path(sent: &[&Certificate], anchors: &Anchors) -> Path {
        best_path(&sent.iter().map(|c| (*c).clone()).collect::<Vec<_>>(), anchors, in_2026())
    }

    #[test]
    fn a_path_is_found_whatever_the_order() {
        let root = Authority::root("Root");
        let upper = root.intermediate("Upper");
        let lower = upper.intermediate("Lower");
        let leaf = &lower.leaf(&["a.example"]);
        let anchors = root.anchors();
        let (upper, lower, root) = (&upper.certificate, &lower.certificate, &root.certificate);
        for (sent, members, end) in [
            (vec![leaf, lower, upper], vec![0, 1, 2], End::Trusted),
            (vec![leaf, upper, lower, root], vec![0, 2, 1], End::Trusted),
            (vec![leaf], vec![0], End::Missing),
            (vec![leaf, upper], vec![0], End::Missing),
            (vec![leaf, lower], vec![0, 1], End::Missing),
        ] {
            assert_eq!(path(&sent, &anchors), Path { members, end });
        }
        let foreign = Authority::root("Root");
        assert_eq!(path(&[leaf, lower, upper, root], &foreign.anchors()).end, End::ForeignRoot);
    }

    #[test]
    fn the_same_name_with_another_key_is_not_the_issuer() {
        let root = Authority::root("Root");
        let leaf = root.intermediate("Int").leaf(&["a.example"]);
        let twin = root.intermediate("Int").certificate;
        assert_eq!(path(&[&leaf, &twin], &root.anchors()), Path { members: vec![0], end: End::WrongIssuer });
    }

    #[test]
    fn a_crowd_that_signs_each_other_ends_soon() {
        let root = Authority::root("Root");
        let crowd = root.cross_signed(15);
        let leaf = crowd.0.leaf(&["a.example"]);
        let sent: Vec<Certificate> = std::iter::once(leaf).chain(crowd.1).collect();
        let other = Authority::root("Other").anchors();
        let mut search = Search::new(&sent, &other, in_2026());
        search.visit(0, &mut Vec::new());
        assert_eq!(search.steps, MAX_STEPS, "there are more paths, and they are not walked");
        assert!(search.best.is_some_and(|(_, path)| path.end != End::Trusted && path.members[0] == 0));
    }
}
