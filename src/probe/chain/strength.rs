//! Cryptography that clients no longer believe.

use crate::pki::parse::LEAST_RSA_BITS;
use crate::pki::{Certificate, KeyKind};
use crate::probe::finding::Finding;
use crate::probe::label::Label;

/// The leaf's key and signature; a signature with its own key says nothing, whatever the hash.
pub(super) fn leaf(leaf: &Certificate) -> Vec<Finding> {
    let signature = if leaf.is_self_issued() { None } else { signature(leaf) };
    key(leaf).into_iter().chain(signature).collect()
}

/// An intermediate's key and signature.
pub(super) fn issuer(issuer: &Certificate) -> Vec<Finding> {
    key(issuer).into_iter().chain(signature(issuer)).collect()
}

/// The key of any certificate in the path, a root's too.
pub(super) fn key(certificate: &Certificate) -> Option<Finding> {
    let KeyKind::Rsa(bits) = certificate.key_kind() else { return None };
    (bits < LEAST_RSA_BITS).then(|| {
        Finding::new(Label::WeakKey, format!("{} has an RSA key of {bits} bits", certificate.subject_or_names()))
    })
}

fn signature(certificate: &Certificate) -> Option<Finding> {
    let hash = certificate.weak_signature()?;
    Some(Finding::new(Label::WeakSignature, format!("{} is signed with {hash}", certificate.subject_or_names())))
}
