//! Orders on instant-acme, with what it does not keep: identifiers, expiry, Retry-After, and the handle of an order whose
//! creation it rejects afterwards.

use super::account::Session;
use super::problem::{Problem, Refusal};
use super::wire::{Exchange, Wire};
use super::{AcmeCa, authz};
use crate::net::http::BODY_LIMIT;
use crate::ports::{NewOrder, OrderLook, OrderStatus};
use crate::types::{Class, Failure, Identifier};
use serde::Deserialize;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// The most a certificate chain may hold.
const CHAIN_LIMIT: usize = 256 << 10;
/// The orders whose handles are kept; one beyond them costs one more request at its next step.
const MAX_KEPT: usize = 1024;

/// An order as the CA sent it last.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct OrderBody {
    pub(super) status: String,
    pub(super) identifiers: Vec<RawIdentifier>,
    pub(super) authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    expires: Option<String>,
    error: Option<Value>,
}

/// An identifier as ACME writes it (RFC 8555 §9.7.7).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawIdentifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl RawIdentifier {
    /// The value as sent, and its kind where it is none of those that are ordered.
    pub(super) fn named(&self) -> String {
        match self.kind.as_str() {
            "dns" | "ip" => self.value.clone(),
            kind => format!("{} ({kind})", self.value),
        }
    }

    /// The identifier, when it is of a kind we order; `wildcard` as an authorization has it (RFC 8555 §7.1.4).
    pub(super) fn read(&self, wildcard: bool) -> Option<Identifier> {
        let value = if wildcard { format!("*.{}", self.value) } else { self.value.clone() };
        match (self.kind.as_str(), value.parse().ok()?) {
            ("dns", identifier @ Identifier::Dns(_)) | ("ip", identifier @ Identifier::Ip(_)) => Some(identifier),
            _ => None,
        }
    }
}

/// An order with instant-acme's handle.
pub(super) struct Live {
    order: instant_acme::Order,
    pub(super) body: OrderBody,
    retry_after: Option<Duration>,
    replaces_dropped: bool,
}

impl Live {
    pub(super) fn url(&self) -> &str {
        self.order.url()
    }

    /// Takes over what an exchange showed, after checking every URL in it.
    fn show(&mut self, wire: &Wire, exchange: &Exchange) -> Result<(), Refusal> {
        self.body = checked(wire, exchange)?;
        self.retry_after = exchange.retry_after();
        Ok(())
    }

    fn is_over(&self) -> bool {
        matches!(self.body.status.as_str(), "processing" | "valid" | "invalid")
    }
}

/// The handles of orders under way.
#[derive(Default)]
pub(super) struct Orders(RefCell<HashMap<String, Live>>);

impl Orders {
    fn take(&self, url: &str) -> Option<Live> {
        self.0.borrow_mut().remove(url)
    }

    pub(super) fn keep(&self, live: Live) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.insert(live.url().to_owned(), live);
        }
    }
}

/// Opens an order; once without `replaces` when the CA does not take it (RFC 9773 §5).
pub(super) async fn open(ca: &AcmeCa, asked: &NewOrder) -> Result<OrderLook, Failure> {
    let directory = ca.directory().await?;
    let session = ca.session().await?;
    let profile = profile(asked, &directory.offers.profiles, &ca.issuer.directory)?;
    let replaces = asked.replaces.as_deref().filter(|_| directory.offers.renewal_info);
    let mut live = match create(ca, &session, asked, profile, replaces).await {
        Err(refusal) if replaces.is_some() && refuses_replaces(&refusal) => {
            tracing::info!(reason = %refusal.failure, "the CA does not take `replaces`; ordering without it");
            create(ca, &session, asked, profile, None).await.map(|live| Live { replaces_dropped: true, ..live })
        }
        outcome => outcome,
    }
    .map_err(|refusal| Failure { issuer_wide: refusal.limits_all_but(&asked.names), ..refusal.failure })?;
    live.replaces_dropped |= asked.replaces.is_some() && replaces.is_none();
    let have: Option<BTreeSet<Identifier>> = live.body.identifiers.iter().map(|raw| raw.read(false)).collect();
    if have.as_ref() != Some(&asked.names.iter().cloned().collect()) {
        let names: Vec<_> = live.body.identifiers.iter().map(RawIdentifier::named).take(8).collect();
        return Err(Failure::new(
            Class::Operator,
            "acme:foreignIdentifiers",
            live.url(),
            format!("the CA opened an order for other names than those asked for: {}", names.join(", ")),
        )
        .advise("Nothing was done with it. Report it to the CA."));
    }
    shown(ca, &session, live).await
}

