//! What an endpoint says in HTTP: one bounded `HEAD` over TLS and one on port 80, and a few redirects that stay there.

mod head;
pub(crate) mod multiplexed;

pub use head::{Head, MAX_HEAD, Parsed, parse};

use crate::ports::Clock;
use crate::probe::label::Trouble;
use crate::types::{Identifier, Printable, Timestamp};
use http::header;
pub use reqwest::Url;
use rustls::{AlertDescription, Error};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// For one request, connecting included: a peer that speaks something else in TLS may stay silent for ever.
pub const LIMIT: Duration = Duration::from_secs(3);
/// How long an answer to `HEAD` is waited for: some servers know only `GET`, and are silent.
const HEAD_LIMIT: Duration = Duration::from_millis(1200);
/// How long an answer to `GET` is waited for after that: whoever speaks no HTTP is silent to it too.
const GET_LIMIT: Duration = Duration::from_millis(2300);
/// For following redirects.
const ONWARD_LIMIT: Duration = Duration::from_secs(3);
/// Requests to one place: the first, and redirects that stay there.
const MAX_REPLIES: usize = 4;
/// How far a redirect's target is read.
const MAX_PATH: usize = 2048;
/// What is kept of bytes that are no HTTP.
const KEPT: usize = 64;

/// Who asks.
const USER_AGENT: &str = concat!("everleaf/", env!("CARGO_PKG_VERSION"));

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `https`, or `http`.
    pub scheme: &'static str,
    /// The host as in a URL: an IPv6 address in brackets.
    pub host: String,
    /// The port that is connected to.
    pub port: u16,
}

impl Question {
    /// Asks over TLS.
    #[must_use]
    pub fn https(host: &Identifier, port: u16) -> Self {
        Self { scheme: "https", host: in_url(host), port }
    }

    /// Asks without TLS.
    #[must_use]
    pub fn http(host: &Identifier, port: u16) -> Self {
        Self { scheme: "http", host: in_url(host), port }
    }

