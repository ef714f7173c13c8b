//! What a certificate is for: DNS names, wildcards, IP addresses.

use super::{Digest, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An ACME identifier (RFC 8555 §9.7.7, RFC 8738): a DNS name in A-labels and lower case, possibly with `*.` before it, or an IP address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identifier {
    /// A DNS name, A-labels, lower case, no trailing dot; `*.` first for a wildcard.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// Nothing there.
    #[error("a name must not be empty")]
    Empty,
    /// `*` anywhere but as the whole leftmost label.
    #[error("{0:?}: a wildcard is `*.` before a name, and nothing else")]
    Wildcard(String),
    /// UTS 46 processing failed.
    #[error("{0:?} is not a valid internationalised domain name")]
    Idn(String),
    /// A label is empty, too long, or holds a character no host name has.
    #[error("{0:?} is not a valid host name: {1}")]
    Label(String, &'static str),
}

/// RFC 1035 §2.3.4, without the root's length octet.
const MAX_DNS_NAME: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_DNS_LABEL: usize = 63;

impl Identifier {
    /// Whether this is a wildcard name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }

    /// The name that is validated: without `*.` for a wildcard. IP addresses as text.
    #[must_use]
    pub fn base(&self) -> String {
        match self {
            Self::Dns(name) => name.strip_prefix("*.").unwrap_or(name).to_owned(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// The digest of an exact set of names, in whatever order.
    #[must_use]
    pub fn set_digest(names: &[Self]) -> Digest {
        let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        sha256(&[names.into_iter().collect::<Vec<_>>().join(",").as_bytes()])
    }

    /// Whether a certificate with this SAN is good for `asked` (RFC 6125 §6.4.3: a wildcard stands for exactly one label). Directly
    /// below a top-level name no wildcard counts, as OpenSSL, NSS and webpki have it.
    #[must_use]
    pub fn covers(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Dns(have), Self::Dns(want)) if have != want => have
                .strip_prefix("*.")
                .zip(want.split_once('.'))
                .is_some_and(|(base, (label, rest))| label != "*" && base == rest && base.contains('.')),
            (have, want) => have == want,
        }
    }
}

impl FromStr for Identifier {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        if text.is_empty() {
            return Err(InvalidIdentifier::Empty);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        let shown = || text.chars().take(MAX_DNS_NAME).collect::<String>();
        let (star, base) = text.strip_prefix("*.").map_or(("", text), |base| ("*.", base));
        if base.contains('*') {
            return Err(InvalidIdentifier::Wildcard(shown()));
        }
        // Said apart from what IDNA refuses, so that the message names the very thing that is wrong.
        if base.is_ascii() && !base.to_ascii_lowercase().contains("xn--") {
            let lower = base.to_ascii_lowercase();
            host_name(&lower).map_err(|why| InvalidIdentifier::Label(shown(), why))?;
            return Ok(Self::Dns(format!("{star}{lower}")));
        }
        let ascii = idna::domain_to_ascii_cow(base.as_bytes(), idna::AsciiDenyList::STD3)
            .map_err(|_| InvalidIdentifier::Idn(shown()))?;
        host_name(&ascii).map_err(|why| InvalidIdentifier::Label(shown(), why))?;
        Ok(Self::Dns(format!("{star}{ascii}")))
    }
}

fn host_name(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_DNS_NAME {
        return Err("longer than 253 characters");
    }
    if name.ends_with('.') {
        return Err("write it without the trailing dot");
    }
    for label in name.split('.') {
        match label.as_bytes() {
            [] => return Err("a label is empty"),
            bytes if bytes.len() > MAX_DNS_LABEL => return Err("a label is longer than 63 characters"),
            [b'-', ..] | [.., b'-'] => return Err("a label begins or ends with a hyphen"),
            bytes if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') => {
                return Err("a label holds a character other than a letter, a digit or a hyphen");
            }
            _ => {}
        }
    }
    match name.rsplit('.').next() {
        Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => {
            Err("the last label is a number, and this is no IP address")
        }
        _ => Ok(()),
    }
}

impl TryFrom<String> for Identifier {
    type Error = InvalidIdentifier;
    fn try_from(text: String) -> Result<Self, InvalidIdentifier> {
        text.parse()
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> Self {
        identifier.to_string()
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.pad(name),
            Self::Ip(address) => f.pad(&address.to_string()),
        }
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identifier {
        text.parse().expect(text)
    }

    #[test]
    fn idn_becomes_a_labels_and_case_is_folded() {
        assert_eq!(id("Bücher.Example").to_string(), "xn--bcher-kva.example");
        assert_eq!(id("*.EXAMPLE.org").to_string(), "*.example.org");
        assert_eq!(id("2001:DB8::1").to_string(), "2001:db8::1");
        assert_eq!(id("localhost").to_string(), "localhost");
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", "*", "*.*.a", "a.*.b", "-a.b", "a-.b", "a..b", "a b", "a_b.c", "1.2.3.400", "a.b.", "../x", &long]
        {
            assert!(bad.parse::<Identifier>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(id("*.a.org").covers(&id("b.a.org")));
        for not in ["a.org", "c.b.a.org", "b.x.org"] {
            assert!(!id("*.a.org").covers(&id(not)), "{not}");
        }
        assert!(!id("*.org").covers(&id("a.org")));
        assert!(id("10.0.0.1").covers(&id("10.0.0.1")));
    }
}