/// Where an order stands.
pub(super) async fn look(ca: &AcmeCa, url: &str) -> Result<OrderLook, Failure> {
    let session = ca.session().await?;
    let live = match ca.orders.take(url) {
        Some(live) => refresh(ca, live).await?,
        None => resume(ca, &session, url).await?,
    };
    shown(ca, &session, live).await
}

/// Submits a CSR, unless the order is past that.
pub(super) async fn finalize(ca: &AcmeCa, url: &str, csr: &[u8]) -> Result<OrderLook, Failure> {
    let session = ca.session().await?;
    let mut live = known(ca, &session, url).await?;
    if live.is_over() {
        return shown(ca, &session, live).await;
    }
    match ca.wire.step(BODY_LIMIT, async || live.order.finalize_csr(csr).await).await {
        Ok(((), exchange)) => live.show(&ca.wire, &exchange)?,
        Err(refusal) if refusal.kind == "orderNotReady" => {
            // Either it is too early, or an earlier reply was lost and it is done already: the order knows.
            live = refresh(ca, live).await?;
            if !live.is_over() {
                ca.orders.keep(live);
                return Err(refusal.failure);
            }
        }
        Err(refusal) => return Err(kept(ca, live, refusal)),
    }
    shown(ca, &session, live).await
}

/// The chain of a valid order, as sent.
pub(super) async fn chain(ca: &AcmeCa, url: &str) -> Result<Vec<u8>, Failure> {
    let session = ca.session().await?;
    let mut live = known(ca, &session, url).await?;
    if live.body.status != "valid" {
        live = refresh(ca, live).await?;
    }
    if live.body.status != "valid" || live.body.certificate.is_none() {
        let message = format!("the order is {} and has no certificate yet", live.body.status);
        ca.orders.keep(live);
        return Err(Failure::new(Class::Retry, "acme:orderNotValid", url, message));
    }
    match ca.wire.step(CHAIN_LIMIT, async || live.order.certificate().await).await {
        Ok((_, exchange)) if !exchange.body.starts_with(b"-----BEGIN") => {
            Err(kept(ca, live, Refusal::unreadable(&exchange, "it is no PEM")))
        }
        Ok((_, exchange)) => Ok(exchange.body.to_vec()),
        Err(refusal) => Err(kept(ca, live, refusal)),
    }
}

/// The order's handle: kept, or fetched once.
pub(super) async fn known(ca: &AcmeCa, session: &Session, url: &str) -> Result<Live, Failure> {
    match ca.orders.take(url) {
        Some(live) => Ok(live),
        None => resume(ca, session, url).await,
    }
}

async fn create(
    ca: &AcmeCa,
    session: &Session,
    asked: &NewOrder,
    profile: Option<&str>,
    replaces: Option<&str>,
) -> Result<Live, Refusal> {
    let identifiers: Vec<instant_acme::Identifier> = asked.names.iter().map(identifier).collect();
    let mut order = instant_acme::NewOrder::new(&identifiers);
    if let Some(profile) = profile {
        order = order.profile(profile);
    }
    if let Some((aki, serial)) = replaces.and_then(|id| id.split_once('.')) {
        let replaces =
            instant_acme::CertificateIdentifier { authority_key_identifier: aki.into(), serial: serial.into() };
        order = order.replaces(replaces);
    }
    match ca.wire.step(BODY_LIMIT, async || session.account.new_order(&order).await).await {
        Ok((order, exchange)) => {
            let body = checked(&ca.wire, &exchange)?;
            ca.wire.check_ordered(order.url(), &exchange.url)?;
            Ok(Live { order, body, retry_after: exchange.retry_after(), replaces_dropped: false })
        }
        // The order exists, but the library let go of it: most likely `replaces` was not reflected. One was spent; use it.
        Err(Refusal { location: Some(url), status, .. }) if status < 400 => {
            let live = resume(ca, session, &url).await?;
            Ok(Live { replaces_dropped: replaces.is_some(), ..live })
        }
        Err(refusal) => Err(refusal),
    }
}

async fn resume(ca: &AcmeCa, session: &Session, url: &str) -> Result<Live, Failure> {
    ca.wire.check_ordered(url, &ca.issuer.directory)?;
    let fetched = ca.wire.step(BODY_LIMIT, async || session.account.order(url.to_owned()).await).await;
    let (order, exchange) = fetched.map_err(|refusal| gone(another_account(refusal)).failure)?;
    let body = checked(&ca.wire, &exchange)?;
    Ok(Live { order, body, retry_after: exchange.retry_after(), replaces_dropped: false })
}

async fn refresh(ca: &AcmeCa, mut live: Live) -> Result<Live, Failure> {
    let outcome = ca.wire.step(BODY_LIMIT, async || live.order.refresh().await.map(|_| ())).await;
    match outcome.and_then(|((), exchange)| live.show(&ca.wire, &exchange)) {
        Ok(()) => Ok(live),
        Err(refusal) => Err(kept(ca, live, refusal)),
    }
}

