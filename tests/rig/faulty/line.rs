//! What meets a connection before any request.

use super::super::Pebble;
use super::conversation::{reset, serve};
use super::{Shared, held};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// How a connection is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// With TLS and a certificate that is trusted.
    Good,
    /// The same, in HTTP/2.
    Http2,
    /// Nobody listens.
    Refused,
    /// RST as soon as the client has said something.
    Reset,
    /// FIN as soon as the client has said something.
    Closed,
    /// Not a word.
    Silent,
    /// HTTP without TLS.
    PlainHttp,
    /// Octets that are no TLS.
    Garbage,
    /// A server that knows nothing newer than TLS 1.0.
    Tls10,
    /// A trusted certificate that has expired.
    Expired,
    /// A trusted certificate for another name.
    WrongName,
    /// A certificate that nobody has heard of.
    SelfSigned,
}

/// One TLS configuration for each certificate.
pub(super) struct Configs {
    http2: Arc<rustls::ServerConfig>,
    good: Arc<rustls::ServerConfig>,
    expired: Arc<rustls::ServerConfig>,
    wrong_name: Arc<rustls::ServerConfig>,
    self_signed: Arc<rustls::ServerConfig>,
}

impl Configs {
    /// With the roots (PEM) that a client trusts.
    pub(super) fn new(pebble: &Pebble) -> (Self, String) {
        let here = super::host().to_string();
        let pair = |file| fs::read_to_string(pebble.dir().join(file)).expect("a file");
        let (wrong, expired) = (made(&["elsewhere.example.net"], false), made(&["localhost", &here], true));
        let roots = [pebble.tls_root(), &wrong.0, &expired.0].concat();
        let mut http2 = Arc::unwrap_or_clone(config(&(pair("cert.pem"), pair("key.pem"))));
        http2.alpn_protocols = vec![b"h2".to_vec()];
        let configs = Self {
            http2: Arc::new(http2),
            good: config(&(pair("cert.pem"), pair("key.pem"))),
            expired: config(&expired),
            wrong_name: config(&wrong),
            self_signed: config(&made(&["localhost", &here], false)),
        };
        (configs, roots)
    }
}

fn made(names: &[&str], expired: bool) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a P-256 key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names.clone()).expect("valid names");
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    // A name of its own: a root of the same name but another key would be a forgery, which is another failure.
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("{} expired={expired}", names.join(" ")));
    if expired {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    }
    let certificate = params.self_signed(&key).expect("a self-signed certificate");
    (certificate.pem(), key.serialize_pem())
}

fn config((chain, key): &(String, String)) -> Arc<rustls::ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("default versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
}

/// Meets a connection. Its error is the client's leaving, or the fault itself.
pub(super) fn meet(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let line = *held(&shared.line);
    stream.set_nodelay(true)?;
    match line {
        Line::Http2 => super::http2::serve(stream, &shared.tls.http2, shared),
        Line::Good => converse(stream, &shared.tls.good, shared),
        Line::Expired => converse(stream, &shared.tls.expired, shared),
        Line::WrongName => converse(stream, &shared.tls.wrong_name, shared),
        Line::SelfSigned => converse(stream, &shared.tls.self_signed, shared),
        Line::PlainHttp => {
            hello(&stream)?;
            (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Line::Garbage => {
            hello(&stream)?;
            (&stream).write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        }
        Line::Tls10 => {
            hello(&stream)?;
            (&stream).write_all(&tls10_hello())
        }
        Line::Reset => {
            hello(&stream)?;
            reset(&stream)
        }
        Line::Silent => io::copy(&mut &stream, &mut io::sink()).map(|_| ()),
        Line::Closed => hello(&stream),
        Line::Refused => Ok(()),
    }
}

fn converse(stream: TcpStream, config: &Arc<rustls::ServerConfig>, shared: &Shared) -> io::Result<()> {
    let session = rustls::ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    serve(rustls::StreamOwned::new(session, stream), shared)
}

/// Reads what the client says first: an answer before it would be lost when the connection closes on unread octets.
fn hello(mut stream: &TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 16 << 10]).map(|_| ())
}

/// A `ServerHello` of TLS 1.0 with `TLS_RSA_WITH_AES_128_CBC_SHA` (RFC 2246 §7.4.1.3).
fn tls10_hello() -> Vec<u8> {
    let mut body = vec![3, 1];
    body.extend([7; 32]);
    body.extend([0, 0, 0x2f, 0]);
    let length = |octets: usize| u8::try_from(octets).expect("a short message");
    let mut record = vec![22, 3, 1, 0, length(body.len() + 4), 2, 0, 0, length(body.len())];
    record.extend(body);
    record
}
