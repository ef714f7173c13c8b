//! A CA that keeps RFC 8555 and RFC 9773 as far as orders go, and breaks them when a fault strikes.

use crate::faults::Fault;
use crate::forge::FakeCertificate;
use crate::world::{Peer, State, staging};
use everleaf::ports::{
    Account, Authorization, Ca, Challenge, NewOrder, Offers, OrderLook, OrderStatus, Pending, RenewalInfo,
};
use everleaf::types::{Class, Failure, Identifier, IssuerName, KeyId, Window, sha256};
use serde::Deserialize;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the CA knows.
#[derive(Debug)]
pub(crate) struct FakeCa {
    /// How long its certificates live.
    pub(crate) lifetime: Duration,
    /// How long an answer about renewal stands.
    pub(crate) ari_every: Duration,
    /// Until when it answers nobody.
    pub(crate) down_until: u64,
    /// How many accounts were made: one is right.
    pub(crate) accounts: u32,
    pub(crate) orders: BTreeMap<String, FakeOrder>,
    pub(crate) issued: Vec<FakeCertificate>,
    /// Windows that are not where they usually are.
    pub(crate) windows: BTreeMap<String, Window>,
    replaced: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeOrder {
    pub(crate) names: Vec<Identifier>,
    /// When authorizations were proved: not yet, or valid from then on.
    proved: Option<u64>,
    refused: Option<Failure>,
    /// When it will be valid, once a CSR was accepted; a stuck one never.
    finalized: Option<u64>,
    expires: u64,
    forgotten: bool,
    certificate: Option<Vec<u8>>,
}

/// An order is given up by the CA after this.
const ORDER_LIFE: u64 = 3 * 86_400_000;

impl FakeCa {
    pub(crate) fn new() -> Self {
        Self {
            lifetime: Duration::from_secs(6 * 86_400),
            ari_every: Duration::from_secs(6 * 3_600),
            down_until: 0,
            accounts: 0,
            orders: BTreeMap::new(),
            issued: Vec::new(),
            windows: BTreeMap::new(),
            replaced: BTreeSet::new(),
        }
    }

    /// All that it issued is to be replaced.
    pub(crate) fn recall(&mut self, past: Window) {
        self.windows.extend(self.issued.iter().map(|certificate| (certificate.ari(), past)));
    }

    fn usual_window(certificate: &FakeCertificate) -> Window {
        let life = certificate.validity.width();
        let middle =
            certificate.validity.start + if life <= Duration::from_secs(864_000) { life / 2 } else { life * 2 / 3 };
        let half = life / 100;
        Window { start: middle - half, end: middle + half }
    }
}

fn failure(class: Class, code: &str, wait: Option<u64>) -> Failure {
    Failure::new(class, code, "https://ca.example/order", format!("the CA says {code}"))
        .wait(wait.map(Duration::from_secs))
}

impl State {
    fn ca(&mut self, name: &IssuerName) -> &mut FakeCa {
        self.cas.get_mut(name).expect("every issuer has its CA")
    }

    /// What happens to a request before the CA has done anything.
    fn refuses(&mut self, ca: &IssuerName) -> Result<(), Failure> {
        if self.ca(ca).down_until > self.mono {
            return Err(failure(Class::Retry, "net:connect", None));
        }
        if self.strikes(Fault::CaLostRequest) {
            return Err(failure(Class::Retry, "net:timeout", None));
        }
        if self.strikes(Fault::CaError) {
            let wait = (self.dice.below(2) == 0).then(|| 30 + self.dice.below(600));
            let class = if wait.is_some() { Class::HoldUntil } else { Class::Retry };
            return Err(failure(class, "acme:http503", wait));
        }
        if self.strikes(Fault::CaBadNonce) {
            return Err(failure(Class::Retry, "acme:badNonce", None));
        }
        Ok(())
    }

