//! Getting to where TLS begins: connect, then STARTTLS where the endpoint speaks it.

use super::label::{Label, Trouble};
use super::records::Records;
use super::starttls;
use crate::config::spec::StartTls;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// For one connection attempt.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// What is kept of the peer's first bytes, to say what it speaks when it is not TLS.
const KEPT: usize = 64;

/// A connected stream on which TLS can begin. STARTTLS has no limit of its own here: the caller bounds it and TLS together.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Trouble> {
    let stream = match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Err(_) => {
            let message = format!("no answer to the connection attempt within {} s", CONNECT_LIMIT.as_secs());
            return Err(Trouble::silent(Label::TcpTimeout, message));
        }
        Ok(Err(error)) => return Err(unconnected(&error)),
        Ok(Ok(stream)) => stream,
    };
    // Delayed acknowledgements cost 40 ms a handshake otherwise. Without it all still works.
    let _slower = stream.set_nodelay(true).is_err();
    Ok(stream)
}

/// Brings a connected stream to the beginning of TLS.
pub(super) async fn prepare(mut stream: TcpStream, kind: StartTls) -> Result<Tap, Trouble> {
    let own = stream.local_addr().ok().map(|own| own.ip());
    starttls::negotiate(&mut stream, kind, own).await?;
    Ok(Tap { stream, first: Vec::new(), records: Records::default() })
}

fn unconnected(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::silent(Label::TcpRefused, "the connection is refused"),
        io::ErrorKind::TimedOut => Trouble::silent(Label::TcpTimeout, "no answer to the connection attempt"),
        _ => Trouble::silent(Label::Unreachable, format!("from this machine: {error}")),
    }
}

/// A connection that broke while something was read or written.
pub(super) fn broken(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Trouble::answered(Label::ConnClosed, "the peer closes the connection without a TLS alert")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Trouble::answered(Label::ConnReset, "the peer resets the connection without a TLS alert")
        }
        _ => Trouble::silent(Label::Unreachable, format!("the connection broke: {error}")),
    }
}

/// A stream that remembers the first bytes it received, and watches the records go by.
pub(super) struct Tap {
    stream: TcpStream,
    /// The first bytes, at most [`KEPT`].
    pub(super) first: Vec<u8>,
    /// What was received, by its records.
    pub(super) records: Records,
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let room = KEPT.saturating_sub(self.first.len());
        let received = &into.filled()[before..];
        self.first.extend_from_slice(&received[..received.len().min(room)]);
        self.records.feed(received);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
