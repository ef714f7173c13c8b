//! Strict-Transport-Security (RFC 6797): what browsers make of it, and which step of a roll-out the host is on.

mod parse;
#[cfg(test)]
pub(super) mod tests;

pub use parse::{Hsts, parse};

use super::http::{Policy, Port80};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::Survey;
use crate::types::{Identifier, Printable, humane};
use http::HeaderMap;
use http::header::STRICT_TRANSPORT_SECURITY;
use std::time::Duration;

/// From here on a policy lasts long enough, in seconds: what preload lists ask for.
const YEAR: u64 = 365 * 86_400;
/// The steps of a roll-out, so that "step 2" says something.
const STEPS: &str = "(1 a short max-age, 2 a year, 3 includeSubDomains, 4 preload)";

/// What is to be said of the host's policy. Addresses have none (RFC 6797 §8.1.1).
#[must_use]
pub fn judge(policy: &Policy<'_>) -> Vec<Finding> {
    let (Identifier::Dns(host), Ok(secure)) = (policy.host, policy.secure) else { return Vec::new() };
    let first = &secure.first.head;
    let Some(value) = values(&first.headers).next() else { return absent(policy, first.status).into_iter().collect() };
    let read = match parse(value) {
        Ok(read) => read,
        Err(why) => {
            let seen = format!("Strict-Transport-Security is {}: {why}", quoted(value));
            return vec![Finding::new(Label::HstsMalformed, seen)];
        }
    };
    if let Some(other) = values(&first.headers).skip(1).find(|other| parse(other) != Ok(read)) {
        let (one, two) = (quoted(value), quoted(other));
        let seen = format!(
            "two Strict-Transport-Security fields contradict each other, and browsers take the first: {one}, then {two}"
        );
        return vec![Finding::new(Label::HstsMalformed, seen)];
    }
    if read.max_age == 0 {
        return vec![Finding::new(Label::HstsZero, format!("Strict-Transport-Security is {}", quoted(value)))];
    }
    if !policy.certificate_good {
        let lasts = span(read.max_age);
        let seen = format!(
            "{} is sent over a connection whose certificate is not good; who has been here before cannot click through for {lasts}",
            quoted(value)
        );
        return vec![Finding::new(Label::HstsIgnoredBadCert, seen)];
    }
    vec![step(policy, host, read, value)]
}

/// Whether an address sends a policy that lasts a year: the next step would bind the names below too.
#[must_use]
pub fn is_long(survey: &Survey) -> bool {
    let spoken = survey.sights.iter().filter_map(|sight| sight.http.as_ref()?.as_ref().ok());
    let mut policies = spoken.filter_map(|spoken| first(&spoken.first.head.headers));
    policies.any(|policy| policy.is_ok_and(|read| read.max_age >= YEAR))
}

/// The first of the policies sent, which is the one that browsers take.
pub(super) fn first(headers: &HeaderMap) -> Option<Result<Hsts, String>> {
    values(headers).next().map(parse)
}

/// Whether the policy itself falls short of what preload lists ask for.
pub(super) const fn amiss(read: Hsts) -> bool {
    read.max_age < YEAR || !read.subdomains
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(STRICT_TRANSPORT_SECURITY).iter().map(http::HeaderValue::as_bytes)
}

/// No policy over TLS. What an error page does not say, the page itself may.
fn absent(policy: &Policy<'_>, status: u16) -> Option<Finding> {
    let refused = policy.client_certificate_asked && matches!(status, 400 | 401 | 403 | 496);
    if status >= 500 || matches!(status, 400 | 421) || refused {
        return None;
    }
    if let Some(Ok(plain)) = policy.plain
        && let Some(value) = values(&plain.first.head.headers).next()
    {
        let seen = format!(
            "Strict-Transport-Security {} is sent on port {}, and none over TLS",
            quoted(value),
            policy.plain_port
        );
        return Some(Finding::new(Label::HstsHttpOnly, seen));
    }
    let hint = if status >= 400 { " (nginx leaves `add_header` out of errors without `always`)" } else { "" };
    let seen = format!("{} answers {status} without Strict-Transport-Security{hint}", policy.host);
    let next = format!("{} Step 1 of a roll-out {STEPS} is max-age=300.", Label::HstsMissing.advice());
    Some(Finding::new(Label::HstsMissing, seen).check(next))
}

