//! What is read beside a certificate: the OCSP response that its server staples.

use super::said;
use everleaf::pki::{self, Certificate};
use everleaf::probe::{Finding, checks};
use everleaf::types::Timestamp;

/// A leaf that demands a staple and names a CRL, and the CA that signed what lies in the corpus.
const CHAIN: &str = include_str!("../chain.pem");

fn chain() -> Vec<Certificate> {
    pki::parse::chain(CHAIN.as_bytes()).expect("a chain")
}

fn findings(found: &[Finding]) {
    assert!(found.len() <= 2, "{found:?}");
    for finding in found {
        said::printable(&finding.seen);
        said::printable(&finding.check);
    }
}

pub(crate) fn staple(der: &[u8]) {
    let sent = chain();
    for now in [Timestamp::from_secs(1_795_350_000), Timestamp::MAX, Timestamp::from_secs(i64::MIN)] {
        findings(&checks::staple::staple(&sent, &[], der, now));
    }
}
