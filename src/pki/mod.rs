//! Certificates and keys: parsing, chain building, the gate, CSRs. No clock, no socket; only [`roots`] reads a file.
//!
//! webpki gives the verdict (it is what Rust clients do); the words for people come from our own look at the structure
//! with x509-parser.

pub(crate) mod chain;
pub(crate) mod constraints;
pub mod crl;
pub mod csr;
mod der;
pub mod gate;
pub mod key;
pub mod ocsp;
pub mod parse;
pub mod pem;
pub(crate) mod proven;
pub mod revocation;
pub mod roots;
mod signed;
#[cfg(test)]
pub(crate) mod testing;

pub use parse::{Certificate, KeyKind, MAX_CERTIFICATES, MAX_CHAIN_BYTES, Unreadable, Usages};
pub use roots::{Anchors, RootStore};
