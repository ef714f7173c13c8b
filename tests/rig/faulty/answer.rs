//! An HTTP answer, to be made up or changed.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// Stands for a nonce that Pebble gives out at the moment of the answer.
const FRESH: &str = "(fresh)";

/// An answer. `Content-Length` and `Connection` are written when it is sent, unless it names them itself.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// An answer with this body and no further headers.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// A problem document of ACME's own type `kind`, with a nonce.
    pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status});
        Self::new(status, body.to_string()).with("Content-Type", "application/problem+json").fresh_nonce()
    }

    /// A page that people were meant to see.
    pub(crate) fn html(status: u16, text: &str) -> Self {
        Self::new(status, format!("<!DOCTYPE html>\n<html><body><h1>{text}</h1></body></html>\n"))
            .with("Content-Type", "text/html; charset=utf-8")
    }

    /// Adds a header, in place of what it had.
    pub(crate) fn with(self, name: &str, value: impl Into<String>) -> Self {
        let mut answer = self.without(name);
        answer.headers.push((name.to_owned(), value.into()));
        answer
    }

    /// Takes a header away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// With a nonce that Pebble has just given out.
    pub(crate) fn fresh_nonce(self) -> Self {
        self.with("Replay-Nonce", FRESH)
    }

    /// Another body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Its JSON body, changed. An answer without one stays as it is.
    pub(crate) fn json(self, change: impl FnOnce(&mut Value)) -> Self {
        let Ok(mut value) = serde_json::from_slice(&self.body) else { return self };
        change(&mut value);
        self.body(value.to_string())
    }

    /// With its nonce fetched by `fetch`, where a fresh one was asked for.
    pub(super) fn settled(self, fetch: impl FnOnce() -> Option<String>) -> Self {
        if self.header("Replay-Nonce") != Some(FRESH) {
            return self;
        }
        match fetch() {
            Some(nonce) => self.with("Replay-Nonce", nonce),
            None => self.without("Replay-Nonce"),
        }
    }

    /// Status line and headers, with the empty line at their end.
    pub(super) fn head(&self, stays: bool) -> String {
        let mut text = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if self.header("Content-Length").is_none() {
            let _ = write!(text, "Content-Length: {}\r\n", self.body.len());
        }
        text.push_str(if stays { "\r\n" } else { "Connection: close\r\n\r\n" });
        text
    }
}