/// The step that a policy which browsers take is on, and what stands between it and the next.
fn step(policy: &Policy<'_>, host: &str, read: Hsts, value: &[u8]) -> Finding {
    let wants = unmet(policy, host, read);
    let said = quoted(value);
    if read.preload && !wants.is_empty() {
        let seen = format!("{said} asks to be preloaded, and {}", wants.join("; "));
        return Finding::new(Label::HstsPreloadInvalid, seen);
    }
    let unseen = if policy.port_80() == Port80::Unseen { "; port 80 was not looked at" } else { "" };
    if read.preload {
        let seen = format!("{said}: step 4 of 4 {STEPS}, and every condition of preload lists holds{unseen}");
        return Finding::new(Label::HstsPreloadReady, seen).check(format!(
            "Submit {host} at hstspreload.org if you mean it: browsers take months to forget it again. {}",
            below(policy, host).1
        ));
    }
    let lasts = span(read.max_age);
    let also = if read.subdomains { ", for all names below too" } else { "" };
    if read.max_age < YEAR {
        let seen = format!("{said} lasts {lasts}{also}: step 1 of 4 {STEPS}");
        return Finding::new(Label::HstsShort, seen).check(match redirects(policy) {
            Ok(()) => format!("Ready for step 2: when {lasts} have passed without complaints, send max-age={YEAR}."),
            Err(why) => format!("Not ready for step 2, a year: {why}."),
        });
    }
    let seen = format!("{said} lasts {lasts}{also}: step {} of 4 {STEPS}", if read.subdomains { 3 } else { 2 });
    Finding::new(Label::HstsOk, seen).check(if read.subdomains {
        let wants = unmet(policy, host, Hsts { preload: true, ..read });
        let (ready, names) = below(policy, host);
        match (wants.is_empty(), ready) {
            (true, true) => format!("Ready for step 4, preload, if you want it: {names}"),
            (true, false) => format!("Not ready for step 4, preload: {names}"),
            (false, _) => format!("Not ready for step 4, preload, and nothing is lost by that: {}.", wants.join("; ")),
        }
    } else {
        let (ready, names) = below(policy, host);
        let word = if ready { "Ready" } else { "Not ready" };
        format!("{word} for step 3, includeSubDomains: {names}")
    })
}

/// The conditions of preload lists that do not hold (hstspreload.org).
fn unmet(policy: &Policy<'_>, host: &str, read: Hsts) -> Vec<String> {
    let mut wants = Vec::new();
    if read.max_age < YEAR {
        wants.push(format!("max-age is below {YEAR}"));
    }
    if !read.subdomains {
        wants.push("includeSubDomains is missing".to_owned());
    }
    match psl::domain_str(host) {
        Some(base) if base == host => {}
        Some(base) => wants.push(format!("{host} is below {base}, and only base domains are preloaded")),
        None => wants.push(format!("{host} is no domain that can be registered")),
    }
    match policy.port_80() {
        Port80::Away(target) => {
            wants.push(format!("port {} redirects to {target} and not to https://{host}/ first", policy.plain_port));
        }
        Port80::Stays(status) => {
            wants.push(format!("port {} answers {status} and does not redirect to https://{host}/", policy.plain_port));
        }
        Port80::Unseen | Port80::Closed | Port80::Unclear | Port80::SameHost => {}
    }
    wants
}

/// Whether nothing about port 80 stands against a long policy.
fn redirects(policy: &Policy<'_>) -> Result<(), String> {
    match policy.port_80() {
        Port80::Stays(status) if (200..300).contains(&status) => {
            Err(format!("port {} still serves content ({status}) and does not redirect to HTTPS", policy.plain_port))
        }
        _ => Ok(()),
    }
}

/// Whether the names below may be held to HTTPS too, as far as they are known, and in words.
fn below(policy: &Policy<'_>, host: &str) -> (bool, String) {
    let faulty: Vec<String> =
        policy.below.iter().filter_map(|it| Some(format!("{} ({})", it.name, it.fault?.as_str()))).collect();
    let unseen = format!("Hosts under {host} that nobody named cannot be seen from here.");
    let count = policy.below.len();
    let names = if count == 1 { "name" } else { "names" };
    let said = match (faulty.is_empty(), count) {
        (true, 0) => format!("once every name under {host} is served over HTTPS. {unseen}"),
        (true, 1) => format!("the 1 name known under {host} is well. {unseen}"),
        (true, _) => format!("the {count} {names} known under {host} are well. {unseen}"),
        (false, _) => {
            format!("of the {count} {names} known under {host} these fail: {}. {unseen}", faulty.join(", "))
        }
    };
    (faulty.is_empty(), said)
}

fn span(seconds: u64) -> String {
    humane(Duration::from_secs(seconds))
}

fn quoted(value: &[u8]) -> String {
    const SHOWN: usize = 160;
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned();
    format!("{:?}", Printable::new(&text).as_str())
}
