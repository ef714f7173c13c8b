//! http-01 (RFC 8555 §8.3) by the built-in listener: a path with a token is answered with what proves the account.

use super::listener::{Desk, Listeners, in_order, lock};
use super::request::{Asked, asked, read_head, reply};
use crate::ports::Proof;
use crate::types::{CertName, Failure};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Token → answer and the certificates that need it: a CA may give two orders the same pending authorization.
#[derive(Default)]
pub(super) struct Answers {
    by_token: BTreeMap<String, (String, BTreeSet<CertName>)>,
}

impl Listeners<Answers> {
    /// Answers `proof`'s token at all `addresses`, bound if they are not yet.
    pub(super) async fn put_up(&self, name: &CertName, proof: &Proof, addresses: &[SocketAddr]) -> Result<(), Failure> {
        // One by one: what is bound and has nothing to answer is closed by whoever takes something down meanwhile.
        for address in in_order(addresses) {
            self.open_all(&[address]).await?;
            self.at(&[address], |answers| {
                let entry = answers.by_token.entry(proof.token.clone()).or_default();
                entry.0.clone_from(&proof.key_authorization);
                entry.1.insert(name.clone());
            });
        }
        Ok(())
    }

    /// Forgets `proof`'s token, and closes listeners that have none left.
    pub(super) fn take_down(&self, name: &CertName, proof: &Proof, addresses: &[SocketAddr]) {
        self.at(addresses, |answers| {
            if let Some((_, owners)) = answers.by_token.get_mut(&proof.token) {
                owners.remove(name);
                if owners.is_empty() {
                    answers.by_token.remove(&proof.token);
                }
            }
        });
        self.close_idle();
    }
}

impl Desk for Answers {
    const KIND: &'static str = "http-01";
    const SHARE: &'static str = "Let that server answer instead: `webroot: DIR` if it serves files, `stateless: true` with a rule that answers \
                                 TOKEN.THUMBPRINT, or a proxy rule that passes /.well-known/acme-challenge/ to a `listen:` address of its own \
                                 (examples/edges/ has them for nginx and HAProxy).";

    fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    async fn serve(desk: Arc<Mutex<Self>>, mut stream: TcpStream) -> io::Result<String> {
        let Some(head) = read_head(&mut stream).await? else {
            return finish(stream, reply("431 Request Header Fields Too Large", "", false)).await;
        };
        let answer = match asked(&head) {
            Asked::Malformed => reply("400 Bad Request", "", false),
            Asked::Method => reply("405 Method Not Allowed", "", false),
            Asked::Path { path, head } => match answer_to(path, &desk) {
                Some(body) => reply("200 OK", &body, head),
                None => reply("404 Not Found", "", head),
            },
        };
        finish(stream, answer).await
    }
}

fn answer_to(path: &str, desk: &Mutex<Answers>) -> Option<String> {
    let token = path.strip_prefix(super::path_of("").as_str())?;
    lock(desk).by_token.get(token).map(|(answer, _)| answer.clone())
}

async fn finish(mut stream: TcpStream, answer: String) -> io::Result<String> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(answer.split("\r\n").next().unwrap_or_default().to_owned())
}
