//! What a survey means. Pure: observations go in, findings come out; each file is one concern.
//!
//! A check may say all it sees: what follows from another finding at the same address is taken out by [`Verdict::new`], by what
//! each label says it explains. To add one: a file with `check(&Case) -> Vec<Finding>`, and a line in `found`.

mod certificate;
pub mod client;
pub mod clock;
pub mod disk;
mod fleet;
pub mod hsts;
pub mod http;
mod negotiation;
pub mod offered;
mod reach;
mod resumption;
pub mod revocation;
mod sni;
pub mod staple;

use super::chain::{Judged, Question, Store, judge};
use super::finding::{Finding, Verdict};
use super::handshake::Handshake;
use super::label::{Label, Severity};
use super::survey::http::{Mute, Spoken};
use super::survey::{Sight, Survey};
use crate::config::spec::Usage;
use crate::pki::chain::{Link, link};
use crate::pki::{Certificate, MAX_CERTIFICATES};
use crate::types::{KeyId, Timestamp, humane};
use client::Given;
use revocation::Looked;
use rustls_pki_types::CertificateDer;
use std::rc::Rc;
use std::time::Duration;

/// From here on a handshake is called slow.
pub(super) const SLOW: Duration = Duration::from_secs(3);

/// All checks, in no order that matters.
fn found(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(reach::check(case));
    found.extend(negotiation::check(case));
    found.extend(certificate::check(case));
    found.extend(sni::check(case));
    found.extend(client::check(case));
    found.extend(fleet::check(case));
    found.extend(revocation::check(case));
    found.extend(http::check(case));
    found.extend(clock::check(case));
    found.extend(disk::check(case));
    found.extend(resumption::check(case));
    found
}

/// A survey with its certificates read and judged: what checks look at.
#[derive(Debug)]
pub struct Case<'a> {
    /// What was asked and when.
    pub survey: &'a Survey,
    /// What each address showed.
    pub views: Vec<View<'a>>,
    /// What the clocks showed.
    pub hands: clock::Hands,
    /// The time it is judged at: when it began, by a clock that is right.
    pub at: Timestamp,
}

/// What one address showed, with what its certificates came to.
#[derive(Debug)]
pub struct View<'a> {
    /// What it showed.
    pub sight: &'a Sight,
    /// Its certificates and what they are worth; the same for all addresses that sent the same.
    pub presented: Rc<Presented>,
    /// The same of its certificate of the other key family, when it has one.
    pub other: Option<Rc<Presented>>,
    /// What it makes of the client certificate, where one was given.
    pub given: Option<Given<'a>>,
    /// What the CRLs came to that its certificates point to, where they were asked for.
    pub looked: Vec<Looked>,
}

/// A list of certificates as sent, judged for the name.
#[derive(Debug)]
pub struct Presented {
    /// As sent.
    pub sent: Vec<CertificateDer<'static>>,
    /// Those that can be read, in the same order.
    pub certificates: Vec<Certificate>,
    /// Which cannot be read, from 1, and why.
    pub unreadable: Vec<(usize, String)>,
    /// What clients say of them.
    pub judged: Judged,
}

impl Presented {
    /// The leaf, when it can be read.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        let readable = self.unreadable.first().is_none_or(|(place, _)| *place > 1);
        self.certificates.first().filter(|_| readable)
    }

    /// The most telling reason for a client to refuse them.
    #[must_use]
    pub fn worst(&self) -> Option<Label> {
        self.judged.findings.iter().map(|it| it.label).filter(|it| it.severity() == Severity::Fail).min()
    }

    /// Whether some client refuses them.
    #[must_use]
    pub fn fails(&self) -> bool {
        !self.unreadable.is_empty() || self.worst().is_some()
    }
}

impl View<'_> {
    /// The leaf that was shown.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.presented.leaf()
    }

    /// Whether a client without a certificate gets through, or only wants for one, and accepts what it sees.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.leaf().is_some()
            && !self.presented.fails()
            && (self.sight.telling().end.is_ok() || client::wanted(self.sight))
    }

    /// Whether the given client certificate is accepted.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.given.as_ref().is_some_and(Given::accepted)
    }

    /// The handshake of a client that gets through: with the given certificate, where it is accepted.
    #[must_use]
    pub fn shaken(&self) -> &Handshake {
        let admitted = self.sight.given.first().filter(|_| self.admits());
        admitted.map_or_else(|| self.sight.telling(), |tried| &tried.shake)
    }

    /// What such a client is answered in HTTP over TLS.
    #[must_use]
    pub fn spoken(&self) -> Option<&Result<Spoken, Mute>> {
        let admitted = self.sight.given.first().filter(|_| self.admits());
        admitted.and_then(|tried| tried.http.as_ref()).or(self.sight.http.as_ref())
    }

    /// A finding seen here.
    #[must_use]
    pub fn found(&self, finding: Finding) -> Finding {
        Finding { address: Some(self.sight.address), node: self.sight.node.clone(), ..finding }
    }
}

