//! What a CA sends, or whoever answers in its place.

use super::said;
use bytes::Bytes;
use everleaf::acme::{Exchange, offers, refusal, renewal_info};
use everleaf::net::header;
use everleaf::net::http::Plain;
use everleaf::pki;
use everleaf::types::{Failure, Secret};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// No server can ask for a longer wait.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A reply with this body. Its status is taken from the body's length, so that every class of them is met.
fn reply(status: u16, body: &[u8]) -> Exchange {
    let mut headers = headers("retry-after", body.split(|byte| *byte == b'\n').next().unwrap_or_default());
    headers.extend(self::headers("link", body));
    Exchange { url: "https://ca.example/order/1".to_owned(), status, headers, body: Bytes::copy_from_slice(body) }
}

fn headers(name: &'static str, value: &[u8]) -> HeaderMap {
    let value = HeaderValue::from_bytes(value).ok();
    value.map(|value| (HeaderName::from_static(name), value)).into_iter().collect()
}

fn refused(failure: &Failure) {
    said::failure(failure);
    assert!(failure.retry_after.is_none_or(|wait| wait <= YEAR), "{failure:?}");
}

pub(crate) fn problem(body: &[u8]) {
    for status in [400, 403, 429, 500, 503] {
        refused(&refusal(&reply(status, body)));
    }
}

pub(crate) fn directory(body: &[u8]) {
    match offers(&reply(200, body), Plain::Never) {
        Ok(offers) => {
            assert!(offers.profiles.len() <= 32, "{} profiles are kept", offers.profiles.len());
            for (name, description) in &offers.profiles {
                said::line(name);
                said::printable(description);
            }
            offers.terms.iter().for_each(|terms| said::line(terms));
            said::again(&offers);
        }
        Err(failure) => refused(&failure),
    }
}

pub(crate) fn ari(body: &[u8]) {
    for status in [200, 404, 503] {
        match renewal_info(&reply(status, body)) {
            Ok(info) => {
                assert!(info.window.start < info.window.end, "{:?}", info.window);
                assert!(MINUTE <= info.retry_after && info.retry_after <= DAY, "{:?}", info.retry_after);
                info.explanation.iter().for_each(said::printable);
                said::again(&info);
            }
            Err(failure) => refused(&failure),
        }
    }
}

/// Three lines: `Retry-After`, `Date`, and nothing.
pub(crate) fn retry_after(lines: &[u8]) {
    let mut lines = lines.split(|byte| *byte == b'\n');
    let mut sent = headers("retry-after", lines.next().unwrap_or_default());
    sent.extend(headers("date", lines.next().unwrap_or_default()));
    for now in [None, Some(0), Some(1_795_341_600), Some(i64::MAX), Some(i64::MIN)] {
        let wait = header::retry_after(&sent, now);
        assert!(wait.is_none_or(|wait| wait <= YEAR), "{wait:?}");
    }
    let _ = header::date(&sent);
}

/// A `Link` header a line.
pub(crate) fn link(text: &[u8]) {
    let mut sent = HeaderMap::new();
    for value in text.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).take(64) {
        sent.append("link", value);
    }
    for relation in ["alternate", "help", "up", ""] {
        let targets = header::links(&sent, relation);
        assert!(targets.len() <= 4, "{} links are followed", targets.len());
        let text = String::from_utf8_lossy(text);
        assert!(targets.iter().all(|target| text.contains(&format!("<{target}>"))), "{targets:?} are not in it");
    }
}

pub(crate) fn chain(pem: &[u8]) {
    match pki::parse::chain(pem) {
        Ok(chain) => {
            assert!((1..=pki::MAX_CERTIFICATES).contains(&chain.len()), "{} certificates", chain.len());
            assert!(pem.len() <= pki::MAX_CHAIN_BYTES, "{} bytes are read", pem.len());
            for certificate in &chain {
                let alone = pki::parse::chain(certificate.pem().as_bytes()).expect("it is read again");
                assert_eq!(alone[0].fingerprint(), certificate.fingerprint(), "what is written is what was read");
                about(certificate);
            }
        }
        Err(failure) => refused(&failure),
    }
}

pub(crate) fn certificate(der: &[u8]) {
    match pki::Certificate::from_der(der) {
        Ok(certificate) => about(&certificate),
        Err(why) => said::line(&why.to_string()),
    }
}

fn about(certificate: &pki::Certificate) {
    assert!(certificate.validity().start <= certificate.validity().end || certificate.validity().width().is_zero());
    certificate.other_names().iter().for_each(said::printable);
    said::printable(certificate.issuer());
    said::line(certificate.serial().as_str());
    certificate.names().iter().for_each(|name| said::line(&name.to_string()));
    if let Some(id) = certificate.ari_id() {
        said::line(&id);
    }
}

/// What says why a key cannot be used quotes nothing of it.
pub(crate) fn no_secret(failure: &Failure, content: &str) {
    let said = format!("{failure:?}");
    for word in content.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 24) {
        assert!(!said.contains(word), "{said} quotes it");
    }
}

pub(crate) fn key(pem: &str) {
    if let Err(failure) = pki::key::id_of(&Secret::new(pem.to_owned())) {
        refused(&failure);
        no_secret(&failure, pem);
    }
}
