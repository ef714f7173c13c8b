//! From where it is looked: this machine, or one that ssh reaches.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The scheme of a machine that ssh reaches.
const SCHEME: &str = "ssh://";
/// This machine, as it is written.
const HERE: &str = "here";
/// The longest user or host; a host name has at most 253 (RFC 1035 §2.3.4).
const MAX_WORD: usize = 253;

/// From where it is looked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// From this machine.
    #[default]
    Here,
    /// From a machine that ssh reaches.
    Ssh(SshHost),
}

/// A machine as ssh knows it: a host of DNS, an address, or an alias of ssh's own configuration. Nothing in it can be taken for an
/// option or be read by a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshHost {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text is no vantage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidVantage(String);

impl SshHost {
    /// Who logs in there, where that is said.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What comes after `ssh` when a person logs in there.
    #[must_use]
    pub fn typed(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{port}{user}{}", self.host)
    }

    /// Its port, where that is said.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Vantage {
    type Err = InvalidVantage;

    fn from_str(text: &str) -> Result<Self, InvalidVantage> {
        if text == HERE { Ok(Self::Here) } else { text.parse().map(Self::Ssh) }
    }
}

impl FromStr for SshHost {
    type Err = InvalidVantage;

    fn from_str(text: &str) -> Result<Self, InvalidVantage> {
        let invalid = |why: &str| InvalidVantage(format!("{why}: write ssh://[USER@]HOST[:PORT], or {HERE}"));
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| invalid("it does not begin with ssh://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let (host, port) = match place.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or_else(|| invalid("the bracket is not closed"))?;
                host.parse::<Ipv6Addr>().map_err(|_| invalid("only an IPv6 address stands in brackets"))?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or_default()) })
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|text| match text.parse() {
            Ok(port @ 1..) if !text.starts_with('+') => Ok(port),
            _ => Err(invalid(&format!("{text:?} is no port, a number from 1 to 65535"))),
        });
        if let Some(user) = user.filter(|user| !is_word(user, &[])) {
            return Err(invalid(&format!("{user:?} is no user's name")));
        }
        if !is_word(host, if place.starts_with('[') { &[':'] } else { &[] }) {
            return Err(invalid(&format!("{host:?} is no host")));
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port: port.transpose()? })
    }
}

/// Whether `text` is a word for every shell, and no option.
fn is_word(text: &str, more: &[char]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || more.contains(&c);
    !text.is_empty() && text.len() <= MAX_WORD && !text.starts_with('-') && text.chars().all(plain)
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str(HERE),
            Self::Ssh(host) => host.fmt(f),
        }
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vantages_are_read_back_as_they_are_shown() {
        for text in
            ["here", "ssh://edge", "ssh://ops@edge-1.example.com:2222", "ssh://[::1]", "ssh://a@[2001:db8::1]:22"]
        {
            assert_eq!(text.parse::<Vantage>().map(|it| it.to_string()), Ok(text.to_owned()));
        }
        let read: SshHost = "ssh://ops@[::1]:2222/".parse().unwrap();
        assert_eq!((read.user(), read.host(), read.port()), (Some("ops"), "::1", Some(2222)));
    }

    #[test]
    fn nothing_that_ssh_or_a_shell_could_take_for_something_else_is_a_vantage() {
        for text in [
            "",
            "edge",
            "ssh://",
            "ssh:///",
            "ssh://-oProxyCommand=x",
            "ssh://-l@edge",
            "ssh://@edge",
            "ssh://edge:",
            "ssh://edge:0",
            "ssh://edge:65536",
            "ssh://edge:+22",
            "ssh://edge:22:22",
            "ssh://edge/path",
            "ssh://edge;id",
            "ssh://$(id)",
            "ssh://a b",
            "ssh://a%h",
            "ssh://a\nb",
            "ssh://[::1",
            "ssh://[edge]",
            "ssh://[::1]x",
            "ssh://::1",
            "ssh://a@b@c",
            "https://edge",
            "ssh://ed\u{202e}ge",
        ] {
            assert!(text.parse::<Vantage>().is_err(), "{text:?}");
        }
    }
}
