//! One connection's requests over HTTP/1.1, passed on or met by a fault.

use super::super::http;
use super::{Answer, Asked, Fault, Kind, Shared};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The pause between the octets of a trickle.
const TRICKLE: Duration = Duration::from_millis(500);
/// No client stays longer with an answer without end.
const ENDLESS: usize = 1 << 30;
const CHUNK: usize = 16 << 10;

/// A connection whose requests are read: with TLS or without.
pub(super) trait Stream: Read + Write {
    /// The TCP connection underneath.
    fn socket(&self) -> &TcpStream;
    /// Says that nothing more comes, where the protocol has a word for it.
    fn goodbye(&mut self);
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn goodbye(&mut self) {}
}

impl Stream for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn goodbye(&mut self) {
        self.conn.send_close_notify();
        // The client may be gone.
        let _ = self.flush();
    }
}

/// A request as text, with what it is for.
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) text: String,
}

/// Answers requests until either side ends the connection.
pub(super) fn serve(mut stream: impl Stream, shared: &Shared) -> io::Result<()> {
    while let Some(request) = read(&mut stream)? {
        let fault = shared.meet(&request.asked);
        if !answer(&mut stream, shared, &request, fault)? {
            break;
        }
    }
    stream.goodbye();
    Ok(())
}

/// Plays one fault, or passes the request on. Whether the connection goes on.
fn answer(stream: &mut impl Stream, shared: &Shared, request: &Request, fault: Option<Fault>) -> io::Result<bool> {
    match fault {
        Some(Fault::Close) => return Ok(false),
        Some(Fault::Reset) => {
            reset(stream.socket())?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Some(Fault::Silence) => {
            io::copy(&mut stream.socket(), &mut io::sink())?;
            return Ok(false);
        }
        Some(Fault::LoseReply) => {
            pass(shared, &request.text)?;
            return Ok(false);
        }
        Some(Fault::Trickle) => trickle(stream)?,
        Some(Fault::Flood { octets, told }) => flood(stream, octets, told)?,
        Some(Fault::EndlessHeaders) => endless_headers(stream)?,
        Some(Fault::Half) => {
            let whole = pass(shared, &request.text)?;
            let half = whole.body.len() / 2;
            stream.write_all(whole.head(false).as_bytes())?;
            stream.write_all(&whole.body[..half])?;
        }
        other => {
            let sent = compose(shared, request, other)?;
            stream.write_all(sent.head(true).as_bytes())?;
            if request.asked.method != "HEAD" {
                stream.write_all(&sent.body)?;
            }
            stream.flush()?;
            return Ok(true);
        }
    }
    stream.flush()?;
    Ok(false)
}

/// The answer to a request that gets one.
pub(super) fn compose(shared: &Shared, request: &Request, fault: Option<Fault>) -> io::Result<Answer> {
    let answer = match fault {
        Some(Fault::Answer(answer)) => answer,
        Some(Fault::Change(change)) => change(&request.asked, pass(shared, &request.text)?),
        _ => pass(shared, &request.text)?,
    };
    Ok(answer.settled(|| nonce(shared)))
}

fn nonce(shared: &Shared) -> Option<String> {
    let at = shared.at;
    let asked = format!("HEAD /nonce-plz HTTP/1.1\r\nHost: {at}\r\nUser-Agent: everleaf-tests\r\n\r\n");
    pass(shared, &asked).ok()?.header("Replay-Nonce").map(str::to_owned)
}

/// Pebble's answer.
pub(super) fn pass(shared: &Shared, text: &str) -> io::Result<Answer> {
    // HTTP/1.0, so that Pebble's reply ends with its connection.
    let text = text.replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1);
    let (head, body) = http::exchange_octets(shared.acme, Some(&shared.root), &text)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut answer = Answer::new(status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?, body);
    let framing = ["content-length", "transfer-encoding", "connection"];
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(':')) {
        if !framing.iter().any(|it| name.eq_ignore_ascii_case(it)) {
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    Ok(answer)
}

/// One request, head and body; `None` when the client has ended the connection.
fn read(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let (mut text, mut octets) = (String::new(), [0; 4096]);
    loop {
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end].lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if text.len() >= end + 4 + length.unwrap_or(0) {
                let asked = sorted(&text, &text[end + 4..]);
                return Ok(Some(Request { asked, text }));
            }
        }
        match stream.read(&mut octets) {
            Ok(0) => return Ok(None),
            // JWS and heads are ASCII.
            Ok(count) => text.push_str(&String::from_utf8_lossy(&octets[..count])),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What a request is for.
pub(super) fn sorted(head: &str, body: &str) -> Asked {
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let jws: Value = serde_json::from_str(body).unwrap_or_default();
    let payload = jws["payload"].as_str().and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
    let payload = payload.and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or_default();
    Asked { kind: Kind::of(&path), method, path, payload }
}

/// Makes the end of this connection an RST.
pub(super) fn reset(socket: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

fn trickle(stream: &mut impl Stream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")?;
    stream.flush()?;
    for octet in b"{\"status\": ".iter().chain(std::iter::repeat(&b' ')) {
        std::thread::sleep(TRICKLE);
        stream.write_all(&[*octet])?;
        stream.flush()?;
    }
    Ok(())
}

fn flood(stream: &mut impl Stream, octets: usize, told: bool) -> io::Result<()> {
    let length = if told { format!("Content-Length: {octets}\r\n") } else { String::new() };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n{length}\r\n");
    stream.write_all(head.as_bytes())?;
    for _ in 0..octets / CHUNK {
        stream.write_all(&[b' '; CHUNK])?;
    }
    Ok(())
}

fn endless_headers(stream: &mut impl Stream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
    let line = format!("X-More: {}\r\n", "more ".repeat(200));
    for _ in 0..ENDLESS / line.len() {
        stream.write_all(line.as_bytes())?;
    }
    Ok(())
}
