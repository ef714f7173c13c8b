//! What a list of certificates is worth to clients: judged as a backend client does, without fetching or remembering anything.
//! Pure: the certificates as presented and a question go in, findings and a drawing come out.
//!
//! webpki gives the verdict of Rust clients, `openssl` walks as OpenSSL's clients do, and `route` searches all paths for the
//! words. Each further file is one concern.

mod authority;
mod dates;
mod names;
mod openssl;
mod order;
mod policy;
mod route;
mod strength;
mod trust;
mod webpki;

use super::finding::Finding;
use crate::config::spec::Usage;
use crate::pki::{Anchors, Certificate};
use crate::types::{Failure, Identifier, KeyId, Timestamp};
use route::View;
use std::rc::Rc;

/// A trust store with what people call it.
#[derive(Debug, Clone)]
pub struct Store {
    /// `system`, `mozilla`, or the file.
    pub name: String,
    /// Its roots.
    pub anchors: Rc<Anchors>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a trust store comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The machine's own, where the public CAs are.
    System,
    /// Mozilla's, as this program was built with it: the public CAs.
    Mozilla,
    /// A file: mostly a private CA.
    File,
}

/// How Mozilla's store is called.
pub const MOZILLA: &str = "mozilla";

impl Store {
    /// Mozilla's store as this program was built with it.
    ///
    /// # Errors
    /// As [`Anchors::mozilla`].
    pub fn mozilla() -> Result<Self, Failure> {
        let anchors = Rc::new(Anchors::mozilla()?);
        Ok(Self { name: MOZILLA.to_owned(), anchors, source: Source::Mozilla })
    }
}

/// What is asked of a list of certificates.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The names it must be good for; none where nobody asked.
    pub names: &'a [Identifier],
    /// The trust stores, at least one; each is judged by itself.
    pub stores: &'a [Store],
    /// What it must be good for.
    pub usage: Usage,
    /// The time to judge at.
    pub now: Timestamp,
    /// Keys of which the chain must hold one; none where nobody asked.
    pub pins: &'a [KeyId],
    /// Whether it lies where servers will read it, in a live directory: then nobody has failed yet, and the next reload will.
    pub published: bool,
}

/// What a list of certificates came to.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What was found, not settled.
    pub findings: Vec<Finding>,
    /// The path, from the leaf to where trust ends.
    pub steps: Vec<Step>,
}

/// A certificate of the path, or the place where one should be.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it comes from.
    pub origin: Origin,
    /// The certificate's subject, or the issuer that is wanting.
    pub who: String,
    /// The certificate itself, where there is one.
    pub certificate: Option<Certificate>,
}

/// Where a step of the path comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Presented, at this position; the leaf is at 0.
    Sent(usize),
    /// Presented, at this position: a self-signed certificate that is in no trust store, where the path ends.
    Foreign(usize),
    /// In this trust store.
    Store(String),
    /// Nowhere: the path breaks off here.
    Missing,
}

/// Judges `sent`, the certificates in the order they are presented, the leaf first.
#[must_use]
pub fn judge(sent: &[Certificate], question: &Question<'_>) -> Judged {
    let Some(leaf) = sent.first() else { return Judged { findings: Vec::new(), steps: Vec::new() } };
    let mut views: Vec<View<'_>> = question.stores.iter().map(|store| View::new(sent, store, question)).collect();
    let Some(best) = route::best(&views) else { return Judged { findings: Vec::new(), steps: Vec::new() } };
    let mut findings = Vec::new();
    findings.extend(dates::leaf(leaf, question));
    findings.extend(authority::leaf(leaf, question.usage));
    findings.extend(strength::leaf(leaf));
    findings.extend(names::leaf(leaf, question));
    findings.extend(trust::end(sent, &mut views[best], question));
    findings.extend(trust::mismatch(sent, &views));
    findings.extend(order::order(sent, &mut views[best], question.now));
    findings.extend(policy::lifetime(leaf, &views[best], question.usage));
    findings.extend(policy::size(sent));
    findings.extend(policy::pins(sent, &views[best], question.pins));
    findings.extend(openssl::astray(sent, &mut views[best], question));
    findings.extend(webpki::refusal(sent, &views[best], question));
    findings.extend(views[best].route.faults.iter().cloned());
    for finding in &mut findings {
        finding.sni = question.names.first().cloned();
    }
    Judged { findings, steps: route::steps(sent, &mut views[best]) }
}

/// What speaks against `sent` by itself, for certificates that others will judge: dates, usages, strength of the leaf, and the dates of
/// what stands behind it. Who trusts it is their matter.
#[must_use]
pub fn by_itself(sent: &[Certificate], usage: Usage, now: Timestamp) -> Vec<Finding> {
    let [leaf, others @ ..] = sent else { return Vec::new() };
    let question = Question { names: &[], stores: &[], usage, now, pins: &[], published: false };
    let mut found: Vec<Finding> = dates::leaf(leaf, &question).into_iter().collect();
    found.extend(authority::leaf(leaf, usage));
    found.extend(strength::leaf(leaf));
    found.extend(others.iter().filter_map(|other| dates::issuer(other, now)));
    found
}

#[cfg(test)]
mod tests;