    /// The `Host` field: the port stands in it where it is not the scheme's own (RFC 9110 §7.2).
    fn authority(&self) -> String {
        let own = if self.scheme == "https" { 443 } else { 80 };
        if self.port == own { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// A request as it is sent, and what is to become of the connection.
    pub(super) fn text(&self, method: &str, path: &str, connection: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: {connection}\r\n\r\n",
            self.authority(),
        )
    }
}

fn in_url(host: &Identifier) -> String {
    match host {
        Identifier::Ip(IpAddr::V6(address)) => format!("[{address}]"),
        other => other.base(),
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What was asked for.
    pub path: String,
    /// The answer's head.
    pub head: Head,
    /// Our own clock when it came.
    pub at: Timestamp,
}

/// What was answered: to `/`, then to each redirect that stays at the same scheme, host and port; the first failure ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The answer to `/`.
    pub first: Reply,
    /// The answers to redirects.
    pub onward: Vec<Reply>,
}

impl Spoken {
    /// The last answer.
    #[must_use]
    pub fn last(&self) -> &Reply {
        self.onward.last().unwrap_or(&self.first)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mute {
    /// There was no connection to ask over.
    Unopened(Trouble),
    /// Nothing, or no whole head, within [`LIMIT`].
    Silent,
    /// Bytes that are no HTTP/1: the first of them.
    NotHttp(Printable),
    /// A head without end.
    TooLarge,
    /// A fatal TLS alert: in TLS 1.3 the refusal of a client certificate comes only now.
    Alert(AlertDescription),
    /// The connection was closed or broke: in the system's words.
    Broken(String),
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened(trouble) => f.write_str(&trouble.message),
            Self::Silent => f.write_str("no answer to HEAD, nor to GET, within some seconds"),
            Self::NotHttp(first) => write!(f, "the answer is no HTTP/1: {:?}", first.as_str()),
            Self::TooLarge => write!(f, "the answer's head is longer than {MAX_HEAD} bytes"),
            Self::Alert(alert) => write!(f, "the peer sends the alert {alert:?}"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Asks for `/` over streams that `open` makes, one a request.
///
/// # Errors
/// Why there is no answer; bounded by [`LIMIT`] a request and [`MAX_HEAD`] an answer.
pub async fn ask<S, O>(open: O, question: &Question, clock: &dyn Clock) -> Result<Spoken, Mute>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: AsyncFn() -> Result<S, Trouble>,
{
    let first = once(&open, question, "/", clock).await?;
    let mut spoken = Spoken { first, onward: Vec::new() };
    let _as_far_as_time_goes = tokio::time::timeout(ONWARD_LIMIT, follow(&open, question, &mut spoken, clock)).await;
    Ok(spoken)
}

async fn follow<S, O>(open: &O, question: &Question, spoken: &mut Spoken, clock: &dyn Clock)
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: AsyncFn() -> Result<S, Trouble>,
{
    while spoken.onward.len() + 1 < MAX_REPLIES {
        let Some(path) = stays(question, spoken.last()) else { break };
        if path == spoken.last().path {
            break;
        }
        let Ok(reply) = once(open, question, &path, clock).await else { break };
        spoken.onward.push(reply);
    }
}

async fn once<S, O>(open: &O, question: &Question, path: &str, clock: &dyn Clock) -> Result<Reply, Mute>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: AsyncFn() -> Result<S, Trouble>,
{
    let head = match request(open, question, "HEAD", path, HEAD_LIMIT).await {
        Ok(head) if !refuses_head(head.status) => head,
        Ok(_) | Err(Mute::Silent | Mute::Broken(_)) => request(open, question, "GET", path, GET_LIMIT).await?,
        Err(mute) => return Err(mute),
    };
    Ok(Reply { path: path.to_owned(), head, at: clock.now() })
}

/// Method not allowed, or not implemented.
const fn refuses_head(status: u16) -> bool {
    matches!(status, 405 | 501)
}

/// One request over a stream of its own.
pub(super) async fn request<S, O>(
    open: &O,
    question: &Question,
    method: &str,
    path: &str,
    patience: Duration,
) -> Result<Head, Mute>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: AsyncFn() -> Result<S, Trouble>,
{
    let exchange = async {
        let mut stream = open().await.map_err(Mute::Unopened)?;
        let text = question.text(method, path, "close");
        // Who refuses may close before it has read: what it said is read all the same.
        let sent = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        let sent = sent.await;
        match (tokio::time::timeout(patience, receive(&mut stream)).await.unwrap_or(Err(Mute::Silent)), sent) {
            (Err(Mute::Broken(_)), Err(error)) => Err(broken(&error)),
            (received, _) => received,
        }
    };
    tokio::time::timeout(LIMIT, exchange).await.unwrap_or(Err(Mute::Silent))
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, Mute> {
    let mut bytes = Vec::with_capacity(1024);
    let mut chunk = [0; 2048];
    loop {
        let room = chunk.len().min(MAX_HEAD - bytes.len());
        let count = stream.read(&mut chunk[..room]).await.map_err(|error| broken(&error))?;
        if count == 0 && bytes.is_empty() {
            return Err(Mute::Broken("the peer closes the connection without an answer".into()));
        }
        if count == 0 {
            return Err(not_http(&bytes));
        }
        // Only an end of line can end a head: whoever sends byte by byte is not parsed as often.
        let telling = bytes.len() < KEPT || chunk[..count].contains(&b'\n');
        bytes.extend_from_slice(&chunk[..count]);
        match if telling { parse(&bytes) } else { Parsed::Partial } {
            Parsed::Head(head) => return Ok(head),
            Parsed::NotHttp => return Err(not_http(&bytes)),
            Parsed::Partial if bytes.len() >= MAX_HEAD => return Err(Mute::TooLarge),
            Parsed::Partial => {}
        }
    }
}

fn not_http(bytes: &[u8]) -> Mute {
    Mute::NotHttp(Printable::new(&String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT)])))
}

fn broken(error: &io::Error) -> Mute {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => Mute::Alert(*alert),
        _ => Mute::Broken(error.to_string()),
    }
}

/// The path that a redirect leads to, when it stays at the same scheme, host and port.
fn stays(question: &Question, reply: &Reply) -> Option<String> {
    let target = redirect(question, reply)?;
    let here = target.scheme() == question.scheme
        && target.host_str() == Some(&question.host)
        && target.port_or_known_default() == Some(question.port);
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", target.path());
    (here && path.len() <= MAX_PATH).then_some(path)
}

/// Where a reply redirects to: a 3xx with a `Location` that can be read, relative ones resolved (RFC 9110 §10.2.2).
#[must_use]
pub fn redirect(question: &Question, reply: &Reply) -> Option<Url> {
    if !matches!(reply.head.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = String::from_utf8_lossy(reply.head.headers.get(header::LOCATION)?.as_bytes());
    let base = format!("{}://{}{}", question.scheme, question.authority(), reply.path);
    Url::parse(&base).ok()?.join(location.trim()).ok()
}
