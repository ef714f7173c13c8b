//! The certificate authority and the challenges it sets.

use super::Pending;
use crate::config::spec::Solver;
use crate::types::{CertName, Failure, Identifier, Printable, Timestamp, Window};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An account at a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its URL.
    pub url: String,
    /// RFC 7638 thumbprint of its key: what a stateless http-01 rule answers with.
    pub thumbprint: String,
}

/// An order to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Its identifiers.
    pub names: Vec<Identifier>,
    /// Its profile, when the CA has profiles.
    pub profile: Option<String>,
    /// ARI id of the certificate it replaces (RFC 9773 §5). Dropped once by the adapter when the CA refuses it.
    pub replaces: Option<String>,
}

/// Where an order stands (RFC 8555 §7.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// A CSR may be submitted.
    Ready,
    /// The CA is issuing.
    Processing,
    /// The certificate is there.
    Valid,
    /// It failed, with the order's and its challenges' errors.
    Invalid(Failure),
}

/// An order as the CA shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLook {
    /// Its URL.
    pub url: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// When the CA gives it up.
    pub expires: Option<Timestamp>,
    /// When the CA wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether `replaces` was refused and the order opened without it.
    pub replaces_dropped: bool,
}

/// A challenge that was offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// `http-01`, `dns-01`, …; unknown kinds are kept and ignored.
    pub kind: String,
    /// Its URL.
    pub url: String,
    /// Its token, already checked to be base64url.
    pub token: String,
    /// `TOKEN.THUMBPRINT` (RFC 8555 §8.1).
    pub key_authorization: String,
}

/// An authorization of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// For which identifier, `*.` included.
    pub identifier: Identifier,
    /// Already valid: nothing to prove.
    pub valid: bool,
    /// What was offered.
    pub challenges: Vec<Challenge>,
}

/// What the CA suggests (RFC 9773 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalInfo {
    /// When to renew.
    pub window: Window,
    /// When to ask again, clamped to a minute … a day.
    pub retry_after: Duration,
    /// A page for the operator.
    pub explanation: Option<Printable>,
}

/// What a directory offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// Whether it has ARI.
    pub renewal_info: bool,
    /// Its profiles, with their descriptions.
    pub profiles: Vec<(String, Printable)>,
    /// Its terms of service.
    pub terms: Option<String>,
    /// Whether it wants an external account binding.
    pub external_account_required: bool,
}

/// One ACME directory, spoken to as one account.
///
/// Every call is bounded (connect, request, body size), repeats badNonce itself, and keeps the CA's problem document,
/// Retry-After and `Link`s in the [`Failure`].
pub trait Ca {
    /// What the directory offers; asked once a process.
    fn offers(&self) -> Pending<'_, Result<Offers, Failure>>;
    /// Whether an order can be begun as far as this machine is concerned: what is kept of the account can be used. Asks nobody.
    ///
    /// # Errors
    /// Code `account:damaged` or `account:lost`, or the I/O error.
    fn is_ready(&self) -> Result<(), Failure>;
    /// The account: made if there is none (its key is durable first), found by its key if its URL was lost. Never a second one.
    fn account(&self) -> Pending<'_, Result<Account, Failure>>;
    /// Opens an order and checks that it is for the names asked for.
    fn open_order<'a>(&'a self, order: &'a NewOrder) -> Pending<'a, Result<OrderLook, Failure>>;
    /// The order's authorizations, fetched side by side.
    fn authorizations<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<Authorization>, Failure>>;
    /// Tells the CA that these challenges (URLs) can be checked. One that is no longer pending counts as told.
    fn answer<'a>(&'a self, order: &'a str, challenges: &'a [String]) -> Pending<'a, Result<(), Failure>>;
    /// Where the order stands. Code `acme:orderGone` when the CA no longer knows it.
    fn look<'a>(&'a self, order: &'a str) -> Pending<'a, Result<OrderLook, Failure>>;
    /// Submits a CSR. An order that is already processing or valid is shown as it stands.
    fn finalize<'a>(&'a self, order: &'a str, csr: &'a [u8]) -> Pending<'a, Result<OrderLook, Failure>>;
    /// The certificate chain of a valid order, PEM as sent, at most 256 KiB.
    fn chain<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<u8>, Failure>>;
    /// The suggested window of a certificate, within 10 s. A failure's `retry_after` is the CA's, else 6 h; after a 5xx
    /// there is none, and it is asked again with growing waits.
    fn renewal_info<'a>(&'a self, certificate: &'a str) -> Pending<'a, Result<RenewalInfo, Failure>>;
    /// How far our clock is ahead of the CA's last `Date` header, in seconds (negative: behind). `None` before any reply.
    fn clock_offset(&self) -> Option<i64>;
}

/// What must be visible for one challenge. Kept in the journal, so that it can be taken down after a crash or an edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// For which identifier, `*.` included.
    pub identifier: Identifier,
    /// How.
    pub solver: Solver,
    /// The challenge's URL, which names it.
    pub url: String,
    /// Its token.
    pub token: String,
    /// `TOKEN.THUMBPRINT`.
    pub key_authorization: String,
}

/// Puts up what a CA looks for.
pub trait Solvers {
    /// Puts up all proofs and waits until they can be seen. Answers warnings: a self-check that failed never blocks.
    fn put_up<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<Vec<Printable>, Failure>>;
    /// Takes proofs down. One that is not up is done.
    fn take_down<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<(), Failure>>;
}
