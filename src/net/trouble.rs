//! Why an HTTP exchange failed, in words: what the network said, who it may have been, what to do.

use super::http::Options;
use crate::types::{Class, Failure, Timestamp, humane};
use reqwest::Url;
use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use std::error::Error;
use std::io;

/// What to do about a passing failure of the network.
const IF_IT_LASTS: &str = "If it lasts, check the route, the firewall, HTTPS_PROXY if there is one, and the server's \
                           status page.";

/// The failure of a request to `url`.
pub(super) fn failure(url: &Url, error: &reqwest::Error, options: &Options) -> Failure {
    let why = chain(error);
    let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let cut = || causes(error).any(is_end);
    let passing = |code: &str, message: String, advice: &str| {
        Failure::new(Class::Retry, code, url.as_str(), message).advise(advice)
    };
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let (message, advice) = untrusted(why);
            let message = format!("the server's own certificate {message}");
            Failure::new(Class::Operator, "net:tls", url.as_str(), message).advise(advice)
        }
        Some(rustls::Error::InvalidMessage(_)) => passing(
            "net:tls",
            format!("what answers there does not speak TLS: {why}"),
            "Check the URL's port and who answers at this address.",
        ),
        Some(rustls::Error::PeerIncompatible(_)) => passing(
            "net:tls",
            format!("no version or cipher of TLS is common to both sides: {why}"),
            "The server must speak TLS 1.2 or 1.3; check who answers at this address.",
        ),
        Some(_) => passing("net:tls", format!("TLS failed: {why}"), IF_IT_LASTS),
        None if error.is_timeout() => {
            let message = format!("no connection within {}", humane(options.connect));
            passing("net:timeout", message, IF_IT_LASTS)
        }
        None if error.is_dns() => passing(
            "net:dns",
            format!("the host's address cannot be found: {why}"),
            "Check the host name and this machine's resolvers.",
        ),
        None if error.is_connect() && cut() => {
            passing("net:connect", "the connection was closed during the TLS handshake".to_owned(), IF_IT_LASTS)
        }
        None if error.is_connect() => passing("net:connect", format!("cannot connect: {why}"), IF_IT_LASTS),
        None => passing("net:closed", format!("no whole reply came: {why}"), IF_IT_LASTS),
    }
}

/// No whole reply came in time.
pub(super) fn too_slow(place: &str, options: &Options) -> Failure {
    let message = format!("no complete reply within {}", humane(options.request));
    Failure::new(Class::Retry, "net:timeout", place, message).advise(IF_IT_LASTS)
}

/// What is wrong with a server's own certificate, and what to do.
fn untrusted(why: &CertificateError) -> (String, &'static str) {
    let day = |time: &UnixTime| {
        let secs = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_secs(secs).to_string()
    };
    let clock = "Check this machine's clock; if it is right, the server's operator must renew the certificate.";
    match why {
        CertificateError::ExpiredContext { not_after, .. } => (format!("expired at {}", day(not_after)), clock),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("is valid only from {}", day(not_before)), clock)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("is for another name: {why}"),
            "Check the URL, what its name resolves to, and who answers at this address.",
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "is not signed by a root that is trusted here".to_owned(),
            "For a private CA name its root as `ca_bundle`; else something intercepts the connection, or this machine's \
             root certificates are too old.",
        ),
        _ => (format!("is not trusted: {why}"), "Check who answers at this address."),
    }
}

fn is_end(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        // An I/O error's source is that of the error it carries: without this, the carried one would be skipped.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried as _),
            None => error.source(),
        }
    })
}

/// The innermost causes say why; the HTTP client's own words only repeat the URL and which part of it met them.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    const LAYERS: [&str; 5] = ["client error (", "tcp connect error", "connection error", "dns error", "http2 error"];
    let mut words: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    words.dedup();
    if let Some(last) = words.pop() {
        words.retain(|word| !LAYERS.iter().any(|layer| word.starts_with(layer)));
        words.push(last);
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}
