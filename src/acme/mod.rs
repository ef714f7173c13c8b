//! The CA adapter: one ACME directory (RFC 8555), spoken to as one account.
//!
//! Orders go through instant-acme over our own HTTP client (`wire`), which keeps what the library drops; what the library
//! cannot do (a registration with a stored key, requests side by side, renewal information) is signed and sent here.
//! Nothing sleeps and nothing is decided here: every refusal becomes a [`Failure`] sorted by what to do next.

mod account;
mod ari;
mod authz;
mod directory;
mod jws;
mod nonces;
mod order;
mod problem;
mod shared;
mod wire;

use crate::config::spec::{Issuer, Limits};
use crate::net::http::{Http, Options, Plain, allowed, is_loopback};
use crate::ports::{Account, AccountStore, Authorization, Ca, NewOrder, Offers, OrderLook, Pending, RenewalInfo};
use crate::types::Failure;
use account::Session;
pub use ari::renewal_info;
use directory::Directory;
pub use directory::offers;
use order::Orders;
pub use problem::refusal;
use shared::Shared;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::Wire;
pub use wire::{Exchange, Requests};

/// How long a directory is good for: a daemon lives for months, and profiles and URLs change.
const DIRECTORY_FRESH: Duration = Duration::from_secs(86_400);

/// How long the account is kept before the store is read again, so that a daemon sees credentials that were restored.
const SESSION_FRESH: Duration = Duration::from_secs(600);

/// One ACME directory and the account there.
pub struct AcmeCa {
    issuer: Issuer,
    accounts: Rc<dyn AccountStore>,
    wire: Arc<Wire>,
    directory: Shared<Directory>,
    session: Shared<Session>,
    orders: Orders,
    /// Whether the last requests side by side met a passing failure.
    cautious: Cell<bool>,
    /// When renewal information was last asked for in vain.
    silent_since: Cell<Option<Instant>>,
}

impl AcmeCa {
    /// An adapter for `issuer`. Touches neither network nor disk.
    ///
    /// # Errors
    /// `net:url` when the directory's URL is not https (http is allowed on loopback).
    pub fn new(issuer: &Issuer, limits: &Limits, accounts: Rc<dyn AccountStore>) -> Result<Self, Failure> {
        let url = allowed(&issuer.directory, Plain::Loopback)?;
        let plain = if is_loopback(&url) { Plain::Loopback } else { Plain::Never };
        let http = Http::new(Options {
            connect: limits.connect,
            request: limits.request,
            ca_bundle: issuer.ca_bundle.clone(),
            plain,
        });
        Ok(Self {
            issuer: issuer.clone(),
            accounts,
            wire: Arc::new(Wire::new(http, plain)),
            directory: Shared::new(DIRECTORY_FRESH),
            session: Shared::new(SESSION_FRESH),
            orders: Orders::default(),
            cautious: Cell::new(false),
            silent_since: Cell::default(),
        })
    }

    /// How many requests were made so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.wire.requests()
    }

    async fn directory(&self) -> Result<Rc<Directory>, Failure> {
        self.directory.get(Directory::fetch(&self.wire, &self.issuer.directory)).await
    }

    async fn session(&self) -> Result<Rc<Session>, Failure> {
        self.session
            .get(async {
                let directory = self.directory().await?;
                account::open(&self.issuer, &*self.accounts, &directory, &self.wire).await
            })
            .await
    }

    async fn ask_renewal_info(&self, certificate: &str) -> Result<RenewalInfo, Failure> {
        // One silence answers for all: a thousand certificates must not each wait for it.
        if self.silent_since.get().is_some_and(|since| since.elapsed() < ari::SILENCE_SHARED) {
            return Err(ari::paced(ari::too_slow(certificate)));
        }
        let asked = async { ari::fetch(&self.wire, &*self.directory().await?, certificate).await };
        let answer = tokio::time::timeout(ari::BUDGET, asked).await;
        self.silent_since.set(answer.is_err().then(Instant::now));
        answer.unwrap_or_else(|_| Err(ari::too_slow(certificate))).map_err(ari::paced)
    }
}

impl Ca for AcmeCa {
    fn offers(&self) -> Pending<'_, Result<Offers, Failure>> {
        Box::pin(async { Ok(self.directory().await?.offers.clone()) })
    }

    fn is_ready(&self) -> Result<(), Failure> {
        account::stored(&self.issuer, &*self.accounts).map(|_| ())
    }

    fn account(&self) -> Pending<'_, Result<Account, Failure>> {
        Box::pin(async {
            let session = self.session().await?;
            Ok(Account { url: session.url.clone(), thumbprint: session.key.thumbprint() })
        })
    }

    fn open_order<'a>(&'a self, order: &'a NewOrder) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(order::open(self, order))
    }

    fn authorizations<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<Authorization>, Failure>> {
        Box::pin(authz::fetch(self, order))
    }

    fn answer<'a>(&'a self, _order: &'a str, challenges: &'a [String]) -> Pending<'a, Result<(), Failure>> {
        Box::pin(authz::answer(self, challenges))
    }

    fn look<'a>(&'a self, order: &'a str) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(order::look(self, order))
    }

    fn finalize<'a>(&'a self, order: &'a str, csr: &'a [u8]) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(order::finalize(self, order, csr))
    }

    fn chain<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<u8>, Failure>> {
        Box::pin(order::chain(self, order))
    }

    fn renewal_info<'a>(&'a self, certificate: &'a str) -> Pending<'a, Result<RenewalInfo, Failure>> {
        Box::pin(self.ask_renewal_info(certificate))
    }

    fn clock_offset(&self) -> Option<i64> {
        self.wire.clock_offset()
    }
}
