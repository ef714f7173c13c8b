//! The gate: what a downloaded chain must be before it may be published. Pure.
//!
//! Every violation is listed, not only the first; its code is a FINDINGS label wherever one fits:
//!
//! | code | meaning |
//! |---|---|
//! | `key_mismatch` | the leaf certifies another key than the order's |
//! | `san_missing`, `san_extra` | its names are not exactly the order's |
//! | `serial_reused` | it is a certificate that was issued before |
//! | `wrong_directory`, `rehearsal` | it came from another directory than the one configured, or from the wrong side of a rehearsal |
//! | `expired`, `not_yet_valid`, `expired_intermediate` | dates, with [`SKEW`] |
//! | `eku_not_server`, `eku_not_client` | it may not be used as `use:` asks |
//! | `leaf_is_ca`, `issuer_not_ca`, `path_length`, `name_constraint` | what CAs may do |
//! | `missing_intermediate`, `wrong_intermediate`, `chain_out_of_order` | the chain as clients need it |
//! | `self_signed`, `untrusted_root` | what it ends at |
//! | `weak_key`, `weak_signature`, `bad_signature`, `unverifiable` | cryptography; the last is webpki's own words |

mod verdict;

use super::chain::{End, Link, Path, best_path, link};
use super::parse::{Certificate, KeyKind, LEAST_RSA_BITS};
use super::roots::Anchors;
use crate::config::spec::Usage;
use crate::types::{Identifier, KeyId, Printable, Serial, Timestamp};
use std::time::Duration;

/// How far the CA's clock and ours may differ.
pub const SKEW: Duration = Duration::from_secs(300);
/// Names listed in one message.
const NAMES_LISTED: usize = 20;

/// Where a chain came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The URL of the ACME directory.
    pub directory: &'a str,
    /// Whether it is a rehearsal's.
    pub rehearsal: bool,
}

/// What a chain is held against.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// The key it was ordered with.
    pub key: KeyId,
    /// The names ordered.
    pub names: &'a [Identifier],
    /// What it must be good for.
    pub usage: Usage,
    /// Where the specification wants it from.
    pub origin: Origin<'a>,
    /// Where it was downloaded from.
    pub came_from: Origin<'a>,
    /// Serial numbers of all earlier generations.
    pub old_serials: &'a [Serial],
    /// The issuer's subject of the generation before, to note a change.
    pub previous_issuer: Option<&'a Printable>,
    /// The roots it must chain to.
    pub anchors: &'a Anchors,
    /// The time to judge at.
    pub now: Timestamp,
}

/// One thing wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A stable word from the table above.
    pub code: &'static str,
    /// One sentence with the particulars.
    pub message: Printable,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Everything wrong; empty when the chain may be published.
    pub violations: Vec<Violation>,
    /// What people should know.
    pub notes: Vec<Printable>,
    /// The leaf, PEM.
    pub cert: String,
    /// The intermediates that are to be served, PEM, the leaf's issuer first: no root, nothing twice.
    pub chain: String,
}

impl Judgement {
    /// Whether it may be published.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Judges `sent`, the certificates as they came. An empty list, which [`super::parse::chain`] never gives, is refused.
#[must_use]
pub fn judge(sent: &[Certificate], expected: &Expected<'_>) -> Judgement {
    let mut findings = Findings::default();
    let sent = leaf_first(sent, expected, &mut findings);
    let Some(leaf) = sent.first() else {
        findings.violation("missing_intermediate", "there is no certificate");
        return Judgement {
            violations: findings.violations,
            notes: findings.notes,
            cert: String::new(),
            chain: String::new(),
        };
    };
    origin(expected, &mut findings);
    identity(leaf, expected, &mut findings);
    leaf_itself(leaf, expected, &mut findings);
    let path = best_path(&sent, expected.anchors, expected.now);
    completeness(&sent, &path, expected, &mut findings);
    issuers(&sent, &path, expected, &mut findings);
    let kept = kept(&sent, &path, &mut findings);
    verdict::verify(leaf, &kept, &path, expected, &mut findings);
    Judgement {
        violations: findings.violations,
        notes: findings.notes,
        cert: leaf.pem(),
        chain: kept.iter().map(|certificate| certificate.pem()).collect(),
    }
}

#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    notes: Vec<Printable>,
}

impl Findings {
    fn violation(&mut self, code: &'static str, message: impl AsRef<str>) {
        self.violations.push(Violation { code, message: Printable::new(message.as_ref()) });
    }

    fn note(&mut self, message: impl AsRef<str>) {
        self.notes.push(Printable::new(message.as_ref()));
    }

