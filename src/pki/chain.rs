//! What a list of certificates is: which paths lead from its leaf to where. webpki says whether a path is good; this says, in
//! words, what it is and what is missing.

use super::parse::{Certificate, KeyKind, LEAST_RSA_BITS};
use super::proven;
use super::roots::Anchors;
use crate::types::Timestamp;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How many steps are taken over cross-signed certificates before the best path so far is taken. A hostile list of sixteen
/// that all sign each other has more paths than anybody could try.
const MAX_STEPS: usize = 512;
/// How many signatures are checked in one list; each costs up to a millisecond. Beyond, none counts as good.
const MAX_SIGNATURES: usize = 1024;

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
    if matches!(issuer.key_kind(), KeyKind::Rsa(bits) if bits < LEAST_RSA_BITS) {
        // The library does not check with so weak a key, and that is what has to be said of it.
        return if contradicts(child, issuer) { Link::NameOnly } else { Link::Issued };
    }
    let parsed = (X509Certificate::from_der(child.der()), X509Certificate::from_der(issuer.der()));
    let (Ok((_, child)), Ok((_, issuer))) = parsed else { return Link::NameOnly };
    let signature =
        [&*issuer.public_key().subject_public_key.data, child.tbs_certificate.as_ref(), &child.signature_value.data];
    match proven::once(signature, || child.verify_signature(Some(issuer.public_key()))) {
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Link::Issued,
        Err(_) => Link::NameOnly,
    }
}

/// Whether the key identifiers say that `issuer` is another key than the one that signed `child`.
pub(crate) fn contradicts(child: &Certificate, issuer: &Certificate) -> bool {
    matches!((child.authority_key(), issuer.subject_key.as_deref()), (Some(wanted), Some(found)) if wanted != found)
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

/// A path through a list of certificates.
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
    let score = |path: &Path| {
        let in_date = path.members.iter().all(|at| sent[*at].validity().contains(now));
        (rank(path.end), in_date, length(path, sent.len()))
    };
    // Of equals the first, which is the one found deepest.
    let best = Paths::new(sent, anchors)
        .all()
        .into_iter()
        .reduce(|best, path| if score(&path) > score(&best) { path } else { best });
    best.unwrap_or(Path { members: Vec::new(), end: End::Missing })
}

/// How good an end is.
pub(crate) const fn rank(end: End) -> u8 {
    match end {
        End::Trusted => 3,
        End::ForeignRoot => 2,
        End::WrongIssuer | End::Missing => 1,
    }
}

/// A trusted path is best when short; any other says most when it goes as far as it can.
pub(crate) fn length(path: &Path, most: usize) -> usize {
    if path.end == End::Trusted { most - path.members.len() } else { path.members.len() }
}

/// The paths of one list, and which of its certificates issued which. Bounded in steps and signatures.
pub(crate) struct Paths<'a> {
    sent: &'a [Certificate],
    anchors: &'a Anchors,
    links: Vec<Option<Link>>,
    roots: Vec<Option<Vec<Certificate>>>,
    signatures: usize,
    steps: usize,
    found: Vec<Path>,
}

impl<'a> Paths<'a> {
    /// Nothing looked at yet.
    pub(crate) fn new(sent: &'a [Certificate], anchors: &'a Anchors) -> Self {
        Self {
            sent,
            anchors,
            links: vec![None; sent.len() * sent.len()],
            roots: vec![None; sent.len()],
            signatures: 0,
            steps: 0,
            found: Vec::new(),
        }
    }

    /// Every path from the first certificate, and every shorter beginning of one; the longest of each branch first.
    pub(crate) fn all(&mut self) -> Vec<Path> {
        self.steps = 0;
        if !self.sent.is_empty() {
            self.visit(0, &mut Vec::with_capacity(self.sent.len()));
        }
        std::mem::take(&mut self.found)
    }

    fn visit(&mut self, at: usize, members: &mut Vec<usize>) {
        self.steps += 1;
        members.push(at);
        let sent = self.sent;
        let trusted = !self.roots(at).is_empty();
        let mut end = if trusted { End::Trusted } else { End::Missing };
        for (next, candidate) in sent.iter().enumerate() {
            match self.link(at, next) {
                Link::Issued if self.is_root(next) => {
                    end = if trusted || self.anchors.contains(candidate) { End::Trusted } else { End::ForeignRoot };
                }
                Link::Issued if !members.contains(&next) && self.steps < MAX_STEPS => self.visit(next, members),
                Link::NameOnly if end == End::Missing => end = End::WrongIssuer,
                _ => {}
            }
        }
        self.found.push(Path { members: members.clone(), end });
        members.pop();
    }

    /// Whether the certificate at `issuer` issued the one at `child`.
    pub(crate) fn link(&mut self, child: usize, issuer: usize) -> Link {
        let place = child * self.sent.len() + issuer;
        if let Some(known) = self.links[place] {
            return known;
        }
        let (child, issuer) = (&self.sent[child], &self.sent[issuer]);
        let named = child.issuer_der == issuer.subject_der;
        self.signatures += usize::from(named);
        let found = if named && self.signatures > MAX_SIGNATURES { Link::NameOnly } else { link(child, issuer) };
        self.links[place] = Some(found);
        found
    }

    /// Whether the certificate at `at` is signed with its own key.
    pub(crate) fn is_root(&mut self, at: usize) -> bool {
        self.sent[at].is_self_issued() && self.link(at, at) == Link::Issued
    }

    /// The trusted roots that issued the certificate at `at`.
    pub(crate) fn roots(&mut self, at: usize) -> &[Certificate] {
        let (sent, anchors) = (self.sent, self.anchors);
        self.roots[at].get_or_insert_with(|| {
            anchors.issuers(&sent[at]).filter(|root| link(&sent[at], root) == Link::Issued).collect()
        })
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
        let mut paths = Paths::new(&sent, &other);
        let found = paths.all();
        assert_eq!(paths.steps, MAX_STEPS, "there are more paths, and they are not walked");
        assert!(found.len() == MAX_STEPS && found.iter().all(|path| path.end != End::Trusted && path.members[0] == 0));
    }
}
