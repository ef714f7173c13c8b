//! A small blocking HTTP client for servers of the rig: plain or with TLS against one root.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// No server of the rig needs longer for a reply.
const LIMIT: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// The status line and headers, as sent.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// `GET http://HOST:PORT/PATH` at `address`.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<Reply> {
    request(address, None, &format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"))
}

/// `POST` of a body without TLS.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> io::Result<Reply> {
    request(address, None, &posting(address, path, body))
}

/// Sends `text` as it stands and reads the reply to its end; with TLS when a root (PEM) is given.
pub(crate) fn request(address: SocketAddr, root: Option<&str>, text: &str) -> io::Result<Reply> {
    let (head, body) = exchange_octets(address, root, text)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not an HTTP reply: {head:?}")))?;
    Ok(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

/// The same with a body that need not be text: `(head, body)`.
pub(super) fn exchange_octets(address: SocketAddr, root: Option<&str>, text: &str) -> io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    match root {
        None => exchange(&mut stream, text),
        Some(root) => {
            let name = ServerName::IpAddress(address.ip().into());
            let session = rustls::ClientConnection::new(client(root), name).map_err(io::Error::other)?;
            exchange(&mut rustls::StreamOwned::new(session, stream), text)
        }
    }
}

/// The text of a `POST`.
pub(super) fn posting(address: SocketAddr, path: &str, body: &str) -> String {
    let length = body.len();
    // Pebble answers nobody who does not name himself.
    format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: everleaf-tests\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn client(root: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("default versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn exchange(stream: &mut (impl Read + Write), text: &str) -> io::Result<(String, Vec<u8>)> {
    stream.write_all(text.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // Some servers close without TLS's close_notify; the reply is whole all the same.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = end.map_or_else(Vec::new, |end| bytes.split_off(end + 4));
    let head = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Ok((head, body))
}
