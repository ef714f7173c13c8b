//! The account: its key is durable before it is registered, it is registered once, and a lost URL is found by the key.

use super::directory::Directory;
use super::jws::{AccountKey, SignedAs, external_account_binding};
use super::problem::Refusal;
use super::wire::{Exchange, Library, Wire};
use crate::config::spec::Issuer;
use crate::ports::{AccountStore, StoredAccount};
use crate::types::{Class, Failure};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use std::sync::Arc;

/// An account ready to order with.
pub(super) struct Session {
    pub(super) account: instant_acme::Account,
    pub(super) key: AccountKey,
    pub(super) url: String,
    pub(super) new_nonce: String,
}

/// Opens the issuer's account, from the store alone where its URL is known.
///
/// # Errors
/// The store's, the CA's, or what the issuer's specification lacks for this CA.
pub(super) async fn open(
    issuer: &Issuer,
    store: &dyn AccountStore,
    directory: &Directory,
    wire: &Arc<Wire>,
) -> Result<Session, Failure> {
    let kept = stored(issuer, store)?;
    let is_new = kept.is_none();
    let mut stored = match kept {
        Some(stored) => stored,
        None => make(issuer, store, directory)?,
    };
    let key = AccountKey::read(&stored.key_pkcs8)?;
    let url = if let Some(url) = stored.url.take() {
        url
    } else {
        let registrar = Registrar { issuer, directory, wire, key: &key };
        let url = registrar.url(is_new).await?;
        stored.url = Some(url.clone());
        store.save(&issuer.name, &stored)?;
        url
    };
    wire.check(&url)?;
    let library =
        Library { wire: Arc::clone(wire), directory: (issuer.directory.clone(), directory.for_library.clone()) };
    let pkcs8 = PrivatePkcs8KeyDer::from(key.pkcs8());
    let account = instant_acme::Account::builder_with_http(Box::new(library))
        .from_parts(url.clone(), pkcs8, issuer.directory.clone())
        .await
        .map_err(|error| {
            Failure::new(Class::Operator, "acme:accountKey", &url, format!("the account cannot be used: {error}"))
        })?;
    Ok(Session { account, key, url, new_nonce: directory.new_nonce.clone() })
}

impl Session {
    /// One signed request as this account.
    ///
    /// # Errors
    /// As [`Wire::post`].
    pub(super) async fn post(&self, wire: &Wire, url: &str, payload: Option<&Value>) -> Result<Exchange, Refusal> {
        wire.post((&self.key, SignedAs::Account(&self.url)), &self.new_nonce, url, payload).await
    }
}

/// What is kept of the account; nothing when there was none yet.
///
/// # Errors
/// The store's; code `account:lost` when there was one.
pub(super) fn stored(issuer: &Issuer, store: &dyn AccountStore) -> Result<Option<StoredAccount>, Failure> {
    match store.load(&issuer.name, &issuer.directory)? {
        Some(stored) => AccountKey::read(&stored.key_pkcs8).map(|_| Some(stored)),
        None => store.ordered_before(&issuer.directory).map_or(Ok(None), |url| Err(lost(issuer, &url))),
    }
}

/// A new key, stored before anybody hears of it; nothing when the CA would refuse the registration anyway.
fn make(issuer: &Issuer, store: &dyn AccountStore, directory: &Directory) -> Result<StoredAccount, Failure> {
    may_register(issuer, directory)?;
    let account = StoredAccount { directory: issuer.directory.clone(), key_pkcs8: AccountKey::generate()?, url: None };
    store.save(&issuer.name, &account)?;
    Ok(account)
}

/// An account whose key is gone is not replaced without a word: authorizations, CAA records and limits hang on it.
fn lost(issuer: &Issuer, url: &str) -> Failure {
    let message = format!("the key of the account that ordered here until now, {url}, is gone");
    let advice = format!(
        "put accounts/{} in the state directory back from a backup; if there is none, `everleaf account register {}` makes \
         a new account",
        issuer.name, issuer.name
    );
    Failure::new(Class::Operator, "account:lost", issuer.name.as_str(), message).advise(advice)
}

fn may_register(issuer: &Issuer, directory: &Directory) -> Result<(), Failure> {
    let refused = |code: &str, message: &str| Failure::new(Class::Spec, code, &issuer.directory, message);
    if directory.offers.external_account_required && issuer.external_account.is_none() {
        return Err(refused(
            "acme:externalAccountRequired",
            "this CA registers accounts with an external account only",
        )
        .advise("Set `external_account` with the key id and MAC key that the CA gave you."));
    }
    if let Some(terms) = directory.offers.terms.as_ref().filter(|_| !issuer.agree_to_terms) {
        return Err(refused("acme:termsOfService", "this CA's terms of service were not agreed to")
            .advise(format!("Read {terms} and set `agree_to_terms: true`.")));
    }
    Ok(())
}

struct Registrar<'a> {
    issuer: &'a Issuer,
    directory: &'a Directory,
    wire: &'a Wire,
    key: &'a AccountKey,
}

impl Registrar<'_> {
    /// The URL of the key's account. A key that was stored earlier may have one already, whose reply was lost: that is
    /// asked first (RFC 8555 §7.3.1), so that there is never a second registration.
    async fn url(&self, is_new: bool) -> Result<String, Failure> {
        if !is_new {
            match self.post(&json!({"onlyReturnExisting": true})).await {
                Ok(exchange) => return self.location(&exchange),
                Err(refusal) if refusal.kind == "accountDoesNotExist" => may_register(self.issuer, self.directory)?,
                Err(refusal) => return Err(refusal.failure),
            }
        }
        let mut payload = json!({"termsOfServiceAgreed": self.issuer.agree_to_terms, "contact": self.issuer.contact});
        if let Some(external) = &self.issuer.external_account {
            let url = &self.directory.new_account;
            payload["externalAccountBinding"] =
                external_account_binding(&self.key.jwk(), &external.kid, &external.hmac, url)?;
        }
        // Without an account there is no order at all.
        let limited = |refusal: Refusal| Failure { issuer_wide: refusal.limits_all_but(&[]), ..refusal.failure };
        let exchange = self.post(&payload).await.map_err(limited)?;
        self.location(&exchange)
    }

    async fn post(&self, payload: &Value) -> Result<Exchange, Refusal> {
        let (signer, directory) = ((self.key, SignedAs::Key), self.directory);
        self.wire.post(signer, &directory.new_nonce, &directory.new_account, Some(payload)).await
    }

    fn location(&self, exchange: &Exchange) -> Result<String, Failure> {
        let missing = || Refusal::unreadable(exchange, "the account has no Location").failure;
        let url = exchange.location().ok_or_else(missing)?;
        self.wire.check_named(&url, &exchange.url)?;
        Ok(url)
    }
}
