//! What an issuer has signed: the frame that certificates, CRLs and OCSP responses share (RFC 5280 §4.1.1).

use super::der::{Malformed, Reader};
use super::parse::{Certificate, KeyKind, LEAST_RSA_BITS};
use x509_parser::der_parser::asn1_rs::BitString;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::verify::verify_signature;
use x509_parser::x509::AlgorithmIdentifier;

/// What comes of checking a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// The key made it.
    Good,
    /// The key did not.
    Bad,
    /// It is of a kind, or by a key, that the library does not check.
    Unchecked,
}

/// Content with the signature over it.
#[derive(Debug, Clone)]
pub(super) struct Signed<'a> {
    /// What is signed, head and all.
    pub(super) whole: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: BitString<'a>,
}

impl<'a> Signed<'a> {
    /// Reads what is signed, the algorithm and the signature; what may follow stays in `reader`.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (_, whole) = reader.element("signed content")?;
        let algorithm = reader.parsed("signature algorithm")?;
        let signature = reader.parsed("signature")?;
        Ok(Self { whole, algorithm, signature })
    }

    /// Whether the key of `signer` made the signature.
    pub(super) fn by(&self, signer: &Certificate) -> Signature {
        if matches!(signer.key_kind(), KeyKind::Rsa(bits) if bits < LEAST_RSA_BITS) {
            return Signature::Unchecked;
        }
        let Ok((_, signer)) = X509Certificate::from_der(signer.der()) else { return Signature::Bad };
        match verify_signature(signer.public_key(), &self.algorithm, &self.signature, self.whole) {
            Ok(()) => Signature::Good,
            Err(X509Error::SignatureUnsupportedAlgorithm) => Signature::Unchecked,
            Err(_) => Signature::Bad,
        }
    }
}
