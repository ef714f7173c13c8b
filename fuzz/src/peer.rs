//! What is read beside a certificate: the OCSP response that its server staples, the CRL it points to.

use super::said;
use bytes::Bytes;
use everleaf::pki::{self, Certificate};
use everleaf::probe::Finding;
use everleaf::probe::checks::{revocation, staple as stapled};
use everleaf::probe::survey::crl::Fetched;
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

/// When what lies in the corpus counts, and the ends of time.
fn times() -> [Timestamp; 3] {
    [Timestamp::from_secs(1_795_350_000), Timestamp::MAX, Timestamp::from_secs(i64::MIN)]
}

pub(crate) fn staple(der: &[u8]) {
    let sent = chain();
    for now in times() {
        findings(&stapled::staple(&sent, &[], der, now));
    }
}

pub(crate) fn crl(bytes: &[u8]) {
    let sent = chain();
    let url = "http://crl.example/ca.crl".to_owned();
    let fetched = [Fetched { position: 0, url, list: Ok(Bytes::copy_from_slice(bytes)) }];
    for now in times() {
        let looked = revocation::look(&sent, &[], &fetched, now);
        assert_eq!(looked.len(), 1);
        if let revocation::Outcome::Unusable(why) = &looked[0].outcome {
            said::printable(why);
        }
        findings(&revocation::findings(&sent, &[0], &looked));
    }
}
