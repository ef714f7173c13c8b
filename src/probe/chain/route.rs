//! Which way from the leaf to a trusted root is taken for the words: of all there are, the one with the fewest faults.

use super::{Origin, Question, Step, Store, authority, dates, names, strength};
use crate::pki::Certificate;
use crate::pki::chain::{End, Link, Path, Paths, length, rank};
use crate::probe::finding::Finding;
use std::cmp::Reverse;

/// A path with the root it ends at and what is wrong with those who issued along it.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) path: Path,
    /// The trusted root, where it ends at one.
    pub(super) root: Option<Certificate>,
    /// What is wrong with the issuers; the leaf's own faults do not depend on the route.
    pub(super) faults: Vec<Finding>,
}

/// How a list of certificates looks to whoever trusts one store.
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    pub(super) paths: Paths<'a>,
    pub(super) route: Route,
}

impl<'a> View<'a> {
    pub(super) fn new(sent: &'a [Certificate], store: &'a Store, question: &Question<'_>) -> Self {
        let mut paths = Paths::new(sent, &store.anchors);
        let mut best: Option<Route> = None;
        for path in paths.all() {
            let last = path.members.last().copied().unwrap_or_default();
            let roots = if path.end == End::Trusted { trusted(sent, &mut paths, last) } else { Vec::new() };
            let ends = if roots.is_empty() { vec![None] } else { roots.into_iter().map(Some).collect() };
            for root in ends {
                let route = Route { faults: faults(sent, &path, root.as_ref(), question), path: path.clone(), root };
                if best.as_ref().is_none_or(|best| route.score(sent.len()) > best.score(sent.len())) {
                    best = Some(route);
                }
            }
        }
        let nowhere = || Route { path: Path { members: vec![0], end: End::Missing }, root: None, faults: Vec::new() };
        Self { store, paths, route: best.unwrap_or_else(nowhere) }
    }

    /// Whether the issuers satisfy whoever trusts this store.
    pub(super) fn accepts(&self) -> bool {
        self.route.path.end == End::Trusted && self.route.faults.is_empty()
    }

    /// Whether the leaf itself is what is trusted.
    pub(super) fn leaf_is_anchor(&self, leaf: &Certificate) -> bool {
        self.route.root.as_ref().is_some_and(|root| root.der() == leaf.der())
    }
}

impl Route {
    /// A trusted end first, and then few faults, signing order and few members; any other the farther it goes.
    fn score(&self, most: usize) -> (u8, usize, Reverse<usize>, bool, usize) {
        let length = length(&self.path, most);
        let far = if self.path.end == End::Trusted { 0 } else { length };
        (rank(self.path.end), far, Reverse(self.faults.len()), self.path.in_order(), length)
    }
}

/// The roots of the store that the certificate at `last` ends at: those that issued it, or a presented root itself.
fn trusted(sent: &[Certificate], paths: &mut Paths<'_>, last: usize) -> Vec<Certificate> {
    let roots = paths.roots(last).to_vec();
    let itself = roots.iter().position(|root| root.der() == sent[last].der());
    itself.map_or(roots.clone(), |at| vec![roots[at].clone()])
}

/// What is wrong with those who issued along `path`.
pub(super) fn faults(
    sent: &[Certificate],
    path: &Path,
    root: Option<&Certificate>,
    question: &Question<'_>,
) -> Vec<Finding> {
    let root = root.filter(|root| root.der() != sent[path.members[0]].der());
    let members: Vec<&Certificate> = path.members.iter().map(|at| &sent[*at]).collect();
    let mut faults = Vec::new();
    for issuer in members.iter().skip(1) {
        faults.extend(dates::issuer(issuer, question.now));
        faults.extend(strength::issuer(issuer));
    }
    if let Some(root) = root {
        faults.extend(dates::root(root, question.now));
        faults.extend(strength::key(root));
    }
    faults.extend(authority::issuers(&members, root, question.usage));
    faults.extend(names::constraints(&members, root));
    faults
}

/// Which of the views says most: one that accepts, or the one that comes farthest with the fewest faults.
pub(super) fn best(views: &[View<'_>]) -> Option<usize> {
    let score = |view: &View<'_>| (rank(view.route.path.end), Reverse(view.route.faults.len()));
    // `max_by_key` takes the last of equals, and the first store named is the one that is meant most.
    (0..views.len()).rev().max_by_key(|at| score(&views[*at]))
}

/// The route as steps, the leaf first.
pub(super) fn steps(sent: &[Certificate], view: &mut View<'_>) -> Vec<Step> {
    let members = &view.route.path.members;
    let mut steps: Vec<Step> = members.iter().map(|at| step(Origin::Sent(*at), &sent[*at])).collect();
    let Some(last) = members.last().copied() else { return steps };
    match (&view.route.root, view.route.path.end) {
        (Some(root), _) if root.der() == sent[last].der() => steps[0].origin = Origin::Store(view.store.name.clone()),
        (Some(root), _) => steps.push(step(Origin::Store(view.store.name.clone()), root)),
        (None, End::ForeignRoot) if view.paths.is_root(last) => steps[0].origin = Origin::Foreign(last),
        (None, End::ForeignRoot) => {
            let root = (1..sent.len()).find(|at| view.paths.is_root(*at) && view.paths.link(last, *at) == Link::Issued);
            steps.extend(root.map(|at| step(Origin::Foreign(at), &sent[at])));
        }
        (None, _) => {
            let who = sent[last].issuer().to_string();
            steps.push(Step { origin: Origin::Missing, who, certificate: None });
        }
    }
    steps
}

fn step(origin: Origin, certificate: &Certificate) -> Step {
    Step { origin, who: certificate.subject_or_names(), certificate: Some(certificate.clone()) }
}