    fn has(&self, code: &str) -> bool {
        self.violations.iter().any(|violation| violation.code == code)
    }
}

/// A chain whose leaf stands elsewhere is misordered, not a chain for another key.
fn leaf_first(sent: &[Certificate], expected: &Expected<'_>, findings: &mut Findings) -> Vec<Certificate> {
    let mut sent = sent.to_vec();
    let place = sent.iter().position(|certificate| certificate.key() == expected.key);
    if let Some(place) = place.filter(|place| *place > 0) {
        findings.violation("chain_out_of_order", format!("the leaf is certificate {}, not the first", place + 1));
        sent[..=place].rotate_right(1);
    }
    sent
}

fn origin(expected: &Expected<'_>, findings: &mut Findings) {
    let (wanted, came) = (&expected.origin, &expected.came_from);
    match (wanted.rehearsal, came.rehearsal) {
        (false, true) => findings.violation("rehearsal", format!("it comes from a rehearsal at {}", came.directory)),
        (true, false) => findings.violation("rehearsal", "it is a production certificate, and this is a rehearsal"),
        _ => {}
    }
    if wanted.directory != came.directory {
        findings
            .violation("wrong_directory", format!("it comes from {}, not from {}", came.directory, wanted.directory));
    }
}

fn identity(leaf: &Certificate, expected: &Expected<'_>, findings: &mut Findings) {
    if leaf.key() != expected.key {
        findings.violation(
            "key_mismatch",
            format!("the leaf certifies key {}, and was ordered for {}", leaf.key().short(), expected.key.short()),
        );
    }
    let missing = expected.names.iter().filter(|name| !leaf.names().contains(name)).map(ToString::to_string);
    if let Some(listed) = list(missing) {
        findings.violation("san_missing", format!("ordered and not in the certificate: {listed}"));
    }
    let foreign = leaf.names().iter().filter(|name| !expected.names.contains(name)).map(ToString::to_string);
    let other = leaf.other_names().iter().map(ToString::to_string);
    if let Some(listed) = list(foreign.chain(other)) {
        findings.violation("san_extra", format!("in the certificate and not ordered: {listed}"));
    }
    if expected.old_serials.contains(leaf.serial()) {
        findings.violation("serial_reused", format!("the serial {} is an earlier certificate's", leaf.serial()));
    }
    if let Some(previous) = expected.previous_issuer.filter(|previous| *previous != leaf.issuer()) {
        findings.note(format!("issuer_changed: issued by {}; the one before by {previous}", leaf.issuer()));
    }
}

fn list(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    let listed = names.iter().take(NAMES_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        count if count > NAMES_LISTED => Some(format!("{listed} and {} more", count - NAMES_LISTED)),
        _ => Some(listed),
    }
}

fn leaf_itself(leaf: &Certificate, expected: &Expected<'_>, findings: &mut Findings) {
    dates(leaf, expected.now, ["expired", "not_yet_valid"], findings);
    usages(leaf, expected.usage, findings);
    strength(leaf, findings);
    if leaf.authority.ca {
        findings.violation("leaf_is_ca", "the leaf is a CA certificate, which servers must not present");
    }
    if leaf.usages().is_none() {
        findings.note("eku_absent: the certificate does not say what it is for (no extendedKeyUsage)");
    }
}

