//! How everleaf speaks to the network: one bounded HTTP client and one resolver, for ACME, webhooks, CRLs and self-checks.

pub mod dns;
pub mod header;
pub mod http;
mod trouble;

pub(crate) use trouble::chain;
