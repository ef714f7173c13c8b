//! Signatures that were found good are not checked again. The intermediates of thousands of endpoints are the same few, and what
//! the search for words has checked webpki asks about once more; a signature costs more than all else that is done with it.

use crate::types::{Digest, sha256};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use std::cell::RefCell;
use std::collections::HashSet;

/// How many are remembered; then it begins anew.
const MOST: usize = 4096;

thread_local! {
    /// Digests of key, message and signature. Of bad ones nothing is kept: what another algorithm would say is another question,
    /// while a good one stays good, since what is signed names its algorithm (RFC 5280 §4.1.1.2).
    static PROVEN: RefCell<HashSet<Digest>> = RefCell::default();
}

/// Checks by `check`, unless the same signature was found good before.
pub(super) fn once<E>([key, message, signature]: [&[u8]; 3], check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let length = |part: &[u8]| part.len().to_be_bytes();
    let digest = sha256(&[&length(key), &length(message), key, message, signature]);
    if PROVEN.with_borrow(|proven| proven.contains(&digest)) {
        return Ok(());
    }
    check()?;
    PROVEN.with_borrow_mut(|proven| {
        if proven.len() >= MOST {
            proven.clear();
        }
        proven.insert(digest);
    });
    Ok(())
}

/// An algorithm of webpki that remembers.
#[derive(Debug)]
struct Remembering(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        once([key, message, signature], || self.0.verify_signature(key, message, signature))
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

/// Calls `verify` with all algorithms that webpki has.
pub(crate) fn with_algorithms<T>(verify: impl FnOnce(&[&dyn SignatureVerificationAlgorithm]) -> T) -> T {
    let all: Vec<Remembering> = webpki::ALL_VERIFICATION_ALGS.iter().copied().map(Remembering).collect();
    let all: Vec<&dyn SignatureVerificationAlgorithm> = all.iter().map(|it| it as _).collect();
    verify(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(parts: [&[u8]; 3], answer: Result<(), ()>) -> (Result<(), ()>, bool) {
        let mut checked = false;
        let told = once(parts, || {
            checked = true;
            answer
        });
        (told, checked)
    }

    #[test]
    fn only_what_was_good_is_remembered_and_only_for_itself() {
        assert_eq!(checks([b"key", b"message", b"good"], Err(())), (Err(()), true));
        assert_eq!(checks([b"key", b"message", b"good"], Ok(())), (Ok(()), true));
        assert_eq!(checks([b"key", b"message", b"good"], Err(())), (Ok(()), false));
        for other in [[&b"keym"[..], b"essage", b"good"], [b"key", b"messageg", b"ood"], [b"kez", b"message", b"good"]]
        {
            assert_eq!(checks(other, Err(())), (Err(()), true), "{other:?}");
        }
    }

    #[test]
    fn it_stays_small() {
        for at in 0..=MOST {
            let _known = checks([b"key", b"message", &at.to_be_bytes()], Ok(()));
        }
        assert_eq!(PROVEN.with_borrow(HashSet::len), 1, "it has begun anew");
    }
}