    fn show(&mut self, ca: &IssuerName, url: &str) -> Result<OrderLook, Failure> {
        if self.strikes(Fault::CaOrderGone)
            && let Some(order) = self.ca(ca).orders.get_mut(url)
        {
            order.forgotten = true;
        }
        let (mono, now) = (self.mono, self.true_now());
        let Some(order) = self.ca(ca).orders.get_mut(url).filter(|order| !order.forgotten) else {
            return Err(failure(Class::Retry, "acme:orderGone", None));
        };
        let look = |status, retry_after| OrderLook {
            url: url.to_owned(),
            status,
            expires: Some(now + Duration::from_millis(order.expires.saturating_sub(mono))),
            retry_after,
            replaces_dropped: false,
        };
        if let Some(refused) = &order.refused {
            return Ok(look(OrderStatus::Invalid(refused.clone()), None));
        }
        // One that hangs is looked at rarely: what is to be seen is how it ends.
        let hangs = order.finalized == Some(u64::MAX);
        let wait = Some(Duration::from_secs(if hangs { 60 } else { 2 + order.expires % 5 }));
        Ok(match order.finalized {
            Some(due) if due <= mono => look(OrderStatus::Valid, None),
            Some(_) => look(OrderStatus::Processing, wait),
            None if order.expires <= mono => {
                look(OrderStatus::Invalid(failure(Class::Retry, "acme:expired", None)), None)
            }
            None if order.proved.is_some_and(|due| due <= mono) => look(OrderStatus::Ready, None),
            None => look(OrderStatus::Pending, wait),
        })
    }

    fn take_order(&mut self, ca: &IssuerName, asked: &NewOrder) -> Result<OrderLook, Failure> {
        if self.strikes(Fault::CaRateLimited) {
            let wait = 600 + self.dice.below(4 * 3_600);
            return Err(failure(Class::HoldUntil, "acme:rateLimited", Some(wait)));
        }
        let used = asked.replaces.as_ref().is_some_and(|id| self.ca(ca).replaced.contains(id));
        let dropped = used || (asked.replaces.is_some() && self.strikes(Fault::AlreadyReplaced));
        if used {
            self.count("fault", Fault::AlreadyReplaced.name());
        }
        let mono = self.mono;
        let reuse = self.dice.below(4) == 0;
        let url = format!("https://{ca}.example/order/{}", self.ca(ca).orders.len() + 1);
        let order = FakeOrder {
            names: asked.names.clone(),
            proved: reuse.then_some(mono),
            refused: None,
            finalized: None,
            expires: mono + ORDER_LIFE,
            forgotten: false,
            certificate: None,
        };
        if let Some(id) = asked.replaces.as_ref().filter(|_| !dropped) {
            self.ca(ca).replaced.insert(id.clone());
        }
        self.ca(ca).orders.insert(url.clone(), order);
        let look = self.show(ca, &url)?;
        Ok(OrderLook { replaces_dropped: dropped, ..look })
    }

    fn challenges(&mut self, ca: &IssuerName, url: &str) -> Result<Vec<Authorization>, Failure> {
        let mono = self.mono;
        let Some(order) = self.ca(ca).orders.get(url).filter(|order| !order.forgotten) else {
            return Err(failure(Class::Retry, "acme:orderGone", None));
        };
        let valid = order.proved.is_some_and(|due| due <= mono);
        let offered = order.names.iter().enumerate().map(|(at, identifier)| {
            let token = format!("token{at}{}", url.len());
            let challenge = Challenge {
                kind: "http-01".to_owned(),
                url: format!("{url}/challenge/{at}"),
                key_authorization: format!("{token}.thumb"),
                token,
            };
            let strange = Challenge { kind: "tomorrow-01".to_owned(), ..challenge.clone() };
            Authorization { identifier: identifier.clone(), valid, challenges: vec![strange, challenge] }
        });
        Ok(offered.collect())
    }