impl<'a> Case<'a> {
    /// Reads and judges what `survey` holds: each list of certificates once.
    #[must_use]
    pub fn new(survey: &'a Survey) -> Self {
        let mut known: Vec<Rc<Presented>> = Vec::new();
        let hands = clock::Hands::of(survey);
        let at = hands.put_right(survey.at);
        let mut judged = |handshake: &Handshake, pins: &[KeyId]| {
            if let Some(same) = known.iter().find(|it| it.sent == handshake.chain) {
                return Rc::clone(same);
            }
            let fresh = Rc::new(presented(survey, at, &handshake.chain, pins));
            known.push(Rc::clone(&fresh));
            fresh
        };
        let view = |sight: &'a Sight| {
            let presented = judged(sight.telling(), &survey.query.pins);
            let other = sight.other_family.as_ref().filter(|it| !it.chain.is_empty() && it.chain != presented.sent);
            let other = other.map(|it| judged(it, &[]));
            let looked = revocation::look(&presented.certificates, &survey.query.stores, &sight.crls, at);
            let given = survey.query.client.as_ref().map(|identity| Given::new(identity, sight));
            View { sight, presented, other, given, looked }
        };
        Self { survey, views: survey.sights.iter().map(view).collect(), hands, at }
    }

    /// What all checks come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let query = &self.survey.query;
        let mut found = found(self);
        for finding in &mut found {
            finding.sni = query.sni().cloned();
        }
        let verdict = Verdict::new(found, || self.well()).seen_from(&query.vantage, query.sni());
        verdict.merged(self.views.len())
    }

    /// What is well, where nothing is wrong.
    fn well(&self) -> String {
        let now = self.at;
        let Some(leaf) = self.views.iter().find_map(View::leaf) else { return String::new() };
        let ends = self.views.iter().filter_map(View::leaf).map(|leaf| leaf.validity().end).min().unwrap_or(now);
        let spoken = self.views.iter().find_map(|view| view.shaken().agreed.as_ref());
        let spoken = spoken.map_or(String::new(), |agreed| format!(", {}", agreed.version));
        let admitted = self.views.iter().filter(|view| view.admits()).find_map(|view| view.given.as_ref());
        let admitted = admitted.map_or_else(String::new, |given| {
            format!("; the client certificate {} is accepted", given.identity.leaf().subject_or_names())
        });
        format!("{} until {ends} ({} left){spoken}{admitted}", leaf.subject_or_names(), humane(ends.since(now)))
    }
}

fn presented(survey: &Survey, now: Timestamp, sent: &[CertificateDer<'static>], pins: &[KeyId]) -> Presented {
    let query = &survey.query;
    let (mut certificates, mut unreadable) = (Vec::new(), Vec::new());
    for (at, der) in sent.iter().enumerate().take(MAX_CERTIFICATES) {
        match Certificate::from_der(der) {
            Ok(certificate) => certificates.push(certificate),
            Err(why) => unreadable.push((at + 1, why.to_string())),
        }
    }
    let question = Question {
        names: std::slice::from_ref(&query.name),
        stores: &query.stores,
        usage: Usage::Server,
        now,
        pins,
        published: false,
    };
    let leaf = unreadable.first().is_none_or(|(place, _)| *place > 1);
    let judged = judge(if leaf { &certificates } else { &[] }, &question);
    Presented { sent: sent.to_vec(), certificates, unreadable, judged }
}

/// The certificates that issued `certificate` and are at hand: sent, or trusted.
fn issuers(certificate: &Certificate, sent: &[Certificate], stores: &[Store]) -> Vec<Certificate> {
    let trusted = stores.iter().flat_map(|store| store.anchors.issuers(certificate));
    sent.iter().cloned().chain(trusted).filter(|it| link(certificate, it) == Link::Issued).collect()
}
