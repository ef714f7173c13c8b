//! Renewal information (RFC 9773 §4): a plain GET, status first, and a wait for every kind of answer.

use super::directory::Directory;
use super::problem::Refusal;
use super::wire::{Exchange, Wire};
use crate::ports::RenewalInfo;
use crate::types::{Class, Failure, Printable, Timestamp, Window};
use serde::Deserialize;
use std::time::Duration;

/// All a look at renewal information may take, the directory included: it must never hold up a run.
pub(super) const BUDGET: Duration = Duration::from_secs(10);
/// How long one silence answers for every certificate: the first of its own waits is as long.
pub(super) const SILENCE_SHARED: Duration = Duration::from_secs(60);
/// The bounds of Retry-After (RFC 9773 §4.3.2).
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);
/// When to ask again after an answer that is no use (RFC 9773 §4.3.3).
const AFTER_NONSENSE: Duration = Duration::from_secs(6 * 3600);
/// The longest certificate id: 20 octets of key id and 21 of serial number, with room.
const LONGEST_ID: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    suggested_window: RawWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct RawWindow {
    start: String,
    end: String,
}

/// Asks for the window of the certificate with this id.
///
/// # Errors
/// `ari:unsupported`, `ari:invalid`, or what came instead; `retry_after` says when to ask again, `None` means backoff.
pub(super) async fn fetch(wire: &Wire, directory: &Directory, certificate: &str) -> Result<RenewalInfo, Failure> {
    let Some(base) = &directory.renewal_info else {
        return Err(Failure::new(Class::Retry, "ari:unsupported", certificate, "this CA has no renewal information")
            .wait(Some(LONGEST)));
    };
    if !is_certificate_id(certificate) {
        return Err(Failure::new(Class::Operator, "ari:id", certificate, "this is no ARI certificate id")
            .wait(Some(AFTER_NONSENSE)));
    }
    let exchange = wire.get(&format!("{}/{certificate}", base.trim_end_matches('/'))).await?;
    renewal_info(&exchange)
}

/// When to ask again after `failure`: a passing one (silence, 5xx) by backoff, any other in six hours, and never before the
/// CA's own Retry-After.
pub(super) fn paced(failure: Failure) -> Failure {
    let passing = failure.code == "net:timeout"
        || failure.code.starts_with("acme:http5")
        || failure.code == "acme:serverInternal";
    let wait = match failure.retry_after {
        Some(asked) => Some(asked.clamp(SHORTEST, LONGEST)),
        None if passing => None,
        None => Some(AFTER_NONSENSE),
    };
    failure.wait(wait)
}

/// What is said when the budget is used up.
pub(super) fn too_slow(certificate: &str) -> Failure {
    Failure::new(Class::Retry, "net:timeout", certificate, "no renewal information within 10 s")
}

/// What a reply to a request for renewal information says (RFC 9773 §4.2), its wait clamped to between a minute and a day.
///
/// # Errors
/// `ari:invalid` when a success cannot be used, such as a window that ends before it begins; else the refusal.
pub fn renewal_info(exchange: &Exchange) -> Result<RenewalInfo, Failure> {
    if exchange.refused() {
        let mut failure = Refusal::read(exchange).failure;
        // Any 5xx is passing here, whatever its problem document says.
        if exchange.status >= 500 && failure.retry_after.is_none() {
            failure.code = format!("acme:http{}", exchange.status);
        }
        return Err(failure);
    }
    let invalid = |why: &str| {
        Failure::new(Class::Retry, "ari:invalid", &exchange.url, format!("the renewal information is unusable: {why}"))
            .wait(Some(AFTER_NONSENSE))
    };
    let raw: Raw = serde_json::from_slice(&exchange.body).map_err(|error| invalid(&error.to_string()))?;
    let instant = |text: &str| text.parse::<Timestamp>().map_err(|error| invalid(&error.to_string()));
    let (start, end) = (instant(&raw.suggested_window.start)?, instant(&raw.suggested_window.end)?);
    let window = Window::new(start, end).ok_or_else(|| invalid("its window ends before it begins"))?;
    let retry_after = exchange.retry_after().map_or(AFTER_NONSENSE, |asked| asked.clamp(SHORTEST, LONGEST));
    Ok(RenewalInfo { window, retry_after, explanation: raw.explanation_url.as_deref().map(Printable::from) })
}

/// base64url "." base64url (RFC 9773 §4.1): nothing else may become part of a URL.
fn is_certificate_id(text: &str) -> bool {
    let base64url =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    text.len() <= LONGEST_ID && text.split_once('.').is_some_and(|(aki, serial)| base64url(aki) && base64url(serial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Result<RenewalInfo, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", HeaderValue::from_str(value).expect("a value"));
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        renewal_info(&Exchange { url: "https://ca.test/ari/a.b".into(), status, headers, body }).map_err(paced)
    }

    const WINDOW: &str = r#"{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"},
        "explanationURL":"https://ca.test/why\u001b[31m"}"#;

    #[test]
    fn a_window_with_its_pace_clamped() {
        for (asked, paced) in [(Some("21600"), 21_600), (Some("1"), 60), (Some("9999999"), 86_400), (None, 21_600)] {
            let info = answer(200, asked, WINDOW).expect("a window");
            assert_eq!(info.retry_after.as_secs(), paced, "{asked:?}");
            assert_eq!(info.window.width(), Duration::from_secs(86_400));
            assert_eq!(info.explanation, Some(Printable::new("https://ca.test/why[31m")));
        }
    }

    #[test]
    fn the_status_is_looked_at_first_and_sets_the_pace() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"no such certificate"}"#;
        let failure = answer(404, None, problem).expect_err("refused");
        assert_eq!((failure.code.as_str(), failure.retry_after), ("acme:malformed", Some(AFTER_NONSENSE)));
        let failure = answer(503, None, "<html>busy</html>").expect_err("refused");
        assert_eq!((failure.code.as_str(), failure.retry_after), ("acme:http503", None), "backoff");
        let failure = answer(500, None, problem).expect_err("refused");
        assert_eq!(failure.retry_after, None, "backoff");
        let busy = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"Service busy; retry later"}"#;
        let failure = answer(429, Some("5"), busy).expect_err("refused");
        assert_eq!((failure.code.as_str(), failure.retry_after), ("acme:rateLimited", Some(SHORTEST)));
    }

    #[test]
    fn nonsense_is_no_answer() {
        let inverted = r#"{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}}"#;
        let empty = r#"{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-02T00:00:00Z"}}"#;
        for bad in ["", "{", "[]", "{}", inverted, empty, r#"{"suggestedWindow":{"start":"soon","end":"later"}}"#] {
            let failure = answer(200, Some("60"), bad).expect_err(bad);
            assert_eq!((failure.code.as_str(), failure.retry_after), ("ari:invalid", Some(AFTER_NONSENSE)), "{bad}");
        }
    }

    #[test]
    fn only_a_certificate_id_becomes_part_of_a_url() {
        assert!(is_certificate_id("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
        for bad in ["", "a", ".", "a.", "a.b.c", "../a.b", "a.b?c", "a.b/..", &format!("{}.b", "a".repeat(300))] {
            assert!(!is_certificate_id(bad), "{bad}");
        }
    }
}
