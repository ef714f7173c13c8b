//! Private keys: made here, written as PKCS#8 PEM, wiped when dropped.

use super::pem;
use crate::config::spec::KeyAlgorithm;
use crate::types::{Class, Failure, KeyFamily, KeyId, Secret, sha256};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::SectionKind;

/// A key that was just made. It is nobody's until it is stored.
#[derive(Debug, Clone)]
pub struct GeneratedKey {
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub id: KeyId,
    /// PKCS#8 PEM.
    pub pem: Secret,
}

/// A key made by the system's random source. RSA takes up to seconds of CPU.
///
/// # Errors
/// Class `Retry`, code `key:generate`, when the cryptographic library refuses.
pub fn generate(algorithm: KeyAlgorithm) -> Result<GeneratedKey, Failure> {
    let refused = |_| {
        Failure::new(
            Class::Retry,
            "key:generate",
            "key generation",
            format!("the cryptographic library made no {algorithm:?} key"),
        )
    };
    let private = match algorithm {
        KeyAlgorithm::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &rcgen::PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Private::Rsa),
        KeyAlgorithm::Rsa3072 => RsaKeyPair::generate(KeySize::Rsa3072).map(Private::Rsa),
        KeyAlgorithm::Rsa4096 => RsaKeyPair::generate(KeySize::Rsa4096).map(Private::Rsa),
    }
    .map_err(refused)?;
    let text = match &private {
        Private::Ecdsa { pair, .. } => pem::encode(pem::PRIVATE_KEY, pair.to_pkcs8v1().map_err(refused)?.as_ref()),
        Private::Rsa(pair) => pem::encode(pem::PRIVATE_KEY, pair.as_der().map_err(refused)?.as_ref()),
    };
    Ok(GeneratedKey { id: private.id(), pem: Secret::new(text) })
}

fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    name: &'static SignatureAlgorithm,
) -> Result<Private, aws_lc_rs::error::Unspecified> {
    Ok(Private::Ecdsa { pair: EcdsaKeyPair::generate(algorithm)?, name })
}

/// Which key a PEM text holds.
///
/// # Errors
/// Class `Operator`, code `key:unreadable`: no PKCS#8 block, or a kind of key that everleaf does not make.
pub fn id_of(pem: &Secret) -> Result<KeyId, Failure> {
    Private::read(pem).map(|key| key.id())
}

/// The family of the key in a PEM text.
///
/// # Errors
/// Class `Operator`, code `key:unreadable`: no PKCS#8 block, or a kind of key that everleaf does not make.
pub fn family_of(pem: &Secret) -> Result<KeyFamily, Failure> {
    Private::read(pem).map(|key| key.family())
}

/// Which key a block of a PEM text, or a DER file, holds; `None` for a kind of key that this program's library does not load.
/// Reads more kinds than everleaf makes: PKCS#8, PKCS#1 and SEC 1, also Ed25519 and P-521.
#[must_use]
pub fn id_of_any(key: &PrivateKeyDer<'_>) -> Option<KeyId> {
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).ok()?;
    signing.public_key().map(|public| sha256(&[&public]))
}

/// A key that can sign. The library wipes its memory when it is dropped.
pub(crate) enum Private {
    /// On P-256 or P-384.
    Ecdsa {
        /// The pair.
        pair: EcdsaKeyPair,
        /// What a signature by it is called.
        name: &'static SignatureAlgorithm,
    },
    /// 2048 to 8192 bits.
    Rsa(RsaKeyPair),
}

impl Private {
    /// The key in a PKCS#8 PEM text.
    ///
    /// # Errors
    /// Class `Operator`, code `key:unreadable`: no PKCS#8 block, or a kind of key that everleaf does not make.
    pub(crate) fn read(pem: &Secret) -> Result<Self, Failure> {
        let section = pem::sections(pem.reveal().as_bytes())
            .find(|section| !matches!(section, Ok(found) if found.kind != SectionKind::PrivateKey))
            .ok_or_else(|| unreadable("no `BEGIN PRIVATE KEY` block is in it"))?
            .map_err(|why| unreadable(&why))?;
        let der = section.der.as_slice();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .map(|pair| Self::Ecdsa { pair, name: &rcgen::PKCS_ECDSA_P256_SHA256 })
            .or_else(|_| {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der)
                    .map(|pair| Self::Ecdsa { pair, name: &rcgen::PKCS_ECDSA_P384_SHA384 })
            })
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa))
            .map_err(|_| unreadable("it is no ECDSA key on P-256 or P-384 and no RSA key of 2048 to 8192 bits"))
    }

    /// Which key it is.
    pub(crate) fn id(&self) -> KeyId {
        sha256(&[&self.subject_public_key_info()])
    }

    /// Its family.
    pub(crate) const fn family(&self) -> KeyFamily {
        match self {
            Self::Ecdsa { .. } => KeyFamily::Ecdsa,
            Self::Rsa(_) => KeyFamily::Rsa,
        }
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::new(Class::Operator, "key:unreadable", "private key", format!("the key cannot be used: {why}"))
        .advise("Restore the key from a backup, or let a new one be made with `renew --new-key`.")
}

impl PublicKeyData for Private {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Ecdsa { pair, .. } => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Ecdsa { name, .. } => name,
            Self::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for Private {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        let signed = match self {
            Self::Ecdsa { pair, .. } => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        signed.map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_makes_a_key_that_others_read() {
        for (algorithm, family) in [
            (KeyAlgorithm::EcdsaP256, KeyFamily::Ecdsa),
            (KeyAlgorithm::EcdsaP384, KeyFamily::Ecdsa),
            (KeyAlgorithm::Rsa2048, KeyFamily::Rsa),
        ] {
            let made = generate(algorithm).unwrap();
            assert_eq!((id_of(&made.pem), family_of(&made.pem)), (Ok(made.id), Ok(family)));
            let other = rcgen::KeyPair::from_pem(made.pem.reveal()).expect("another library reads it");
            assert_eq!(sha256(&[&other.subject_public_key_info()]), made.id);
            assert_eq!(id_of_any(&PrivateKeyDer::try_from(other.serialized_der()).unwrap()), Some(made.id));
            assert_ne!(generate(algorithm).unwrap().id, made.id);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_words() {
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for (text, word) in [
            ("", "no `BEGIN PRIVATE KEY`"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "END line is missing"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no ECDSA key"),
            (&ed25519, "no ECDSA key"),
        ] {
            let failure = id_of(&Secret::new(text.to_owned())).unwrap_err();
            assert_eq!(failure.code, "key:unreadable");
            assert!(failure.message.as_str().contains(word), "{text}: {failure}");
        }
    }
}
