//! One fresh TLS handshake, recorded: what the peer sends is kept, not judged.

use super::alert;
use super::dial::{self, Tap};
use super::label::{Label, Trouble};
use crate::config::spec::StartTls;
use crate::types::{Failure, KeyFamily};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, PeerIncompatible,
    SignatureScheme, SupportedCipherSuite,
};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From a connected socket to the end of the handshake, STARTTLS included.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For saying goodbye, which nothing depends on.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);
/// What is kept of a stapled OCSP response; real ones have one to three kilobytes.
const MAX_STAPLE: usize = 64 * 1024;

/// What one handshake showed.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The certificates as sent, leaf first; empty when it did not come to that.
    pub chain: Vec<CertificateDer<'static>>,
    /// The stapled OCSP response; empty when none was sent.
    pub staple: Vec<u8>,
    /// Whether the peer proved that it holds the leaf's key.
    pub proved: bool,
    /// Whether it asked for a client certificate.
    pub client_certificate_asked: bool,
    /// From the beginning of TLS (or STARTTLS) to the end of the handshake.
    pub took: Duration,
    /// Whether it came to its end.
    pub end: Result<(), Trouble>,
}

impl Handshake {
    fn failed(trouble: Trouble) -> Self {
        Self {
            chain: Vec::new(),
            staple: Vec::new(),
            proved: false,
            client_certificate_asked: false,
            took: Duration::ZERO,
            end: Err(trouble),
        }
    }
}

/// The client's side, made once: a handshake only clones it.
pub(super) struct Client {
    ecdsa: ClientConfig,
    rsa: ClientConfig,
    any: ClientConfig,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Client {
    /// A client for each key family and one for any.
    pub(super) fn new() -> Result<Self, Failure> {
        let provider = aws_lc_rs::default_provider();
        Ok(Self {
            ecdsa: config(&provider, Some(KeyFamily::Ecdsa))?,
            rsa: config(&provider, Some(KeyFamily::Rsa))?,
            any: config(&provider, None)?,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Connects to `address` and shakes hands once, for `family` or any. Bounded in time and bytes; never an error.
    pub(super) async fn shake(
        &self,
        address: SocketAddr,
        sni: &ServerName<'static>,
        starttls: StartTls,
        family: Option<KeyFamily>,
    ) -> Handshake {
        match dial::connect(address).await {
            Ok(stream) => self.secure(stream, sni, starttls, family).await,
            Err(trouble) => Handshake::failed(trouble),
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        sni: &ServerName<'static>,
        starttls: StartTls,
        family: Option<KeyFamily>,
    ) -> Handshake {
        let recorder = Arc::new(Recorder {
            family,
            algorithms: self.algorithms,
            record: Mutex::new(Handshake { end: Ok(()), ..Handshake::failed(silent()) }),
        });
        let mut config = match family {
            Some(KeyFamily::Ecdsa) => self.ecdsa.clone(),
            Some(KeyFamily::Rsa) => self.rsa.clone(),
            None => self.any.clone(),
        };
        config.dangerous().set_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>);
        config.client_auth_cert_resolver = Arc::clone(&recorder) as Arc<dyn ResolvesClientCert>;
        let began = Instant::now();
        let shaking = async {
            let tap = dial::prepare(stream, starttls).await?;
            let connector = TlsConnector::from(Arc::new(config));
            match connector.connect(sni.clone(), tap).into_fallible().await {
                Ok(mut stream) => {
                    let took = began.elapsed();
                    let _impolite = tokio::time::timeout(CLOSE_LIMIT, stream.shutdown()).await.is_err();
                    Ok(took)
                }
                Err((error, tap)) => Err(sorted(&error, &tap)),
            }
        };
        let end = tokio::time::timeout(HANDSHAKE_LIMIT + CLOSE_LIMIT, shaking).await.unwrap_or_else(|_| Err(silent()));
        let mut handshake = recorder.take();
        handshake.took = end.as_ref().map_or_else(|_| began.elapsed(), |took| *took);
        handshake.end = end.map(|_| ());
        handshake
    }
}

fn silent() -> Trouble {
    let message = format!("TCP connects, and the handshake is not done within {} s", HANDSHAKE_LIMIT.as_secs());
    Trouble::silent(Label::HandshakeTimeout, message)
}

/// Classic key exchange: the whole `ClientHello` in one packet, which every server and box in between takes.
fn config(provider: &CryptoProvider, family: Option<KeyFamily>) -> Result<ClientConfig, Failure> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
    let mut provider = provider.clone();
    provider.kx_groups = vec![X25519, SECP256R1, SECP384R1];
    provider.cipher_suites.retain(|suite| suits(suite, family));
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| {
        let message = format!("the TLS library cannot be set up: {error}");
        Failure::new(crate::types::Class::Operator, "probe:tls", "this program", message)
    })?;
    let mut config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    // A resumed session shows the old certificate and calls no verifier.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// TLS 1.2 names the key's family in the cipher suite; some servers choose their certificate by that alone.
fn suits(suite: &SupportedCipherSuite, family: Option<KeyFamily>) -> bool {
    let ecdsa = matches!(
        suite.suite(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    );
    suite.tls13().is_some() || family.is_none_or(|family| (family == KeyFamily::Ecdsa) == ecdsa)
}

#[derive(Debug)]
struct Recorder {
    family: Option<KeyFamily>,
    algorithms: WebPkiSupportedAlgorithms,
    record: Mutex<Handshake>,
}

impl Recorder {
    fn note(&self, change: impl FnOnce(&mut Handshake)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Handshake {
        let mut taken = Handshake::failed(silent());
        self.note(|record| std::mem::swap(record, &mut taken));
        taken
    }

    fn proved(&self, checked: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        self.note(|record| record.proved = checked.is_ok());
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
        self.proved(verify_tls12_signature(message, certificate, signed, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.proved(verify_tls13_signature(message, certificate, signed, &self.algorithms))
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
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.note(|record| record.client_certificate_asked = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What a failed handshake was.
fn sorted(error: &io::Error, tap: &Tap) -> Trouble {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return dial::broken(error);
    };
    match error {
        Error::AlertReceived(alert) => {
            let label = match alert {
                AlertDescription::UnrecognisedName => Label::SniRejected,
                AlertDescription::ProtocolVersion => Label::ProtocolTooOld,
                _ => Label::HandshakeRefused,
            };
            Trouble::answered(label, format!("the peer sends the fatal alert {}", alert::named(*alert)))
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            Trouble::answered(Label::ProtocolTooOld, "the peer speaks neither TLS 1.2 nor TLS 1.3")
        }
        Error::InvalidMessage(_) if !looks_like_tls(&tap.first) => {
            let text = String::from_utf8_lossy(&tap.first).into_owned();
            Trouble::answered(Label::NotTls, format!("the peer answers with something that is not TLS: {text:?}"))
        }
        // rustls reads 64 KiB of certificates, as most clients do.
        Error::InvalidMessage(
            InvalidMessage::CertificatePayloadTooLarge
            | InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::MessageTooLarge,
        ) => Trouble::answered(Label::CertTooLarge, format!("we end the handshake: {error}")),
        other => Trouble::answered(Label::HandshakeRefused, format!("we end the handshake: {other}")),
    }
}

/// A record header: a known content type and the version's first octet (RFC 8446 §5.1).
fn looks_like_tls(first: &[u8]) -> bool {
    matches!(first, [20..=23, 3, ..])
}