    fn validate(&mut self, ca: &IssuerName, url: &str, challenges: &[String]) -> Result<(), Failure> {
        let up = challenges.iter().all(|url| self.watcher.proofs_up.values().any(|proof| proof.url == *url));
        let refused = self.strikes(Fault::CaInvalidAuthorization);
        let delay = 200 + self.dice.below(8_000);
        let mono = self.mono;
        let class = if self.dice.below(3) == 0 { Class::Retry } else { Class::Operator };
        let Some(order) = self.ca(ca).orders.get_mut(url).filter(|order| !order.forgotten) else {
            return Err(failure(Class::Retry, "acme:orderGone", None));
        };
        if order.proved.is_some() {
            return Ok(());
        }
        if up && !refused {
            order.proved = Some(mono + delay);
        } else {
            order.refused = Some(failure(class, "acme:unauthorized", None));
        }
        if !up {
            self.watcher.violated("challenges_are_up_when_the_ca_looks", format!("{url}: {challenges:?}"));
        }
        Ok(())
    }

    fn sign(&mut self, ca: &IssuerName, url: &str, csr: &[u8]) -> Result<OrderLook, Failure> {
        #[derive(Deserialize)]
        struct Csr {
            key: KeyId,
            names: Vec<Identifier>,
        }
        let csr: Csr = serde_json::from_slice(csr).map_err(|_| failure(Class::Spec, "acme:badCSR", None))?;
        let look = self.show(ca, url)?;
        if look.status != OrderStatus::Ready {
            return Ok(look);
        }
        let stuck = self.strikes(Fault::CaStuckOrder);
        let due = self.mono + 100 + self.dice.below(10_000);
        let (start, lifetime) = (self.true_now() - Duration::from_secs(3_600), self.ca(ca).lifetime);
        let mut names = csr.names;
        if names.len() > 1 && self.strikes(Fault::WrongSan) {
            names.pop();
        }
        let key = if self.strikes(Fault::ForeignKey) { sha256(&[b"foreign"]) } else { csr.key };
        let complete = !self.strikes(Fault::MissingIntermediate);
        // Numbers are unique over all CAs, as serial numbers nearly are.
        let number = self.cas.values().map(|ca| ca.issued.len() as u64).sum::<u64>() + 1;
        let certificate = FakeCertificate { number, key, names, validity: Window { start, end: start + lifetime } };
        if !stuck {
            self.watcher.issued(&certificate);
            self.ca(ca).issued.push(certificate.clone());
            self.count("certificate", "issued");
        }
        if let Some(order) = self.ca(ca).orders.get_mut(url) {
            order.finalized = Some(if stuck { u64::MAX } else { due });
            order.certificate = Some(certificate.pem(complete));
        }
        self.show(ca, url)
    }

    fn suggest(&mut self, ca: &IssuerName, id: &str) -> Result<RenewalInfo, Failure> {
        if self.strikes(Fault::AriFails) {
            let wait = (self.dice.below(2) == 0).then_some(6 * 3_600);
            return Err(failure(Class::Retry, "acme:ari", wait));
        }
        let now = self.true_now();
        let moved = self.strikes(Fault::MovedWindow);
        let recalled = self.strikes(Fault::Recalled);
        let shift = Duration::from_secs(self.dice.below(2 * 86_400));
        let later = self.dice.below(2) == 0;
        let state = self.ca(ca);
        let Some(certificate) = state.issued.iter().find(|certificate| certificate.ari() == id) else {
            return Err(failure(Class::Retry, "acme:http404", Some(6 * 3_600)));
        };
        let usual = state.windows.get(id).copied().unwrap_or_else(|| FakeCa::usual_window(certificate));
        let window = if recalled {
            Window { start: now - Duration::from_secs(7_200), end: now - Duration::from_secs(3_600) }
        } else if moved && later {
            Window { start: usual.start + shift, end: usual.end + shift }
        } else if moved {
            Window { start: usual.start - shift, end: usual.end - shift }
        } else {
            usual
        };
        state.windows.insert(id.to_owned(), window);
        Ok(RenewalInfo { window, retry_after: state.ari_every, explanation: None })
    }

