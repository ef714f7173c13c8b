//! One fresh TLS handshake, recorded: what the peer sends is kept, not judged.

use super::alert;
use super::dial::{self, Tap};
use super::label::{Label, Trouble};
use super::recorder::Recorder;
use crate::config::spec::StartTls;
use crate::types::{Failure, KeyFamily};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionStore, ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ALL_VERSIONS, AlertDescription, CipherSuite, ClientConfig, CommonState, Error, InvalidMessage, PeerIncompatible,
    ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From a connected socket to the end of the handshake, STARTTLS included.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For saying goodbye, which nothing depends on.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);
/// In TLS 1.3 a server refuses a client, for its certificate or for want of one, only after the client's part is done: how long that
/// is waited for.
const VERDICT_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked whether the server goes on instead.
const VERDICT_TICK: Duration = Duration::from_millis(50);
/// What is offered to servers that may speak HTTP.
const WEB: [&[u8]; 2] = [b"h2", HTTP];
/// What is offered when something is to be asked.
const HTTP: &[u8] = b"http/1.1";

/// Versions, as they are written everywhere.
pub(crate) const TLS_1_2: &str = "TLS 1.2";
pub(crate) const TLS_1_3: &str = "TLS 1.3";

/// What a client offers in one handshake.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Whom it asks for. An address is never sent as SNI (RFC 6066 §3).
    pub(crate) name: ServerName<'static>,
    /// What comes before TLS.
    pub(crate) starttls: StartTls,
    /// Signatures of this family only.
    pub(crate) family: Option<KeyFamily>,
    /// TLS 1.2 only.
    pub(crate) old: bool,
    /// The application protocols of the web.
    pub(crate) web: bool,
    /// Whether to wait for the server's verdict on the client's certificate, or on a client without one.
    pub(crate) patient: bool,
    /// The client's certificate and key, for whoever asks.
    pub(crate) identity: Option<Arc<CertifiedKey>>,
}

impl Offer {
    /// Just a handshake.
    pub(crate) fn plain(name: ServerName<'static>, starttls: StartTls) -> Self {
        Self { name, starttls, family: None, old: false, web: false, patient: false, identity: None }
    }
}

/// What client and server agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// `TLS 1.3`.
    pub version: String,
    /// The cipher suite's registered name.
    pub cipher: String,
    /// The key exchange group's registered name.
    pub group: Option<String>,
    /// The application protocol, when one was chosen.
    pub alpn: Option<String>,
}

/// What one handshake showed.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The certificates as sent, leaf first; empty when it did not come to that.
    pub chain: Vec<CertificateDer<'static>>,
    /// The stapled OCSP response; empty when none was sent.
    pub staple: Vec<u8>,
    /// Whether the peer proved that it holds the leaf's key.
    pub proved: bool,
    /// The version it did that in.
    pub version: Option<&'static str>,
    /// Whether it asked for a client certificate.
    pub client_certificate_asked: bool,
    /// Issuers of client certificates that it accepts, as DER names; empty when it named none.
    pub client_authorities: Vec<Vec<u8>>,
    /// Whether it was given one: there was one, with a key that can sign as it asks.
    pub client_certificate_sent: bool,
    /// What was agreed on, when the handshake came to its end.
    pub agreed: Option<Agreed>,
    /// From the beginning of TLS (or STARTTLS) to the end of the handshake.
    pub took: Duration,
    /// Whether it came to its end.
    pub end: Result<(), Trouble>,
}

impl Handshake {
    pub(super) fn failed(trouble: Trouble) -> Self {
        Self {
            chain: Vec::new(),
            staple: Vec::new(),
            proved: false,
            version: None,
            client_certificate_asked: false,
            client_authorities: Vec::new(),
            client_certificate_sent: false,
            agreed: None,
            took: Duration::ZERO,
            end: Err(trouble),
        }
    }
}

