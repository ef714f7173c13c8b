//! Names that people choose in the configuration and that everleaf uses as file names.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest configured name. It becomes a directory name with room left for suffixes (`NAME_MAX` is 255).
const MAX_NAME: usize = 64;

/// Why a configured name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The name is longer than 64 bytes.
    #[error("{0:?} is longer than {MAX_NAME} bytes")]
    TooLong(String),
    /// The name holds a character that is not a letter, digit, `.`, `_` or `-`, or begins with one that a file name must not.
    #[error("{0:?} may hold only a-z, 0-9, '.', '_' and '-', and must begin with a letter or a digit")]
    Character(String),
}

/// Accepts what is safe as a single path component on every file system and in every hook's environment.
fn checked(text: &str) -> Result<(), InvalidName> {
    let first = text.bytes().next().ok_or(InvalidName::Empty)?;
    if text.len() > MAX_NAME {
        return Err(InvalidName::TooLong(text.chars().take(MAX_NAME).collect()));
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if !(first.is_ascii_lowercase() || first.is_ascii_digit()) || !text.bytes().all(allowed) {
        return Err(InvalidName::Character(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps `text`.
            ///
            /// # Errors
            /// [`InvalidName`] when `text` cannot be a single, portable path component.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                checked(&text)?;
                Ok(Self(text))
            }

            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// A certificate's name in the configuration, and the name of its directories.
    CertName
);
name!(
    /// A node: a machine that terminates TLS and reads a live directory. `local` is the one everleaf runs on.
    NodeName
);
name!(
    /// An issuer: one ACME directory with one account.
    IssuerName
);
name!(
    /// A configured way to tell people.
    NotifierName
);

impl NodeName {
    /// The machine everleaf runs on.
    #[must_use]
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_safe_path_component() {
        for good in ["shop", "a", "0", "api.v2", "shop-rsa", "a_b"] {
            assert!(CertName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", ".", "..", ".hidden", "-x", "a/b", "Shop", "a b", "a\n", "a\0", "ä", &long] {
            assert!(CertName::new(bad).is_err(), "{bad:?}");
        }
    }
}
