//! The stapled OCSP response: whether it says of this leaf, on its issuer's word and today, that it is good.

use super::issuers;
use crate::pki::Certificate;
use crate::pki::ocsp::{Answer, Response, Status};
use crate::probe::chain::Store;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::{Timestamp, humane};
use std::time::Duration;

/// How far clocks may be apart, as clients allow.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// A response that names no end counts for so long with the clients that set one themselves (Mozilla's mozpkix).
const WITHOUT_END: Duration = Duration::from_secs(24 * 3600);
/// Serial numbers listed in one message.
const LISTED: usize = 3;

/// Judges `staple`, empty where none was sent, beside the certificates `sent` with it, the leaf first.
#[must_use]
pub fn staple(sent: &[Certificate], stores: &[Store], staple: &[u8], now: Timestamp) -> Vec<Finding> {
    let Some(leaf) = sent.first() else { return Vec::new() };
    if staple.is_empty() {
        let who = leaf.subject_or_names();
        let missing = || {
            let seen = format!("{who} demands a stapled OCSP response (must-staple), and none was sent with it");
            Finding::new(Label::MustStapleMissing, seen)
        };
        return leaf.must_staple.then(missing).into_iter().collect();
    }
    let found = match Response::from_der(staple) {
        Ok(response) => read(leaf, &issuers(leaf, sent, stores), &response, now),
        Err(why) => {
            let check = "What does the server staple: a file (ssl_stapling_file), or what its responder answered, an error too?";
            vec![wrong(format!("cannot be used: {why}")).check(check)]
        }
    };
    found.into_iter().map(|finding| demanded(leaf, finding)).collect()
}

fn read(leaf: &Certificate, issuers: &[Certificate], response: &Response<'_>, now: Timestamp) -> Vec<Finding> {
    let issuers: Vec<&Certificate> = issuers.iter().collect();
    let Some(answer) = response.about(leaf, &issuers) else { return vec![wrong(other(leaf, response))] };
    // Without the issuer's certificate nobody can say whose word it is; that it is missing is a finding of its own.
    let believed = issuers.iter().map(|issuer| response.word_of(issuer, now, SKEW)).reduce(Result::or);
    if let Some(Err(why)) = believed {
        let check = "Does the server load the chain of this certificate, so that it asks the right CA's responder? Fetch it anew.";
        return vec![wrong(format!("is not the issuer's word: {why}")).check(check)];
    }
    let who = leaf.subject_or_names();
    let mut found = match answer.status {
        Status::Unknown => {
            let check = "Is it the responder of the CA that issued this? A new certificate may take it some minutes: reload then.";
            return vec![wrong(format!("says that the responder does not know {who}")).check(check)];
        }
        Status::Revoked(revocation) => {
            let seen = format!("the stapled OCSP response says: {who}, serial {}, {revocation}", leaf.serial());
            vec![Finding::new(Label::Revoked, seen)]
        }
        Status::Good => Vec::new(),
    };
    found.extend(dates(answer, now));
    if found.is_empty() && believed.is_some() {
        let until = answer.next_update.map_or_else(String::new, |next| format!(" to {next}"));
        let seen = format!("the stapled OCSP response says good, from {}{until}", answer.this_update);
        found.push(Finding::new(Label::StapleOk, seen));
    }
    found
}

fn dates(answer: &Answer<'_>, now: Timestamp) -> Option<Finding> {
    let begin = answer.this_update;
    if now + SKEW < begin {
        let early = wrong(format!("begins on {begin}, in {}", humane(begin.since(now))));
        return Some(early.check("Are this machine's clock and the responder's right?"));
    }
    let expired = |seen: String| Finding::new(Label::StapleExpired, format!("the stapled OCSP response {seen}"));
    match answer.next_update {
        Some(end) => (now >= end + SKEW).then(|| expired(format!("ended on {end}, {} ago", humane(now.since(end))))),
        None => (now >= begin + WITHOUT_END).then(|| {
            let age = humane(now.since(begin));
            expired(format!("names no nextUpdate and was made {age} ago, on {begin}: clients give such a one a day"))
        }),
    }
}

/// What the answers are for instead.
fn other(leaf: &Certificate, response: &Response<'_>) -> String {
    if response.answers.iter().any(|answer| answer.serial == *leaf.serial()) {
        return format!("is for serial {}, which the leaf has too, and for another issuer", leaf.serial());
    }
    let serials: Vec<String> = response.answers.iter().take(LISTED).map(|answer| answer.serial.to_string()).collect();
    if serials.is_empty() {
        return "holds no answer".to_owned();
    }
    format!("is for serial {}; the leaf has serial {}", serials.join(", "), leaf.serial())
}

fn wrong(seen: impl AsRef<str>) -> Finding {
    Finding::new(Label::StapleWrong, format!("the stapled OCSP response {}", seen.as_ref()))
}

/// Where the leaf demands a staple, a bad one is as bad as none.
fn demanded(leaf: &Certificate, finding: Finding) -> Finding {
    let label = finding.label;
    if !leaf.must_staple || !matches!(label, Label::StapleExpired | Label::StapleWrong) {
        return finding;
    }
    let advice = finding.check.as_str().to_owned();
    finding.check(format!("{advice} The certificate demands a good one (must-staple): clients that mind it refuse."))
}

#[cfg(test)]
mod tests;
