//! Identities: of generations, keys, certificates, records and requests.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not the identity it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    /// What stood there, cut.
    pub text: String,
    /// What should have stood there.
    pub expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// The SHA-256 of a certificate's DER: which certificate it is.
pub type Fingerprint = Digest;
/// The SHA-256 of a `SubjectPublicKeyInfo`'s DER: which key it is. The key's file is named after it.
pub type KeyId = Digest;
/// The digest of what an order depends on: names, key, profile, issuer. Another digest means another certificate is wanted.
pub type SpecDigest = Digest;

/// The SHA-256 of `parts`, one after another.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}

impl Digest {
    /// A digest from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for people and for generation names.
    #[must_use]
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a SHA-256 digest in lower-case hexadecimal");
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| invalid())?;
        Ok(Self(bytes.try_into().map_err(|_| invalid())?))
    }
}

/// A certificate's serial number: its DER content bytes in lower-case hexadecimal, leading `00` kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// RFC 5280 §4.1.2.2 allows 20 octets; some CAs have used one more for the sign.
const MAX_SERIAL_OCTETS: usize = 32;

impl Serial {
    /// A serial from the content octets of its DER INTEGER.
    #[must_use]
    pub fn from_der_content(octets: &[u8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&octets[..octets.len().min(MAX_SERIAL_OCTETS)]))
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Serial {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match data_encoding::HEXLOWER.decode(text.as_bytes()) {
            Ok(octets) if (1..=MAX_SERIAL_OCTETS).contains(&octets.len()) => Ok(Self(text.to_owned())),
            _ => Err(InvalidId::new(text, "a serial number in lower-case hexadecimal")),
        }
    }
}

/// One issued certificate with its key and chain: a number that grows, and the beginning of the leaf's fingerprint.
/// Written `0007-3fa94c1b`, which is also its directory's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenId {
    number: u32,
    leaf: [u8; 4],
}

impl GenId {
    /// The generation `number` whose leaf has `fingerprint`.
    #[must_use]
    pub fn new(number: u32, fingerprint: &Fingerprint) -> Self {
        let [a, b, c, d, ..] = *fingerprint.as_bytes();
        Self { number, leaf: [a, b, c, d] }
    }

    /// The number, which grows by one with every generation of a certificate.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl fmt::Display for GenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04}-{}", self.number, data_encoding::HEXLOWER.encode(&self.leaf)))
    }
}

impl fmt::Debug for GenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GenId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parse = || {
            let (number, leaf) = text.split_once('-')?;
            let id = Self {
                number: number.parse().ok()?,
                leaf: data_encoding::HEXLOWER.decode(leaf.as_bytes()).ok()?.try_into().ok()?,
            };
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| InvalidId::new(text, "a generation such as 0007-3fa94c1b"))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}
as_text!(Digest, Serial, GenId, RequestId);

macro_rules! counter {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after; the last one for ever, once it is reached.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// The sequence number of a journal's record. 0 is "before the first"; the first record has 1.
    Seq
);
counter!(
    /// Which decision about what should be served is the newest: receivers refuse a lower one.
    Epoch
);
counter!(
    /// The number of an attempt at an order, growing through a certificate's life.
    Attempt
);

/// A request dropped by a command for whoever holds the certificate's lock. 16 to 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// An identity from sixteen random octets.
    #[must_use]
    pub fn from_random(octets: [u8; 16]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&octets))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = (16..=32).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId::new(text, "a request id")) }
    }
}

/// The family of a leaf's key: what a server with two certificates chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFamily {
    /// ECDSA on a NIST curve.
    Ecdsa,
    /// RSA, PKCS#1.
    Rsa,
}

impl fmt::Display for KeyFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_reads_back_only_as_it_is_written() {
        let id = GenId::new(7, &sha256(&[b"leaf"]));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["7-3fa94c1b", "0007", "0007-3FA94C1B", "0007-3fa94c", "+007-3fa94c1b", "0007-3fa94c1b/.."] {
            assert!(bad.parse::<GenId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_serial_keeps_its_leading_zero_octet() {
        assert_eq!(Serial::from_der_content(&[0, 0x87, 0x65]).as_str(), "008765");
        assert!("0087".parse::<Serial>().is_ok() && "zz".parse::<Serial>().is_err() && "".parse::<Serial>().is_err());
    }
}
