//! One HTTP exchange as the listener and the self-check have it: read no more than needed, answer, close.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest request or reply head: a CA's has a few hundred bytes.
pub(super) const MAX_HEAD: usize = 4096;
/// For a whole exchange: a CA that is slower than this gives up itself.
pub(super) const EXCHANGE: Duration = Duration::from_secs(10);

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// `GET` or `HEAD` of a path; the query is left out.
    Path {
        /// The path.
        path: &'a str,
        /// `HEAD`: the same headers, no body.
        head: bool,
    },
    /// Another method.
    Method,
    /// No HTTP/1 request.
    Malformed,
}

/// Reads up to the empty line that ends a head; `None` when it does not come within [`MAX_HEAD`] bytes.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut bytes = Vec::with_capacity(512);
    let mut chunk = [0; 512];
    loop {
        let room = MAX_HEAD - bytes.len();
        let read = stream.read(&mut chunk[..room.min(512)]).await?;
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.truncate(end);
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
        if read == 0 {
            return Ok(None);
        }
    }
}

/// What a request head asks for (RFC 9112 §3).
#[must_use]
pub fn asked(head: &str) -> Asked<'_> {
    let line = head.split("\r\n").next().unwrap_or_default();
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Asked::Malformed;
    };
    // A target is visible ASCII (RFC 3986 §2); a bare CR in one is an attack on somebody (RFC 9112 §2.2).
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Asked::Malformed;
    }
    // The absolute form is for proxies, but RFC 9112 §3.2.2 has every server accept it.
    let path = match target.strip_prefix("http://").map(|rest| rest.split_once('/')) {
        Some(Some((host, _))) => &target["http://".len() + host.len()..],
        Some(None) => return Asked::Malformed,
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    match method {
        "GET" | "HEAD" => Asked::Path { path, head: method == "HEAD" },
        _ => Asked::Method,
    }
}

/// A whole reply. `HEAD` gets the length that `GET` would have (RFC 9110 §9.3.2).
pub(super) fn reply(status: &str, body: &str, head_only: bool) -> String {
    // octet-stream is what RFC 8555 §8.3 shows; nosniff keeps a browser from making anything of it.
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{}",
        body.len(),
        if head_only { "" } else { body }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn get_and_head_in_both_versions() {
        let path = |path, head| Asked::Path { path, head };
        assert_eq!(asked("GET /a HTTP/1.1\r\nHost: x"), path("/a", false));
        assert_eq!(asked("HEAD /a?b=c HTTP/1.0"), path("/a", true));
        assert_eq!(asked("GET http://a.example/b HTTP/1.1"), path("/b", false));
        assert_eq!(asked("POST /a HTTP/1.1"), Asked::Method);
        for bad in ["", "GET", "GET /a", "GET /a HTTP/2.0", "GET /a b HTTP/1.1", "GET http://x HTTP/1.1", "\u{16}\u{3}"]
        {
            assert_eq!(asked(bad), Asked::Malformed, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let endless = vec![b'a'; 3 * MAX_HEAD];
        let mut rest = endless.as_slice();
        assert_eq!(read_head(&mut rest).await.unwrap(), None);
        assert_eq!(endless.len() - rest.len(), MAX_HEAD, "not a byte more is read");
        let mut whole: &[u8] = b"GET / HTTP/1.0\r\n\r\nbody";
        assert_eq!(read_head(&mut whole).await.unwrap().as_deref(), Some("GET / HTTP/1.0"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in ".{0,200}") {
            let _ = asked(&text);
        }
    }
}
