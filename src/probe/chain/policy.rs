//! What is not cryptography: lifetimes, sizes, pins.

use super::Source;
use super::route::View;
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::{KeyId, Timestamp, humane};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Longest life of any leaf, in days: Apple's clients refuse more.
const LONGEST: u32 = 398;
/// Longest life of a public leaf, in days, for those that begin at or after a time: CA/Browser Forum ballot SC-081.
const PUBLIC: [(i64, u32); 3] = [(1_773_532_800, 200), (1_805_068_800, 100), (1_868_227_200, 47)];
/// What common clients read of a Certificate message, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// How long the leaf lives.
pub(super) fn lifetime(leaf: &Certificate, view: &View<'_>, usage: Usage) -> Option<Finding> {
    let validity = leaf.validity();
    // The machine's store also holds roots that were put there by hand; their leaves lack the public policies.
    let public = view.store.source != Source::File && view.accepts() && leaf.public_policy;
    let begins = |since: i64| validity.start >= Timestamp::from_secs(since);
    let limit = PUBLIC.iter().rev().find(|(since, _)| public && begins(*since)).map_or(LONGEST, |(_, days)| *days);
    (usage != Usage::Client && validity.width() > DAY * limit).then(|| {
        let who = leaf.subject_or_names();
        let of = if limit < LONGEST { " for a public certificate of its date" } else { "" };
        let seen = format!("{who} lives {}; the limit is {limit} days{of}", humane(validity.width()));
        Finding::new(Label::ValidityTooLong, seen)
    })
}

/// How large the Certificate message is (RFC 8446 §4.4.2): three octets of length and two of extensions for each.
pub(super) fn size(sent: &[Certificate]) -> Option<Finding> {
    let bytes: usize = sent.iter().map(|it| it.der().len() + 5).sum::<usize>() + 4;
    (bytes > MOST_BYTES).then(|| {
        let seen = format!("{} certificates take {bytes} bytes; common clients read {MOST_BYTES}", sent.len());
        Finding::new(Label::CertTooLarge, seen)
    })
}

/// Whether the chain holds a pinned key.
pub(super) fn pins(sent: &[Certificate], view: &View<'_>, pins: &[KeyId]) -> Option<Finding> {
    let mut keys = sent.iter().chain(&view.route.root).map(Certificate::key);
    if pins.is_empty() || keys.any(|key| pins.contains(&key)) {
        return None;
    }
    let leaf = sent.first().map(Certificate::key)?;
    let seen = format!("no key of the chain is among the {} given; the leaf's is {}", counted(pins.len()), pin(leaf));
    Some(Finding::new(Label::PinMismatch, seen))
}

fn counted(pins: usize) -> String {
    if pins == 1 { "1 pin".to_owned() } else { format!("{pins} pins") }
}

fn pin(key: KeyId) -> String {
    format!("sha256/{}", data_encoding::BASE64.encode(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_begin_on_the_days_of_the_ballot() {
        let days = ["2026-03-15T00:00:00Z", "2027-03-15T00:00:00Z", "2029-03-15T00:00:00Z"];
        assert_eq!(PUBLIC.map(|(since, _)| Timestamp::from_secs(since).to_string()), days);
    }
}
