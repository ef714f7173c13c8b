//! Certificates and keys: parsing, chain building, the gate, CSRs. No clock, no socket.
//!
//! webpki gives the verdict (it is what Rust clients do); the words for people come from our own look at the structure
//! with x509-parser.

pub mod csr;
pub mod key;
pub mod parse;
pub mod pem;

pub use parse::{Certificate, KeyKind, MAX_CERTIFICATES, MAX_CHAIN_BYTES, Usages};
