//! A client's certificate with its key, read to be offered to servers that ask for one.

use super::contents::contains;
use super::failure;
use super::read::{self, Read};
use crate::pki::parse::{MAX_CERTIFICATES, not_pem};
use crate::pki::{Certificate, pem};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::{Failure, sha256};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::SectionKind;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a client may show of itself.
pub struct Identity {
    /// Where the certificate was read from.
    pub path: PathBuf,
    /// The certificates as they are sent, the leaf first; at least one.
    pub chain: Vec<Certificate>,
    /// The same with the key, which the library wipes when it is dropped.
    pair: Arc<CertifiedKey>,
}

/// Why there is none to show.
#[derive(Debug)]
pub enum Refusal {
    /// A file could not be read or understood.
    Unusable(Failure),
    /// The key is another certificate's: a verdict, since no server will ever take the pair.
    Mismatch(Finding),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Unusable(failure)
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.path.display())
    }
}

impl Identity {
    /// Reads PEM files: `certificate` holds the leaf and perhaps its intermediates, in any order; `key` its key, unencrypted. Both may
    /// be the same file. Whatever else they hold is left alone.
    ///
    /// # Errors
    /// [`Refusal`]; of a file: class `Operator`, code `files:…`.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Refusal> {
        let mut chain = certificates(certificate)?;
        let signer = private(key)?;
        let ours = signer.public_key().map(|public| sha256(&[&public]));
        let Some(leaf) = chain.iter().position(|it| Some(it.key()) == ours) else {
            let who = chain[0].subject_or_names();
            let wanted = chain[0].key().short();
            let has = ours.map(|key| format!(" ({})", key.short())).unwrap_or_default();
            let (key, certificate) = (key.display(), certificate.display());
            let seen = format!(
                "the key in {key}{has} does not belong to {who} in {certificate} ({wanted}); nothing was sent to the server"
            );
            let advice = "Were the two files taken from different renewals? Name the certificate's own key.";
            return Err(Refusal::Mismatch(Finding::new(Label::DiskKeyMismatch, seen).check(advice)));
        };
        chain[..=leaf].rotate_right(1);
        let sent = chain.iter().map(|it| it.der().clone()).collect();
        Ok(Self { path: certificate.to_owned(), chain, pair: Arc::new(CertifiedKey::new(sent, signer)) })
    }

    /// The client's own certificate.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// What is sent, with the key to prove it.
    pub(crate) fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair)
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let text = text(path)?;
    let refused = |why: String| {
        let advice = match text.first() {
            Some(0x30) => "Make PEM of it. From DER: openssl x509 -inform der; from PKCS#12: openssl pkcs12 -nokeys.",
            _ => "Name a PEM file with the client's certificate and the intermediates behind it.",
        };
        failure("files:no_certificate", path, why).advise(advice)
    };
    let mut found = Vec::new();
    for section in pem::sections(&text) {
        let section = section.map_err(&refused)?;
        if section.kind == SectionKind::Certificate {
            let number = found.len() + 1;
            let read = Certificate::from_der(&section.der);
            found.push(read.map_err(|why| refused(format!("certificate {number} in it: {why}")))?);
        }
    }
    match found.len() {
        0 => Err(refused(lacking(&text, b" PRIVATE KEY-----", "certificate"))),
        count if count > MAX_CERTIFICATES => {
            Err(refused(format!("it holds {count} certificates, too many for a client's chain")))
        }
        _ => Ok(found),
    }
}

/// The key in a file, ready to sign.
fn private(path: &Path) -> Result<Arc<dyn SigningKey>, Failure> {
    let text = text(path)?;
    // PKCS#8 says it in the BEGIN line, the older forms in a header below it.
    if contains(&text, b"ENCRYPTED PRIVATE KEY-----") || contains(&text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(failure("files:encrypted", path, "the key is encrypted, and no passphrase is asked for here")
            .advise("Decrypt it into a file that only you can read: umask 077; openssl pkey -in KEY -out PLAIN"));
    }
    for section in pem::sections(&text) {
        let section = section.map_err(|why| unusable(path, &why))?;
        if let SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey = section.kind {
            let key = PrivateKeyDer::try_from(section.der.as_slice()).map_err(|why| unusable(path, why))?;
            return any_supported_type(&key).map_err(|_| {
                unusable(path, "it is no key that can be used here: ECDSA on P-256, P-384 or P-521, RSA from 2048 bits on, or Ed25519")
            });
        }
    }
    Err(unusable(path, &lacking(&text, b"-----BEGIN CERTIFICATE-----", "private key")))
}

/// What a text without a `wanted` is instead.
fn lacking(text: &[u8], other: &[u8], wanted: &str) -> String {
    match contains(text, other) {
        true if wanted == "certificate" => "no certificate is in it, only a private key".to_owned(),
        true => "no private key is in it, only certificates".to_owned(),
        false => not_pem(text).replace("no certificate", &format!("no {wanted}")),
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    failure("files:no_key", path, why).advise("Name a PEM file with the certificate's private key, not encrypted.")
}

/// The file's text. It is wiped on drop, since it may be a key.
fn text(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match read::read(path)? {
        Read::File { text, .. } => Ok(text),
        Read::Missing(why) => Err(failure("files:missing", path, why).advise("Is the path spelt right?")),
        Read::TooLarge(size) => {
            let why = format!("it is {size} bytes long; no certificate or key is longer than {}", read::MAX_BYTES);
            Err(failure("files:too_large", path, why))
        }
    }
}
