//! Data sent before the handshake is done, and what is answered to it.

use crate::probe::survey::http::{MAX_HEAD, Parsed, parse};
use rustls::ClientConnection;
use std::io::Read as _;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// How long an answer is waited for while our part of the handshake is held back: only what is answered in that time is answered to
/// somebody who may have replayed it. A server that checks would see nothing early in a request behind a finished handshake.
const HELD_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer is waited for after that.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The status that is answered to what `connection` holds as early data; `None` where none comes.
pub(super) async fn answer<S>(connection: &mut ClientConnection, stream: &mut S) -> Option<u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    for limit in [HELD_LIMIT, ANSWER_LIMIT] {
        send(connection, stream).await?;
        let until = Instant::now() + limit;
        let mut chunk = [0; 4096];
        // Without early data there is nothing to hold back for.
        while let Ok(Ok(count @ 1..)) = tokio::time::timeout_at(until, stream.read(&mut chunk)).await {
            take(connection, &chunk[..count], &mut head)?;
            if let Parsed::Head(head) = parse(&head) {
                return Some(head.status);
            }
            if !connection.is_handshaking() && !connection.is_early_data_accepted() {
                return None;
            }
        }
    }
    None
}

async fn send<S: AsyncWrite + Unpin>(connection: &mut ClientConnection, stream: &mut S) -> Option<()> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).ok()?;
    }
    stream.write_all(&bytes).await.ok()?;
    stream.flush().await.ok()
}

/// Gives what was received to `connection`, and adds to `head` what that makes of it.
fn take(connection: &mut ClientConnection, mut received: &[u8], head: &mut Vec<u8>) -> Option<()> {
    while !received.is_empty() {
        connection.read_tls(&mut received).ok()?;
        let room = connection.process_new_packets().ok()?.plaintext_bytes_to_read().min(MAX_HEAD - head.len());
        let begin = head.len();
        head.resize(begin + room, 0);
        connection.reader().read_exact(&mut head[begin..]).ok()?;
        if head.len() == MAX_HEAD {
            return None;
        }
    }
    Some(())
}
