//! What is looked at, and what is asked of it.

use super::chain::Store;
use super::files::Identity;
use crate::config::spec::StartTls;
use crate::types::{Class, Failure, Identifier, KeyId, NodeName, Printable};
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;

/// What stands for the `*` of a wildcard name: the server must answer for any label.
const WILDCARD_LABEL: &str = "everleaf-check";

/// A host and perhaps a port, as typed: `HOST`, `HOST:PORT`, `IP`, `[IPv6]:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host; never a wildcard.
    pub host: Identifier,
    /// The port, when one was named.
    pub port: Option<u16>,
}

/// Why a text is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPlace(String);

impl FromStr for Place {
    type Err = InvalidPlace;

    /// Also takes `https://HOST:PORT/…`, which people paste, and a name with its root's dot.
    fn from_str(typed: &str) -> Result<Self, InvalidPlace> {
        let text = match typed.strip_prefix("https://") {
            Some(rest) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
            None => typed,
        };
        let (host, port) = split(text)?;
        let port = port.map(|port| match port.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(InvalidPlace(format!("{port:?} is no port: a number from 1 to 65535"))),
        });
        let host: Identifier = host.strip_suffix('.').unwrap_or(host).parse().map_err(|why| invalid(&why))?;
        if host.is_wildcard() {
            return Err(InvalidPlace(format!("{host} stands for any name: ask for one of them")));
        }
        Ok(Self { host, port: port.transpose()? })
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), InvalidPlace> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| InvalidPlace("the bracket is not closed".into()))?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(InvalidPlace(format!("{host:?} is no IPv6 address, and only those stand in brackets")));
        }
        return match rest {
            "" => Ok((host, None)),
            rest => {
                let port = rest.strip_prefix(':').ok_or_else(|| InvalidPlace("behind the bracket stands :PORT".into()));
                port.map(|port| (host, Some(port)))
            }
        };
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    Ok(text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))))
}

fn invalid(why: &impl fmt::Display) -> InvalidPlace {
    InvalidPlace(why.to_string())
}

/// The place that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host that is resolved, unless addresses are given.
    pub host: Identifier,
    /// The port.
    pub port: u16,
}

impl Target {
    /// `place`, at the usual port of `starttls` where it names none.
    #[must_use]
    pub fn new(place: Place, starttls: StartTls) -> Self {
        Self { port: place.port.unwrap_or(usual_port(starttls)), host: place.host }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Identifier::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Where a service is by IANA's registry.
const fn usual_port(starttls: StartTls) -> u16 {
    match starttls {
        StartTls::No => 443,
        StartTls::Smtp => 25,
        StartTls::Imap => 143,
        StartTls::Pop3 => 110,
        StartTls::Postgres => 5432,
        StartTls::Mysql => 3306,
        StartTls::Ldap => 389,
    }
}

/// An address that is looked at instead of those in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The address, or a host with addresses of its own, and its port where it is not the target's.
    pub place: Place,
    /// The node behind it, when the configuration names one.
    pub node: Option<NodeName>,
}

/// One look at one target for one name.
#[derive(Debug, Clone)]
pub struct Query {
    /// What was asked for.
    pub target: Target,
    /// Where to connect instead; empty for what DNS says.
    pub connect: Vec<Via>,
    /// The name or address that the certificate must be for.
    pub name: Identifier,
    /// Whether the name is sent (SNI). An address never is.
    pub send_name: bool,
    /// What comes before TLS.
    pub starttls: StartTls,
    /// The trust stores, at least one.
    pub stores: Rc<[Store]>,
    /// Keys of which the chain must hold one; none where nobody asked.
    pub pins: Rc<[KeyId]>,
    /// Further names that this place may serve: asked for where the certificate is not for `name`.
    pub others: Rc<[Identifier]>,
    /// Where to look for what redirects to HTTPS; none for port 80 beside port 443.
    pub http_port: Option<u16>,
    /// One handshake an address and nothing more.
    pub quick: bool,
    /// Whether to fetch the CRLs that the certificates point to.
    pub crl: bool,
    /// The client's certificate, for servers that ask for one.
    pub client: Option<Rc<Identity>>,
    /// From where it is looked.
    pub vantage: Printable,
}

impl Query {
    /// What is sent as SNI, when anything is.
    #[must_use]
    pub fn sni(&self) -> Option<&Identifier> {
        (self.send_name && matches!(self.name, Identifier::Dns(_))).then_some(&self.name)
    }
}

impl fmt::Display for Query {
    /// The target, and the name where it is another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)?;
        if self.name == self.target.host { Ok(()) } else { write!(f, " ({})", self.name) }
    }
}

/// The name to ask for. An address is never sent as SNI (RFC 6066 §3).
pub(super) fn server_name(sni: &Identifier) -> Result<ServerName<'static>, Failure> {
    let host = match sni {
        Identifier::Ip(address) => return Ok(ServerName::IpAddress((*address).into())),
        Identifier::Dns(name) if sni.is_wildcard() => format!("{WILDCARD_LABEL}.{}", name.trim_start_matches("*.")),
        Identifier::Dns(name) => name.clone(),
    };
    ServerName::try_from(host)
        .map_err(|_| Failure::new(Class::Spec, "probe:name", sni.to_string(), "the name cannot be asked for in TLS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Target::new(text.parse().expect(text), StartTls::No).to_string()
    }

    #[test]
    fn whatever_people_type_is_a_target() {
        for (typed, target) in [
            ("shop.example.com", "shop.example.com:443"),
            ("Shop.Example.com.:8443", "shop.example.com:8443"),
            ("bücher.example", "xn--bcher-kva.example:443"),
            ("https://shop.example.com:444/cart?x#y", "shop.example.com:444"),
            ("192.0.2.1", "192.0.2.1:443"),
            ("192.0.2.1:25", "192.0.2.1:25"),
            ("2001:db8::1", "[2001:db8::1]:443"),
            ("[2001:DB8::1]", "[2001:db8::1]:443"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("localhost:1", "localhost:1"),
        ] {
            assert_eq!(shown(typed), target, "{typed}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for typed in [
            "",
            ":443",
            "a:0",
            "a:65536",
            "a:b",
            "a:",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "[a]:1",
            "*.a.org",
            "a b",
            "a..b",
            "http://a",
            "a/b",
            "-a",
        ] {
            assert!(typed.parse::<Place>().is_err(), "{typed:?}");
        }
    }

    #[test]
    fn each_service_has_its_port_and_each_target_is_read_back() {
        let port = |starttls| Target::new("a.org".parse().expect("a place"), starttls).port;
        assert_eq!(StartTls::WORDS.map(|(_, kind)| port(kind)), [443, 25, 143, 110, 5432, 3306, 389]);
        for typed in ["a.org:25", "[::1]:443", "127.0.0.1:9"] {
            assert_eq!(shown(typed), typed);
        }
    }
}
