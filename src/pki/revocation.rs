//! What OCSP responses and CRLs say of a certificate that is no longer good.

use crate::types::Timestamp;
use std::fmt;

/// When a certificate was revoked, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Since when it is no longer good.
    pub at: Timestamp,
    /// Why, where it is said.
    pub reason: Option<Reason>,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "revoked on {}, reason {reason}", self.at),
            None => write!(f, "revoked on {}, without a reason", self.at),
        }
    }
}

/// A reason for a revocation, by its number (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(u8);

impl Reason {
    /// The certificate is no longer on hold; said in delta CRLs only.
    pub(super) const REMOVED: Self = Self(8);

    /// A reason from the content octets of an ENUMERATED; nothing for more than one octet.
    pub(super) const fn from_der_content(octets: &[u8]) -> Option<Self> {
        match octets {
            [number] => Some(Self(*number)),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "unspecified",
            1 => "keyCompromise",
            2 => "cACompromise",
            3 => "affiliationChanged",
            4 => "superseded",
            5 => "cessationOfOperation",
            6 => "certificateHold",
            8 => "removeFromCRL",
            9 => "privilegeWithdrawn",
            10 => "aACompromise",
            other => return write!(f, "number {other}"),
        })
    }
}