    /// The chain, and whether the CA has it.
    fn fetch(&mut self, ca: &IssuerName, url: &str) -> Result<Vec<u8>, Failure> {
        let order = self.ca(ca).orders.get(url).filter(|order| !order.forgotten);
        let chain = order.and_then(|order| order.certificate.clone());
        chain.ok_or_else(|| failure(Class::Retry, "acme:orderGone", None))
    }
}

/// One ACME directory, as one process speaks to it.
pub(crate) struct Client {
    peer: Peer,
    issuer: IssuerName,
    /// Whether this process has seen a `Date` of the CA's.
    heard: Cell<bool>,
}

impl Client {
    pub(crate) fn new(peer: Peer, issuer: &IssuerName) -> Self {
        let issuer = if peer.rehearsal { staging(issuer) } else { issuer.clone() };
        Self { peer, issuer, heard: Cell::new(false) }
    }

    /// One request: on its way, done or refused, on its way back, or lost there.
    async fn request<T>(
        &self,
        what: &str,
        act: impl FnOnce(&mut State, &IssuerName) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.peer.point(|| format!("{} {what}", self.issuer));
        self.peer.latency(5, 300).await;
        let result = {
            let mut state = self.peer.state();
            match state.refuses(&self.issuer) {
                Ok(()) => {
                    let result = act(&mut state, &self.issuer);
                    if state.strikes(Fault::CaLostReply) {
                        Err(failure(Class::Retry, "net:timeout", None))
                    } else {
                        result
                    }
                }
                Err(failure) => Err(failure),
            }
        };
        self.peer.latency(5, 100).await;
        let outcome = result.as_ref().err().map(|failure| failure.code.clone());
        if outcome.as_ref().is_none_or(|code| code.starts_with("acme:")) {
            self.heard.set(true);
        }
        self.peer.point(|| format!("{} {what}: {}", self.issuer, outcome.unwrap_or_else(|| "ok".to_owned())));
        result
    }
}

impl Ca for Client {
    fn offers(&self) -> Pending<'_, Result<Offers, Failure>> {
        Box::pin(self.request("directory", |_, _| Ok(Offers { renewal_info: true, ..Offers::default() })))
    }

    fn is_ready(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn account(&self) -> Pending<'_, Result<Account, Failure>> {
        Box::pin(async {
            let known = self.peer.state().ca(&self.issuer).accounts > 0;
            if !known {
                self.request("newAccount", |state, ca| {
                    state.ca(ca).accounts += 1;
                    Ok(())
                })
                .await?;
            }
            Ok(Account { url: format!("https://{}.example/account/1", self.issuer), thumbprint: "thumb".to_owned() })
        })
    }

    fn open_order<'a>(&'a self, order: &'a NewOrder) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(self.request("newOrder", move |state, ca| {
            if !self.peer.rehearsal {
                state.about_to_order(ca, order);
            }
            state.take_order(ca, order)
        }))
    }

    fn authorizations<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<Authorization>, Failure>> {
        Box::pin(self.request("authorizations", move |state, ca| state.challenges(ca, order)))
    }

    fn answer<'a>(&'a self, order: &'a str, challenges: &'a [String]) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.request("answer", move |state, ca| state.validate(ca, order, challenges)))
    }

    fn look<'a>(&'a self, order: &'a str) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(self.request("look at order", move |state, ca| state.show(ca, order)))
    }

    fn finalize<'a>(&'a self, order: &'a str, csr: &'a [u8]) -> Pending<'a, Result<OrderLook, Failure>> {
        Box::pin(self.request("finalize", move |state, ca| {
            if !self.peer.rehearsal {
                state.about_to_finalize(csr);
            }
            state.sign(ca, order, csr)
        }))
    }

    fn chain<'a>(&'a self, order: &'a str) -> Pending<'a, Result<Vec<u8>, Failure>> {
        Box::pin(self.request("chain", move |state, ca| state.fetch(ca, order)))
    }

    fn renewal_info<'a>(&'a self, certificate: &'a str) -> Pending<'a, Result<RenewalInfo, Failure>> {
        Box::pin(self.request("ARI", move |state, ca| state.suggest(ca, certificate)))
    }

    fn clock_offset(&self) -> Option<i64> {
        self.heard.get().then(|| self.peer.state().offset / 1_000)
    }
}
