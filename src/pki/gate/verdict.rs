//! The verdict of webpki, which is what Rust clients do.

use super::{Expected, Findings};
use crate::config::spec::Usage;
use crate::pki::chain::{End, Path};
use crate::pki::parse::Certificate;
use crate::types::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::borrow::Cow;
use std::time::Duration;
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

/// Asks webpki twice: without dates and usages, which would hide what lies behind them, and then as a client would.
pub(super) fn verify(
    leaf: &Certificate,
    kept: &[&Certificate],
    path: &Path,
    expected: &Expected<'_>,
    findings: &mut Findings,
) {
    let intermediates: Vec<CertificateDer<'_>> = kept.iter().map(|certificate| certificate.der().clone()).collect();
    let Some(anchors) = anchors(&intermediates, path, expected) else { return };
    let ask = |at: Timestamp, usage: &dyn ExtendedKeyUsageValidator| {
        let entity = EndEntityCert::try_from(leaf.der())?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_secs()).unwrap_or(0)));
        entity
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, at, Dyn(usage), None, None)
            .map(|_| ())
    };
    let mut errors = Vec::new();
    let common = kept.iter().fold(leaf.validity(), |common, certificate| {
        let validity = certificate.validity();
        crate::types::Window { start: common.start.max(validity.start), end: common.end.min(validity.end) }
    });
    if common.start < common.end {
        errors.extend(ask(common.start, &AnyUsage).err());
    }
    let at = at_leaf(leaf, expected.now);
    let (server, client) = (KeyUsage::server_auth(), KeyUsage::client_auth());
    match expected.usage {
        Usage::Server => errors.extend(ask(at, &server).err()),
        Usage::Client => errors.extend(ask(at, &client).err()),
        Usage::Both => errors.extend([ask(at, &server).err(), ask(at, &client).err()].into_iter().flatten()),
    }
    for error in errors {
        let code = code(&error);
        let explained = findings.has(code) || (code == "unverifiable" && !findings.violations.is_empty());
        if !explained {
            findings.violation(code, format!("the chain does not verify: {error}"));
        }
    }
}

/// The configured roots; without any, the last intermediate is taken for one, so that all below it is still checked.
fn anchors<'a>(
    intermediates: &'a [CertificateDer<'a>],
    path: &Path,
    expected: &'a Expected<'_>,
) -> Option<Cow<'a, [TrustAnchor<'a>]>> {
    if expected.anchors.is_unchecked() {
        return Some(Cow::Owned(vec![webpki::anchor_from_trusted_cert(intermediates.last()?).ok()?]));
    }
    // Where the path ends elsewhere that was already said; webpki would only say "unknown issuer".
    (path.end == End::Trusted).then(|| Cow::Borrowed(expected.anchors.as_slice()))
}

/// `now`, moved into the leaf's validity by no more than the skew.
fn at_leaf(leaf: &Certificate, now: Timestamp) -> Timestamp {
    let validity = leaf.validity();
    if now < validity.start && validity.start <= now + super::SKEW {
        validity.start
    } else if now >= validity.end && now < validity.end + super::SKEW {
        validity.end
    } else {
        now
    }
}

/// Dates and usages have been judged, with their words, before.
fn code(error: &Error) -> &'static str {
    match error {
        Error::CaUsedAsEndEntity => "leaf_is_ca",
        Error::EndEntityUsedAsCa => "issuer_not_ca",
        Error::PathLenConstraintViolated => "path_length",
        Error::NameConstraintViolation => "name_constraint",
        Error::InvalidSignatureForPublicKey => "bad_signature",
        _ => "unverifiable",
    }
}

struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

struct Dyn<'a>(&'a dyn ExtendedKeyUsageValidator);

impl ExtendedKeyUsageValidator for Dyn<'_> {
    fn validate(&self, ids: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        self.0.validate(ids)
    }
}
