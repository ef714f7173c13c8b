//! A CA that misbehaves: a proxy before Pebble that hands out another certificate than the one that was issued. Host and
//! path are passed on as they are, and Pebble builds its URLs from them, so that every signature stays valid.

use crate::rig::{Pebble, free_port, host, request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Pebble's paths of certificates begin with this.
const CERTIFICATES: &str = "/certZ/";

pub(crate) struct Liar {
    at: SocketAddr,
    lie: Arc<Mutex<Option<String>>>,
}

impl Liar {
    /// Stands before `pebble`, honest at first. Its threads end with the test.
    pub(crate) fn before(pebble: &Pebble) -> Self {
        let at = SocketAddr::from((host(), free_port()));
        let listener = TcpListener::bind(at).expect("a free port");
        let (config, lie) = (Arc::new(server(pebble)), Arc::new(Mutex::new(None)));
        let (acme, root, said) = (pebble.acme(), pebble.tls_root().to_owned(), Arc::clone(&lie));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, root, said) = (Arc::clone(&config), root.clone(), Arc::clone(&said));
                // A client that goes away ends its conversation, nothing else.
                thread::spawn(move || converse(stream, config, acme, &root, &said));
            }
        });
        Self { at, lie }
    }

    /// The directory's URL, as everleaf is to know it.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.at)
    }

    /// From now on every certificate is `chain`; `None`: what Pebble issues.
    pub(crate) fn hand_out(&self, chain: Option<String>) {
        *self.lie.lock().expect("no panic") = chain;
    }
}

fn server(pebble: &Pebble) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_file_iter(pebble.dir().join("cert.pem")).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(pebble.dir().join("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("default versions");
    builder.with_no_client_auth().with_single_cert(chain, key).expect("a pair")
}

fn converse(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    acme: SocketAddr,
    root: &str,
    lie: &Mutex<Option<String>>,
) -> io::Result<()> {
    let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = rustls::StreamOwned::new(session, stream);
    let asked = read_request(&mut stream)?;
    // HTTP/1.0, so that Pebble's reply ends with its connection.
    let passed = asked.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1);
    let reply = request(acme, Some(root), &passed)?;
    let lie = lie.lock().expect("no panic").clone().filter(|_| asked.starts_with(&format!("POST {CERTIFICATES}")));
    let body = lie.unwrap_or(reply.body);
    let framing = ["content-length:", "transfer-encoding:", "connection:"];
    let kept = |line: &&str| !framing.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let head: Vec<&str> = reply.head.lines().filter(kept).collect();
    let head = head.join("\r\n").replacen("HTTP/1.0", "HTTP/1.1", 1);
    let text = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// One request, head and body.
fn read_request(stream: &mut impl Read) -> io::Result<String> {
    let (mut text, mut octets) = (String::new(), [0; 4096]);
    loop {
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end].lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if text.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(text);
            }
        }
        match stream.read(&mut octets)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => text.push_str(&String::from_utf8_lossy(&octets[..count])),
        }
    }
}
