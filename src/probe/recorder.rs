//! What a client hears in a handshake: keeps everything, trusts everything.

use super::handshake::{Handshake, Offer, TLS_1_2, TLS_1_3, silent};
use crate::types::KeyFamily;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept of a stapled OCSP response; real ones have one to three kilobytes.
const MAX_STAPLE: usize = 64 * 1024;
/// Names of client certificates' issuers that are kept; the public stores have about 150 roots.
const MAX_AUTHORITIES: usize = 256;

/// Stands in for the verifier and for the client's certificates, and records what comes by.
#[derive(Debug)]
pub(super) struct Recorder {
    family: Option<KeyFamily>,
    identity: Option<Arc<CertifiedKey>>,
    algorithms: WebPkiSupportedAlgorithms,
    record: Mutex<Handshake>,
}

impl Recorder {
    /// Hears signatures of the offered family only, where there is one.
    pub(super) fn new(offer: &Offer, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let (family, identity) = (offer.family, offer.identity.clone());
        Self { family, identity, algorithms, record: Mutex::new(Handshake::failed(silent())) }
    }

    /// Whether a client certificate was asked for so far.
    pub(super) fn asked(&self) -> bool {
        let mut asked = false;
        self.note(|record| asked = record.client_certificate_asked);
        asked
    }

    fn note(&self, change: impl FnOnce(&mut Handshake)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was heard; nothing is left.
    pub(super) fn take(&self) -> Handshake {
        let mut taken = Handshake::failed(silent());
        self.note(|record| std::mem::swap(record, &mut taken));
        taken
    }

    fn proved(
        &self,
        version: &'static str,
        checked: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(|record| (record.proved, record.version) = (checked.is_ok(), Some(version)));
        checked
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sent = std::iter::once(end_entity).chain(intermediates).map(|sent| sent.clone().into_owned());
        self.note(|record| {
            record.chain = sent.collect();
            record.staple = staple[..staple.len().min(MAX_STAPLE)].to_vec();
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proved(TLS_1_2, verify_tls12_signature(message, certificate, signed, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proved(TLS_1_3, verify_tls13_signature(message, certificate, signed, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let of = |scheme: &SignatureScheme| match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ECDSA_NISTP521_SHA512 => Some(KeyFamily::Ecdsa),
            SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512 => Some(KeyFamily::Rsa),
            _ => None,
        };
        let mut schemes = self.algorithms.supported_schemes();
        schemes.retain(|scheme| self.family.is_none_or(|family| of(scheme) == Some(family)));
        schemes
    }
}

impl ResolvesClientCert for Recorder {
    /// Gives the certificate to whoever asks, as OpenSSL's clients do, whatever issuers it names.
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let identity = self.identity.clone().filter(|identity| identity.key.choose_scheme(schemes).is_some());
        self.note(|record| {
            record.client_certificate_asked = true;
            record.client_authorities = authorities.iter().take(MAX_AUTHORITIES).map(|name| name.to_vec()).collect();
            record.client_certificate_sent = identity.is_some();
        });
        identity
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}
