//! One POST, signed, whose URL is a secret.

use crate::net::header;
use crate::net::http::{Http, Reply, Request};
use crate::types::{Class, Failure, Secret};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use std::time::Duration;

/// The header with the body's HMAC: `sha256=` and lower-case hexadecimal, as GitHub's webhooks do it.
pub const SIGNATURE: &str = "x-everleaf-signature";

/// A shorter path guards nothing, and could be part of any word.
const LEAST_CAPABILITY: usize = 6;
/// What is kept of a refusal's body: receivers say there what they did not like.
const MAX_REASON: usize = 300;
/// The longest wait a receiver may ask for: a notice that is a day old is told anew anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Posts `body`. Any 2xx is a success.
///
/// # Errors
/// Code `webhook:STATUS`: class `Retry` for 408, 429 and 5xx, with what `Retry-After` asked for, `Operator` otherwise; or the
/// network's `net:*`. The URL stands in none of them.
pub(super) async fn post(
    http: &Http,
    url: &Secret,
    key: Option<&Secret>,
    body: String,
    place: &str,
) -> Result<(), Failure> {
    let mut request = Request::new(Method::POST, url.reveal());
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = key {
        request.headers.insert(SIGNATURE, signature(key, body.as_bytes(), place)?);
    }
    request.body = Bytes::from(body);
    let reply = http.send(request).await.map_err(|failure| anonymous(&failure, url, place))?;
    judge(&reply, url, place)
}

fn signature(key: &Secret, body: &[u8], place: &str) -> Result<HeaderValue, Failure> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()), body);
    HeaderValue::from_str(&format!("sha256={}", data_encoding::HEXLOWER.encode(tag.as_ref())))
        .map_err(|error| Failure::new(Class::Operator, "webhook:signature", place, error.to_string()))
}

fn judge(reply: &Reply, url: &Secret, place: &str) -> Result<(), Failure> {
    let status = reply.status;
    let class = match status {
        200..=299 => return Ok(()),
        408 | 429 | 500..=599 => Class::Retry,
        _ => Class::Operator,
    };
    let failure =
        Failure::new(class, format!("webhook:{status}"), place, format!("the receiver answered with status {status}"))
            .advise("look whether the URL in its file is still valid")
            .wait(header::retry_after(&reply.headers, None).map(|wait| wait.min(LONGEST_WAIT)));
    let reason: String = String::from_utf8_lossy(&reply.body).chars().take(MAX_REASON).collect();
    Err(if reason.trim().is_empty() { failure } else { failure.detail(without(reason.trim(), url)) })
}

/// The same failure at `place`, with the URL taken out.
pub(super) fn anonymous(failure: &Failure, url: &Secret, place: &str) -> Failure {
    let anonymous = Failure::new(failure.class, &*failure.code, place, without(failure.message.as_str(), url))
        .advise(without(failure.advice.as_str(), url))
        .wait(failure.retry_after);
    failure.details.iter().fold(anonymous, |anonymous, line| anonymous.detail(without(line.as_str(), url)))
}

/// `text` without the URL, and without the part of it that is the capability.
fn without(text: &str, url: &Secret) -> String {
    let text = text.replace(url.reveal(), "(the URL)");
    let rest = url.reveal().split_once("://").map_or("", |(_, rest)| rest);
    match rest.split_once('/') {
        Some((_, path)) if path.len() >= LEAST_CAPABILITY => text.replace(path, "…"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_no_part_of_the_capability() {
        let url = Secret::new("https://hooks.example.com/services/T0/s3cret".to_owned());
        let told = Failure::new(Class::Retry, "net:dns", url.reveal(), format!("cannot reach {}", url.reveal()))
            .advise("ask /services/T0/s3cret")
            .detail("services/T0/s3cret?");
        let shown = format!("{:?}", anonymous(&told, &url, "notifier ops"));
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("notifier ops") && shown.contains("net:dns"), "{shown}");
    }
}
