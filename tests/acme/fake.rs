//! A small ACME server on loopback that answers by a script: sane unless a test says otherwise for a path.
#![cfg(test)]

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The JWS payload; null for POST-as-GET and for anything unsigned.
    pub(crate) payload: Value,
}

/// What to do with a request.
pub(crate) enum Act {
    /// Answer it.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// Do what a sane CA does, then close without a word.
    LoseReply,
    /// Send this body one octet at a time, with a pause between.
    Trickle(String),
    /// Send so many octets without saying how many.
    Flood(usize),
    /// Say nothing, and keep the connection.
    Silence,
}

/// What a test changes: nothing (`None`) means sane.
pub(crate) type Script = dyn Fn(&Asked, &str) -> Option<Act>;

/// The server.
pub(crate) struct FakeCa {
    pub(crate) address: SocketAddr,
    state: Rc<State>,
    _task: tokio::task::JoinHandle<()>,
}

struct State {
    base: String,
    script: Box<Script>,
    asked: RefCell<Vec<Asked>>,
    order: RefCell<Value>,
    nonces: RefCell<BTreeSet<String>>,
}

impl FakeCa {
    /// Starts it; must be called within a `LocalSet`.
    pub(crate) async fn start(script: impl Fn(&Asked, &str) -> Option<Act> + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Rc::new(State {
            base: format!("http://{address}"),
            script: Box::new(script),
            asked: RefCell::default(),
            order: RefCell::default(),
            nonces: RefCell::default(),
        });
        let served = Rc::clone(&state);
        let task = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Rc::clone(&served);
                tokio::task::spawn_local(async move { state.serve(stream).await });
            }
        });
        Self { address, state, _task: task }
    }

    pub(crate) fn directory(&self) -> String {
        format!("{}/dir", self.state.base)
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.state.asked.borrow().iter().filter(|asked| asked.path == path).count()
    }
}

impl State {
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = self.read(&mut stream).await {
            self.asked.borrow_mut().push(asked.clone());
            let act = (self.script)(&asked, &self.base).unwrap_or_else(|| self.sane(&asked));
            let goes_on = match act {
                Act::Reply(status, headers, body) => {
                    let headers: Vec<String> =
                        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                    let headers = headers.concat();
                    let (nonce, length) = (self.nonce(), body.len());
                    let body = if asked.method == "HEAD" { String::new() } else { body };
                    let text = format!(
                        "HTTP/1.1 {status} X\r\nReplay-Nonce: {nonce}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
                    );
                    stream.write_all(text.as_bytes()).await.is_ok()
                }
                Act::LoseReply => {
                    self.sane(&asked);
                    false
                }
                Act::Trickle(body) => {
                    let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n").await;
                    for octet in body.bytes().cycle() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        if stream.write_all(&[octet]).await.is_err() {
                            break;
                        }
                    }
                    false
                }
                Act::Flood(octets) => {
                    let _ = stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n").await;
                    for _ in 0..octets / 8192 {
                        if stream.write_all(&[b' '; 8192]).await.is_err() {
                            break;
                        }
                    }
                    false
                }
                Act::Silence => std::future::pending().await,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn read(&self, stream: &mut BufReader<TcpStream>) -> Option<Asked> {
        let mut first = String::new();
        stream.read_line(&mut first).await.ok()?;
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let decode = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            serde_json::from_slice::<Value>(&BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")).ok()
        };
        let jws: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(protected) = decode(&jws["protected"]) {
            let nonce = protected["nonce"].as_str().expect("a nonce").to_owned();
            assert!(self.nonces.borrow_mut().remove(&nonce), "{path}: nonce {nonce} is unknown or was used before");
            assert_eq!(protected["url"], format!("{}{path}", self.base));
        }
        Some(Asked { method, path, payload: decode(&jws["payload"]).unwrap_or_default() })
    }

    fn nonce(&self) -> String {
        let mut nonces = self.nonces.borrow_mut();
        let nonce = format!("nonce-{}-{}", self.asked.borrow().len(), nonces.len());
        nonces.insert(nonce.clone());
        nonce
    }

    /// What a CA without faults does.
    fn sane(&self, asked: &Asked) -> Act {
        let base = &self.base;
        let location = |path: &str| vec![("Location", format!("{base}{path}"))];
        let number = asked.path.rsplit('/').next().unwrap_or_default();
        match asked.path.as_str() {
            "/dir" => reply(&json!({
                "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/order"), "renewalInfo": format!("{base}/ari"),
            })),
            "/account" => Act::Reply(201, location("/account/1"), "{}".into()),
            "/order" => {
                let count = asked.payload["identifiers"].as_array().map_or(0, Vec::len);
                let mut order = json!({
                    "status": "pending",
                    "identifiers": asked.payload["identifiers"],
                    "authorizations": (0..count).map(|n| format!("{base}/authz/{n}")).collect::<Vec<_>>(),
                    "finalize": format!("{base}/finalize"),
                });
                if asked.payload["replaces"].is_string() {
                    order["replaces"] = asked.payload["replaces"].clone();
                }
                self.order.replace(order.clone());
                Act::Reply(201, location("/order/1"), order.to_string())
            }
            "/order/1" => reply(&self.order.borrow()),
            "/finalize" if self.order.borrow()["status"] == "valid" => {
                problem(403, "orderNotReady", "the order is valid already")
            }
            "/finalize" => {
                self.order.borrow_mut()["status"] = "valid".into();
                self.order.borrow_mut()["certificate"] = format!("{base}/certificate").into();
                reply(&self.order.borrow())
            }
            "/certificate" => Act::Reply(200, vec![], "-----BEGIN CERTIFICATE-----\n".into()),
            path if path.starts_with("/authz/") => {
                let at: usize = number.parse().expect("a number");
                reply(&authorization(
                    &self.order.borrow()["identifiers"][at],
                    &format!("{base}/challenge/{at}"),
                    "token",
                ))
            }
            path if path.starts_with("/challenge/") => {
                self.order.borrow_mut()["status"] = "ready".into();
                reply(&json!({"type": "http-01", "url": format!("{base}{path}"), "status": "processing"}))
            }
            _ => Act::Reply(200, vec![], String::new()),
        }
    }
}

pub(crate) fn authorization(identifier: &Value, url: &str, token: &str) -> Value {
    let challenge = json!({"type": "http-01", "url": url, "status": "pending", "token": token});
    json!({"identifier": identifier, "status": "pending", "challenges": [challenge]})
}

pub(crate) fn reply(body: &Value) -> Act {
    Act::Reply(200, vec![], body.to_string())
}

pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> Act {
    let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
    Act::Reply(status, vec![("Content-Type", "application/problem+json".into())], body.to_string())
}
