//! The CRLs that the certificates point to: whether they are their issuers' word, and whether a certificate is listed. A list that
//! cannot be had or used is no finding: clients that look into CRLs at all go on without.

use super::{Case, Presented, issuers, staple};
use crate::pki::crl::{self, Crl};
use crate::pki::revocation::Revocation;
use crate::pki::{Certificate, Unreadable};
use crate::probe::chain::{Origin, Store};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::crl::Fetched;
use crate::types::{Printable, Timestamp};
use std::fmt;
use std::time::Duration;

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// What a CRL came to for one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The certificate's position in what was sent; the leaf is at 0.
    pub position: usize,
    /// Where the list was, or would be.
    pub url: Printable,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a CRL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The certificate is not in it.
    NotListed {
        /// When the list was made.
        made: Timestamp,
        /// Until when it counts, where that is said.
        until: Option<Timestamp>,
    },
    /// The certificate is in it.
    Revoked(Revocation),
    /// It says nothing: why.
    Unusable(Printable),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed { made, until: Some(until) } => write!(f, "not listed, from {made} to {until}"),
            Self::NotListed { made, until: None } => write!(f, "not listed, from {made}"),
            Self::Revoked(revocation) => write!(f, "{revocation}"),
            Self::Unusable(why) => write!(f, "not used: {why}"),
        }
    }
}

/// What staples and CRLs say of each address's certificates.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let query = &case.survey.query;
    let said = |presented: &Presented, stapled: &[u8], looked: &[Looked]| {
        if presented.leaf().is_none() {
            return Vec::new();
        }
        let sent = &presented.certificates;
        let mut found = staple::staple(sent, &query.stores, stapled, case.at);
        let members = presented.judged.steps.iter().filter_map(|step| match step.origin {
            Origin::Sent(at) => Some(at),
            _ => None,
        });
        // What the staple has said already is not said again.
        let told = found.iter().any(|finding| finding.label == Label::Revoked);
        let members: Vec<usize> = members.filter(|at| !(told && *at == 0)).collect();
        found.extend(findings(sent, &members, looked));
        found
    };
    let mut found = Vec::new();
    for view in &case.views {
        let sight = view.sight;
        let main = said(&view.presented, sight.stapled(), &view.looked);
        if let (Some(presented), Some(handshake)) = (&view.other, &sight.other_family) {
            let looked = look(&presented.certificates, &query.stores, &sight.other_crls, case.at);
            let other = said(presented, &handshake.staple, &looked);
            let fresh = other.into_iter().filter(|finding| main.iter().all(|it| it.label != finding.label));
            found.extend(fresh.map(|finding| view.found(finding)));
        }
        found.extend(main.into_iter().map(|finding| view.found(finding)));
    }
    found
}

/// Reads the lists that were fetched for certificates of the list `sent`.
#[must_use]
pub fn look(sent: &[Certificate], stores: &[Store], fetched: &[Fetched], now: Timestamp) -> Vec<Looked> {
    let each = fetched.iter().filter_map(|it| Some((it, sent.get(it.position)?)));
    each.map(|(it, certificate)| {
        let outcome = match &it.list {
            Ok(bytes) => read(certificate, &issuers(certificate, sent, stores), bytes, now)
                .unwrap_or_else(|why| Outcome::Unusable(Printable::new(&why.to_string()))),
            Err(failure) => Outcome::Unusable(failure.message.clone()),
        };
        Looked { position: it.position, url: Printable::new(&it.url), outcome }
    })
    .collect()
}

fn read(
    certificate: &Certificate,
    issuers: &[Certificate],
    bytes: &[u8],
    now: Timestamp,
) -> Result<Outcome, Unreadable> {
    let der = crl::der(bytes)?;
    let list = Crl::from_der(&der)?;
    let believed = issuers.iter().map(|issuer| list.word_of(issuer)).reduce(Result::or);
    believed.unwrap_or_else(|| Err(Unreadable::new(&"the issuer's certificate is not at hand to check it with")))?;
    if let Some(why) = list.is_other() {
        return Err(Unreadable::new(&why));
    }
    if now + SKEW < list.this_update {
        return Err(Unreadable::new(&format!("it begins on {}", list.this_update)));
    }
    let ended = list.next_update.filter(|end| now >= *end + SKEW);
    match (list.listed(certificate.serial())?, ended) {
        // Once revoked is revoked: an old list is wrong only about what came later.
        (Some(revocation), _) => Ok(Outcome::Revoked(revocation)),
        (None, Some(end)) => Err(Unreadable::new(&format!("it ended on {end}"))),
        (None, None) => Ok(Outcome::NotListed { made: list.this_update, until: list.next_update }),
    }
}

/// What is wrong about certificates of the list `sent`, of which only those at `members` count.
#[must_use]
pub fn findings(sent: &[Certificate], members: &[usize], looked: &[Looked]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut told = Vec::new();
    for it in looked.iter().filter(|it| members.contains(&it.position)) {
        let (Outcome::Revoked(revocation), Some(certificate)) = (&it.outcome, sent.get(it.position)) else { continue };
        if told.contains(&it.position) {
            continue;
        }
        told.push(it.position);
        let (who, serial) = (certificate.subject_or_names(), certificate.serial());
        let finding =
            Finding::new(Label::Revoked, format!("the CRL at {} lists {who}, serial {serial}: {revocation}", it.url));
        found.push(match it.position {
            0 => finding,
            _ => finding
                .check("Its CA has withdrawn an intermediate: issue again, and serve the chain that comes with it."),
        });
    }
    found
}

#[cfg(test)]
mod tests;
