//! Name constraints (RFC 5280 §4.2.1.10): which names a CA may issue for.

use super::parse::address;
use crate::types::Identifier;
use std::fmt;
use std::net::IpAddr;
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

/// What a CA certificate says about the names below it. DNS names and addresses only: nothing else matters to TLS clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Constraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

/// A part of the name space.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subtree {
    /// A domain and all below it; with a leading dot only what lies below.
    Domain(String),
    /// A network: address and mask, of the same length.
    Network(Vec<u8>, Vec<u8>),
}

impl Constraints {
    pub(super) fn new(parsed: &NameConstraints<'_>) -> Self {
        let read = |trees: &Option<Vec<GeneralSubtree<'_>>>| {
            trees.iter().flatten().filter_map(|tree| Subtree::new(&tree.base)).collect()
        };
        Self { permitted: read(&parsed.permitted_subtrees), excluded: read(&parsed.excluded_subtrees) }
    }

    /// Why `name` may not be issued for: what follows "which"; `None` when it may.
    pub(crate) fn refuse(&self, name: &Identifier) -> Option<String> {
        if let Some(tree) = self.excluded.iter().find(|tree| tree.holds(name)) {
            return Some(format!("excludes {tree}"));
        }
        let permitted: Vec<&Subtree> = self.permitted.iter().filter(|tree| tree.is_kind_of(name)).collect();
        if permitted.is_empty() || permitted.iter().any(|tree| tree.holds(name)) {
            return None;
        }
        let listed: Vec<String> = permitted.iter().take(LISTED).map(ToString::to_string).collect();
        Some(format!("permits only {}", listed.join(", ")))
    }
}

/// Subtrees named in one message.
const LISTED: usize = 5;

impl Subtree {
    fn new(base: &GeneralName<'_>) -> Option<Self> {
        match base {
            GeneralName::DNSName(domain) => Some(Self::Domain(domain.to_ascii_lowercase())),
            GeneralName::IPAddress(octets) if matches!(octets.len(), 8 | 32) => {
                let (network, mask) = octets.split_at(octets.len() / 2);
                Some(Self::Network(network.to_vec(), mask.to_vec()))
            }
            _ => None,
        }
    }

    fn is_kind_of(&self, name: &Identifier) -> bool {
        matches!((self, name), (Self::Domain(_), Identifier::Dns(_)) | (Self::Network(..), Identifier::Ip(_)))
    }

    fn holds(&self, name: &Identifier) -> bool {
        match (self, name) {
            (Self::Domain(domain), Identifier::Dns(name)) => {
                domain.is_empty()
                    || name == domain
                    || name
                        .strip_suffix(domain.as_str())
                        .is_some_and(|rest| domain.starts_with('.') || rest.ends_with('.'))
            }
            (Self::Network(network, mask), Identifier::Ip(address)) => {
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                let masked =
                    |octets: &[u8]| octets.iter().zip(mask).map(|(octet, mask)| octet & mask).collect::<Vec<_>>();
                octets.len() == network.len() && masked(&octets) == masked(network)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) if domain.is_empty() => f.write_str("every domain"),
            Self::Domain(domain) => write!(f, "{domain:?}"),
            Self::Network(network, mask) => {
                let bits: u32 = mask.iter().map(|octet| octet.count_ones()).sum();
                let network = address(network).map_or_else(|| "a network".to_owned(), |address| address.to_string());
                write!(f, "{network}/{bits}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraints(permitted: &[GeneralName<'_>], excluded: &[GeneralName<'_>]) -> Constraints {
        let read = |bases: &[GeneralName<'_>]| bases.iter().filter_map(Subtree::new).collect();
        Constraints { permitted: read(permitted), excluded: read(excluded) }
    }

    #[test]
    fn domains_hold_what_lies_below_and_networks_what_lies_within() {
        let net = [10, 1, 0, 0, 255, 255, 0, 0];
        let it = constraints(
            &[GeneralName::DNSName("Corp.example"), GeneralName::IPAddress(&net)],
            &[GeneralName::DNSName(".dev.corp.example")],
        );
        for (name, refused) in [
            ("corp.example", None),
            ("a.corp.example", None),
            ("*.corp.example", None),
            ("dev.corp.example", None),
            ("a.dev.corp.example", Some("excludes \".dev.corp.example\"")),
            ("acorp.example", Some("permits only \"corp.example\"")),
            ("other.example", Some("permits only \"corp.example\"")),
            ("10.1.2.3", None),
            ("10.2.0.1", Some("permits only 10.1.0.0/16")),
            ("2001:db8::1", Some("permits only 10.1.0.0/16")),
        ] {
            assert_eq!(it.refuse(&name.parse().unwrap()).as_deref(), refused, "{name}");
        }
        let silent = constraints(&[GeneralName::RFC822Name("example.com")], &[]);
        assert_eq!(silent.refuse(&"a.example".parse().unwrap()), None);
    }
}