/// The client's side, made once: a handshake only clones it.
pub(crate) struct Client {
    ecdsa: ClientConfig,
    rsa: ClientConfig,
    any: ClientConfig,
    old: ClientConfig,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Client {
    /// A client for each key family, one for any, and one that speaks TLS 1.2 only.
    pub(crate) fn new() -> Result<Self, Failure> {
        let provider = aws_lc_rs::default_provider();
        Ok(Self {
            ecdsa: config(&provider, Some(KeyFamily::Ecdsa), ALL_VERSIONS)?,
            rsa: config(&provider, Some(KeyFamily::Rsa), ALL_VERSIONS)?,
            any: config(&provider, None, ALL_VERSIONS)?,
            old: config(&provider, None, &[&rustls::version::TLS12])?,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// A client that keeps its sessions in `store`. rustls resumes only for the same verifier, which is made here: it is to be used
    /// for all connections that are to be one client's.
    pub(crate) fn resuming(&self, offer: &Offer, store: Arc<dyn ClientSessionStore>) -> ClientConfig {
        let mut config = self.config(offer, &Arc::new(Recorder::new(offer, self.algorithms)));
        config.resumption = Resumption::store(store);
        config
    }

    /// Connects to `address` and shakes hands once. Bounded in time and bytes; never an error.
    pub(crate) async fn shake(&self, address: SocketAddr, offer: &Offer) -> Handshake {
        match dial::connect(address).await {
            Ok(stream) => self.secure(stream, offer).await,
            Err(trouble) => Handshake::failed(trouble),
        }
    }

    /// Connects and shakes hands for one exchange in HTTP/1.1.
    pub(crate) async fn open(&self, address: SocketAddr, offer: &Offer) -> Result<TlsStream<Tap>, Trouble> {
        let recorder = Arc::new(Recorder::new(offer, self.algorithms));
        let mut config = self.config(offer, &recorder);
        config.alpn_protocols = vec![HTTP.to_vec()];
        let tap = dial::prepare(dial::connect(address).await?, offer.starttls).await?;
        let shaking = TlsConnector::from(Arc::new(config)).connect(offer.name.clone(), tap).into_fallible();
        shaking.await.map_err(|(error, tap)| sorted(&error, &tap))
    }

    /// A client for requests in HTTP/2 alone.
    pub(crate) fn multiplexing(&self, offer: &Offer) -> ClientConfig {
        let mut config = self.config(offer, &Arc::new(Recorder::new(offer, self.algorithms)));
        config.alpn_protocols = vec![WEB[0].to_vec()];
        config.enable_sni = matches!(offer.name, ServerName::DnsName(_));
        config
    }

    async fn secure(&self, stream: TcpStream, offer: &Offer) -> Handshake {
        let recorder = Arc::new(Recorder::new(offer, self.algorithms));
        let connector = TlsConnector::from(Arc::new(self.config(offer, &recorder)));
        let began = Instant::now();
        let shaking = async {
            let tap = dial::prepare(stream, offer.starttls).await?;
            match connector.connect(offer.name.clone(), tap).into_fallible().await {
                Ok(stream) => Ok((stream, began.elapsed())),
                Err((error, tap)) => Err(sorted(&error, &tap)),
            }
        };
        let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, shaking).await.unwrap_or_else(|_| Err(silent()));
        let (agreed, took, end) = match shaken {
            Ok((mut stream, took)) => {
                let agreed = Some(agreed(stream.get_ref().1));
                // In TLS 1.2 the handshake's own end is the verdict.
                let late = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                let wait = offer.patient && late && recorder.asked();
                let end = if wait { verdict(&mut stream).await } else { Ok(()) };
                let _impolite = tokio::time::timeout(CLOSE_LIMIT, stream.shutdown()).await.is_err();
                (agreed, took, end)
            }
            Err(trouble) => (None, began.elapsed(), Err(trouble)),
        };
        Handshake { agreed, took, end, ..recorder.take() }
    }

    fn config(&self, offer: &Offer, recorder: &Arc<Recorder>) -> ClientConfig {
        let mut config = match offer.family {
            _ if offer.old => self.old.clone(),
            Some(KeyFamily::Ecdsa) => self.ecdsa.clone(),
            Some(KeyFamily::Rsa) => self.rsa.clone(),
            None => self.any.clone(),
        };
        if offer.web {
            config.alpn_protocols = WEB.map(<[u8]>::to_vec).to_vec();
        }
        config.dangerous().set_certificate_verifier(Arc::clone(recorder) as Arc<dyn ServerCertVerifier>);
        config.client_auth_cert_resolver = Arc::clone(recorder) as Arc<dyn ResolvesClientCert>;
        config
    }
}

/// Whether a server that asked for a client certificate goes on with what it got: a session ticket or data says yes, an alert or the
/// end of the connection no. Silence is no refusal.
async fn verdict(stream: &mut TlsStream<Tap>) -> Result<(), Trouble> {
    let until = Instant::now() + VERDICT_LIMIT;
    while Instant::now() < until && stream.get_ref().1.tls13_tickets_received() == 0 {
        let mut data = [0; 1];
        match tokio::time::timeout(VERDICT_TICK, stream.read(&mut data)).await {
            Err(_) => {}
            Ok(Ok(0)) => return Err(dial::broken(&io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => break,
            Ok(Err(error)) => return Err(sorted(&error, stream.get_ref().0)),
        }
    }
    Ok(())
}

fn agreed(state: &CommonState) -> Agreed {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TLS_1_3.to_owned(),
        Some(ProtocolVersion::TLSv1_2) => TLS_1_2.to_owned(),
        other => format!("{other:?}"),
    };
    let name = |suite: SupportedCipherSuite| format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1);
    Agreed {
        version,
        cipher: state.negotiated_cipher_suite().map(name).unwrap_or_default(),
        group: state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        alpn: state.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
    }
}

pub(super) fn silent() -> Trouble {
    let message = format!("TCP connects, and the handshake is not done within {} s", HANDSHAKE_LIMIT.as_secs());
    Trouble::silent(Label::HandshakeTimeout, message)
}

/// Classic key exchange: the whole `ClientHello` in one packet, which every server and box in between takes.
fn config(
    provider: &CryptoProvider,
    family: Option<KeyFamily>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Failure> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
    let mut provider = provider.clone();
    provider.kx_groups = vec![X25519, SECP256R1, SECP384R1];
    provider.cipher_suites.retain(|suite| suits(suite, family));
    // As browsers and Go have it: most servers take the client's first, and SHA-384 costs twice as much as SHA-256.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
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

/// What a failed handshake was.
pub(super) fn sorted(error: &io::Error, tap: &Tap) -> Trouble {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return dial::broken(error);
    };
    match error {
        Error::AlertReceived(alert) => {
            let label = match alert {
                AlertDescription::UnrecognisedName => Label::SniRejected,
                AlertDescription::ProtocolVersion => Label::ProtocolTooOld,
                AlertDescription::NoApplicationProtocol => Label::AlpnRejected,
                _ => Label::HandshakeRefused,
            };
            let message = format!("the peer sends the fatal alert {}", alert::named(*alert));
            Trouble { alert: Some(*alert), ..Trouble::answered(label, message) }
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            Trouble::answered(Label::ProtocolTooOld, "the peer speaks neither TLS 1.2 nor TLS 1.3")
        }
        Error::InvalidMessage(
            InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge,
        ) if began_well(&tap.first) => {
            // rustls reads 64 KiB of certificates, as most clients do.
            Trouble::answered(Label::CertTooLarge, format!("we end the handshake: {error}; 64 KiB are read"))
        }
        Error::InvalidMessage(_) if !looks_like_tls(&tap.first) => {
            let text = String::from_utf8_lossy(&tap.first).into_owned();
            Trouble::answered(Label::NotTls, format!("the peer answers with something that is not TLS: {text:?}"))
        }
        other => Trouble::answered(Label::HandshakeRefused, format!("we end the handshake: {other}")),
    }
}

/// A record header: a known content type and the version's first octet (RFC 8446 §5.1).
fn looks_like_tls(first: &[u8]) -> bool {
    matches!(first, [20..=23, 3, ..])
}

/// A whole-looking `ServerHello` (RFC 8446 §4.1.3) came first: of what follows, only certificates can be large.
fn began_well(first: &[u8]) -> bool {
    matches!(first, [22, 3, _, _, _, 2, 0, _, _, 3, 3, ..])
}
