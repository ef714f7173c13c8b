//! What was seen, judged: one file a concern. Pure: observations go in, findings come out.

pub mod clock;
pub mod hsts;
pub mod http;
pub mod offered;
pub mod revocation;
pub mod staple;

use super::chain::Store;
use crate::pki::Certificate;
use crate::pki::chain::{Link, link};

/// The certificates that issued `certificate` and are at hand: sent, or trusted.
fn issuers(certificate: &Certificate, sent: &[Certificate], stores: &[Store]) -> Vec<Certificate> {
    let trusted = stores.iter().flat_map(|store| store.anchors.issuers(certificate));
    sent.iter().cloned().chain(trusted).filter(|it| link(certificate, it) == Link::Issued).collect()
}
