//! Looks at tls-alpn-01 as a CA does (RFC 8737 §3): the protocol agreed on, and the certificate that is shown for the name.

use crate::ports::Proof;
use crate::solver::tls_alpn01::{PROTOCOL, asked_for};
use crate::types::{Printable, sha256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, Error, SignatureScheme};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The certificate extension `acmeIdentifier` (RFC 8737 §6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Whether what is shown there would satisfy the CA; else what is wrong with it.
pub(super) async fn look(address: SocketAddr, proof: &Proof) -> Result<(), String> {
    let (agreed, leaf) = shake(address, &asked_for(&proof.identifier)).await.map_err(|error| told(&error))?;
    if !agreed {
        return Err(
            "a server answers there that does not speak acme-tls/1, so nothing is passed on to everleaf".to_owned()
        );
    }
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|_| "its certificate cannot be read")?;
    let shown = certificate.extensions().iter().find(|it| it.oid.to_id_string() == ACME_IDENTIFIER);
    let digest = sha256(&[proof.key_authorization.as_bytes()]);
    // An OCTET STRING of 32 octets (RFC 8737 §3).
    let wanted = [&[4, 32], digest.as_bytes().as_slice()].concat();
    match shown {
        Some(shown) if shown.critical && shown.value == wanted => Ok(()),
        Some(_) => Err("it shows a challenge, and not this one: another ACME client answers there".to_owned()),
        None => Err("its certificate has no acmeIdentifier in it".to_owned()),
    }
}

fn told(error: &io::Error) -> String {
    Printable::new(&error.to_string()).to_string()
}

async fn shake(address: SocketAddr, name: &str) -> io::Result<(bool, CertificateDer<'static>)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or(io::ErrorKind::InvalidData)?;
    Ok((connection.alpn_protocol() == Some(PROTOCOL), leaf.clone().into_owned()))
}

/// Takes every certificate: what is looked for is self-signed with an extension that is critical and that no verifier knows, and only
/// this extension is judged. A warning hangs on it, and no secret is told.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
