//! A client of TLS 1.3 that can be asked for a certificate after the handshake (RFC 8446 §4.2.6), which rustls cannot. It believes
//! whatever it is shown, and sends nothing but one request.

mod hello;
mod keys;

use super::http::Question;
use crate::config::spec::StartTls;
use crate::probe::dial::{self, Tap};
use aws_lc_rs::agreement::{EphemeralPrivateKey, X25519};
use aws_lc_rs::rand::SystemRandom;
use keys::{Keys, Schedule};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// From the connection attempt to what is answered.
const LIMIT: Duration = Duration::from_secs(3);
/// What is read of a server that never comes to an answer.
const MOST: usize = 256 * 1024;
/// The longest encrypted record (RFC 8446 §5.2).
const LONGEST: usize = (1 << 14) + 256;

/// Content types (RFC 8446 §5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Handshake messages (RFC 8446 §4).
const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;
const CERTIFICATE_REQUEST: u8 = 13;
const FINISHED: u8 = 20;

/// Whether the server answers a request for `/` by asking for a certificate; none where it did not come to that. Bounded in time and
/// bytes.
pub(super) async fn asks(
    address: SocketAddr,
    name: &ServerName<'_>,
    starttls: StartTls,
    question: &Question,
) -> Option<bool> {
    tokio::time::timeout(LIMIT, converse(address, name, starttls, question)).await.ok()?
}

async fn converse(address: SocketAddr, name: &ServerName<'_>, starttls: StartTls, question: &Question) -> Option<bool> {
    let stream = dial::prepare(dial::connect(address).await.ok()?, starttls).await.ok()?;
    let mut wire = Wire { stream, received: 0, messages: Vec::new() };
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).ok()?;
    let hello = hello::client(name, private.compute_public_key().ok()?.as_ref());
    wire.send(HANDSHAKE, &hello).await?;
    let answer = wire.message(None).await.filter(|message| message.first() == Some(&SERVER_HELLO))?;
    let share = hello::share(&answer)?;
    let mut transcript = [hello, answer].concat();
    let schedule = Schedule::new(private, &share, &transcript)?;
    let (mut theirs, mut ours) = schedule.handshake()?;
    loop {
        let message = wire.message(Some(&mut theirs)).await?;
        transcript.extend_from_slice(&message);
        match message.first() {
            // It asks at once.
            Some(&CERTIFICATE_REQUEST) => return None,
            Some(&FINISHED) => break,
            _ => {}
        }
    }
    let (mut theirs, mut our_data) = schedule.application(&transcript)?;
    let finished = ours.finished(&transcript);
    let finished = ours.seal(HANDSHAKE, &finished)?;
    wire.send(CHANGE_CIPHER_SPEC, &[1]).await?;
    wire.send(APPLICATION_DATA, &finished).await?;
    let request = our_data.seal(APPLICATION_DATA, question.text("GET", "/", "close").as_bytes())?;
    wire.send(APPLICATION_DATA, &request).await?;
    // Data, an alert or the end of the connection is an answer too.
    while let Some(message) = wire.message(Some(&mut theirs)).await {
        match message.first() {
            Some(&NEW_SESSION_TICKET) => {}
            first => return Some(first == Some(&CERTIFICATE_REQUEST)),
        }
    }
    Some(false)
}

/// Records on a connection.
struct Wire {
    stream: Tap,
    received: usize,
    /// What is not yet a whole handshake message.
    messages: Vec<u8>,
}

impl Wire {
    async fn send(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        let length = u16::try_from(body.len()).ok()?;
        let record = [&[kind, 3, 3][..], &length.to_be_bytes(), body].concat();
        self.stream.write_all(&record).await.ok()?;
        self.stream.flush().await.ok()
    }

    /// The next handshake message; none where something else comes, or nothing.
    async fn message(&mut self, mut keys: Option<&mut Keys>) -> Option<Vec<u8>> {
        loop {
            if let Some(message) = whole(&mut self.messages) {
                return Some(message);
            }
            let mut header = [0; 5];
            self.stream.read_exact(&mut header).await.ok()?;
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            self.received += header.len() + length;
            if length > LONGEST || self.received > MOST {
                return None;
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            match (header[0], keys.as_deref_mut()) {
                (CHANGE_CIPHER_SPEC, _) => {}
                (HANDSHAKE, None) => self.messages.extend(body),
                (APPLICATION_DATA, Some(keys)) => {
                    let (kind, inside) = keys.open(header, body)?;
                    if kind != HANDSHAKE {
                        return None;
                    }
                    self.messages.extend(inside);
                }
                _ => return None,
            }
        }
    }
}

/// The first message, where it is whole: type, length in three octets, body.
fn whole(messages: &mut Vec<u8>) -> Option<Vec<u8>> {
    let [_, high, middle, low, ..] = messages[..] else { return None };
    let end = 4 + usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    (messages.len() >= end).then(|| messages.drain(..end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(lengths in proptest::collection::vec(0u8..9, 0..9), cut in 0usize..4) {
            let all: Vec<Vec<u8>> = lengths.iter().map(|it| [vec![4, 0, 0, *it], vec![7; usize::from(*it)]].concat()).collect();
            let mut bytes = [all.concat(), vec![4, 0, 0, 9][..cut].to_vec()].concat();
            for message in all {
                prop_assert_eq!(whole(&mut bytes), Some(message));
            }
            prop_assert_eq!(whole(&mut bytes), None);
        }
    }
}