/// Keeps the handle of an order whose step failed, unless the order is gone.
fn kept(ca: &AcmeCa, live: Live, refusal: Refusal) -> Failure {
    let refusal = gone(refusal);
    if refusal.failure.code != "acme:orderGone" {
        ca.orders.keep(live);
    }
    refusal.failure
}

/// Another account's order is as good as gone: this account's credentials are not those that opened it.
fn another_account(mut refusal: Refusal) -> Refusal {
    if matches!(refusal.status, 401 | 403) && refusal.kind == "unauthorized" {
        let advice = "The account is another one than when the order was opened; the next try opens a new order.";
        refusal.failure.class = Class::Retry;
        "acme:orderGone".clone_into(&mut refusal.failure.code);
        refusal.failure = refusal.failure.advise(advice);
    }
    refusal
}

/// A 404 or 410 for an order means that the CA no longer knows it.
pub(super) fn gone(mut refusal: Refusal) -> Refusal {
    if matches!(refusal.status, 404 | 410) {
        refusal.failure.class = Class::Retry;
        "acme:orderGone".clone_into(&mut refusal.failure.code);
        refusal.failure = refusal.failure.advise("The CA no longer knows the order; the next try opens a new one.");
    }
    refusal
}

async fn shown(ca: &AcmeCa, session: &Session, live: Live) -> Result<OrderLook, Failure> {
    let status = match live.body.status.as_str() {
        "pending" => OrderStatus::Pending,
        "ready" => OrderStatus::Ready,
        "processing" => OrderStatus::Processing,
        "valid" => OrderStatus::Valid,
        _ => {
            let problem = live.body.error.as_ref().and_then(Problem::read);
            OrderStatus::Invalid(authz::why_invalid(ca, session, &live, problem).await)
        }
    };
    let look = OrderLook {
        url: live.url().to_owned(),
        expires: live.body.expires.as_deref().and_then(|text| text.parse().ok()),
        retry_after: live.retry_after,
        replaces_dropped: live.replaces_dropped,
        status,
    };
    if !matches!(look.status, OrderStatus::Invalid(_)) {
        ca.orders.keep(live);
    }
    Ok(look)
}

/// The order in a reply, with every URL in it checked and their number bounded.
fn checked(wire: &Wire, exchange: &Exchange) -> Result<OrderBody, Refusal> {
    let body: OrderBody = exchange.json()?;
    // One authorization an identifier (RFC 8555 §7.1.3); a reply that names thousands would cost as many requests.
    if body.authorizations.len() > body.identifiers.len() {
        return Err(Refusal::unreadable(exchange, "it names more authorizations than identifiers"));
    }
    for url in body.authorizations.iter().chain([&body.finalize]).chain(&body.certificate) {
        wire.check_ordered(url, &exchange.url)?;
    }
    Ok(body)
}

fn identifier(identifier: &Identifier) -> instant_acme::Identifier {
    match identifier {
        Identifier::Dns(name) => instant_acme::Identifier::Dns(name.clone()),
        Identifier::Ip(address) => instant_acme::Identifier::Ip(IpAddr::clone(address)),
    }
}

/// The profile to ask for: none where the CA has none at all.
fn profile<'a>(
    asked: &'a NewOrder,
    offered: &[(String, crate::types::Printable)],
    place: &str,
) -> Result<Option<&'a str>, Failure> {
    let Some(wanted) = asked.profile.as_deref().filter(|_| !offered.is_empty()) else { return Ok(None) };
    if offered.iter().any(|(name, _)| name == wanted) {
        return Ok(Some(wanted));
    }
    let mut failure =
        Failure::new(Class::Spec, "acme:invalidProfile", place, format!("this CA offers no profile {wanted:?}"))
            .advise("Choose one of the profiles it offers.");
    for (name, description) in offered {
        failure = failure.detail(format!("offered: {name} ({description})"));
    }
    Err(failure)
}

/// Pebble's words for a predecessor that shares no name, and for one whose serial number begins with a zero digit, which it
/// loses.
const PEBBLES_WORDS: [&str; 2] = ["existing order", "for the given certificate"];

/// What means that the order may be had without `replaces` (RFC 9773 §5: 409 on reuse; the others are seen in practice).
fn refuses_replaces(refusal: &Refusal) -> bool {
    matches!(refusal.kind.as_str(), "alreadyReplaced" | "malformed")
        || matches!(refusal.status, 401 | 403 | 404 | 409)
        || (refusal.kind == "serverInternal"
            && PEBBLES_WORDS.iter().any(|words| refusal.failure.message.as_str().contains(words)))
}