fn dates(certificate: &Certificate, now: Timestamp, [ended, early]: [&'static str; 2], findings: &mut Findings) {
    let validity = certificate.validity();
    if validity.end + SKEW <= now {
        findings.violation(ended, format!("{} ended on {}", certificate.subject_or_names(), validity.end));
    }
    if validity.start > now + SKEW {
        findings.violation(early, format!("{} begins on {}", certificate.subject_or_names(), validity.start));
    }
}

fn usages(certificate: &Certificate, usage: Usage, findings: &mut Findings) {
    let Some(allowed) = certificate.usages() else { return };
    let who = certificate.subject_or_names();
    if matches!(usage, Usage::Server | Usage::Both) && !allowed.server {
        findings.violation("eku_not_server", format!("{who} is not for TLS servers (extendedKeyUsage)"));
    }
    if matches!(usage, Usage::Client | Usage::Both) && !allowed.client {
        findings.violation("eku_not_client", format!("{who} is not for TLS clients (extendedKeyUsage)"));
    }
}

fn strength(certificate: &Certificate, findings: &mut Findings) {
    let who = certificate.subject_or_names();
    match certificate.key_kind() {
        KeyKind::Rsa(bits) if bits < LEAST_RSA_BITS => {
            findings.violation("weak_key", format!("{who} has an RSA key of {bits} bits"));
        }
        _ => {}
    }
    if let Some(hash) = certificate.weak_signature() {
        findings.violation("weak_signature", format!("{who} is signed with {hash}"));
    }
}

fn completeness(sent: &[Certificate], path: &Path, expected: &Expected<'_>, findings: &mut Findings) {
    let Some((last, below)) = path.members.last().map(|at| (&sent[*at], path.members.len() - 1)) else { return };
    let who = last.subject_or_names();
    let need = match last.authority_key() {
        Some(key) => format!("{}, key identifier {}", last.issuer(), data_encoding::HEXLOWER.encode(key)),
        None => last.issuer().to_string(),
    };
    let foreign_ca = sent.iter().skip(1).any(|c| c.authority.ca && !c.is_self_issued());
    match path.end {
        End::Trusted => anchor_dates(last, expected, findings),
        End::WrongIssuer => findings.violation(
            "wrong_intermediate",
            format!("a certificate named {} is there, but it is not the one that signed {who}", last.issuer()),
        ),
        End::ForeignRoot if below == 0 && last.is_self_issued() => {
            findings.violation("self_signed", format!("{who} is signed with its own key"));
        }
        End::Missing if below == 0 && foreign_ca => {
            findings.violation("wrong_intermediate", format!("no certificate sent has signed {who}; needed is {need}"));
        }
        End::Missing if below == 0 => {
            findings.violation("missing_intermediate", format!("{who} comes without its issuer: {need}"));
        }
        End::Missing | End::ForeignRoot if expected.anchors.is_unchecked() => {}
        End::Missing | End::ForeignRoot => {
            findings.violation("untrusted_root", format!("the chain ends at {need}, which is no configured root"));
        }
    }
    if expected.anchors.is_unchecked() {
        findings.note("trust_unchecked: whether the chain ends at a trusted root was not checked (no roots are known)");
    }
    if !path.in_order() {
        findings.violation("chain_out_of_order", "the certificates do not stand in signing order");
    }
}

/// webpki does not look at a root's own dates; other verifiers do.
fn anchor_dates(last: &Certificate, expected: &Expected<'_>, findings: &mut Findings) {
    let ended = |root: &Certificate| root.validity().end + SKEW <= expected.now;
    let mut roots = expected.anchors.issuers(last).filter(|root| link(last, root) == Link::Issued).peekable();
    let first = roots.peek().cloned();
    if let Some(root) = first.filter(|_| roots.all(|root| ended(&root))) {
        findings.violation("untrusted_root", format!("the root {} ended on {}", root.subject(), root.validity().end));
    }
}

fn issuers(sent: &[Certificate], path: &Path, expected: &Expected<'_>, findings: &mut Findings) {
    let mut below = 0u32;
    for at in path.members.iter().skip(1) {
        let issuer = &sent[*at];
        let who = issuer.subject_or_names();
        dates(issuer, expected.now, ["expired_intermediate", "not_yet_valid"], findings);
        usages(issuer, expected.usage, findings);
        strength(issuer, findings);
        if !issuer.authority.ca || !issuer.authority.may_sign {
            findings.violation("issuer_not_ca", format!("{who} has signed a certificate and is no CA"));
        }
        if let Some(most) = issuer.authority.path_len.filter(|most| *most < below) {
            findings.violation("path_length", format!("{who} allows {most} CAs below it, and there are {below}"));
        }
        below += u32::from(!issuer.is_self_issued());
    }
}

/// The intermediates to serve: the path, and what goes on from it in order (a cross-signature for older clients).
fn kept<'a>(sent: &'a [Certificate], path: &Path, findings: &mut Findings) -> Vec<&'a Certificate> {
    let mut members = path.members.clone();
    while let Some(last) = members.last().copied() {
        let Some(next) = sent.get(last + 1) else { break };
        if members.contains(&(last + 1)) || next.is_self_issued() || link(&sent[last], next) != Link::Issued {
            break;
        }
        members.push(last + 1);
    }
    for (at, certificate) in sent.iter().enumerate().filter(|(at, _)| !members.contains(at)) {
        let what = if sent[..at].iter().any(|earlier| earlier.fingerprint() == certificate.fingerprint()) {
            "duplicate_in_chain: a second copy of"
        } else if certificate.is_self_issued() {
            "root_included: the root"
        } else {
            "extra_in_chain: a certificate that the path does not need,"
        };
        findings.note(format!("{what} {} was left out", certificate.subject_or_names()));
    }
    members.iter().skip(1).map(|at| &sent[*at]).collect()
}

#[cfg(test)]
mod tests;
