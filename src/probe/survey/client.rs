//! The looks at what a server wants of clients, and at what it makes of a certificate that it is given.

use super::Surveyor;
use super::http::{Mute, Question, Spoken, ask, request};
use super::sight::Sight;
use crate::probe::checks::denies;
use crate::probe::handshake::{Handshake, Offer, TLS_1_2};
use crate::probe::target::Query;
use futures_util::future::{join, join3};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

/// A path that no server has: what is answered here is answered everywhere.
const NOWHERE: &str = "/.well-known/everleaf-check";

/// What one version's handshake and request came to, with the client's certificate.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The version.
    pub version: &'static str,
    /// The handshake, with the server's verdict that comes after it in TLS 1.3.
    pub shake: Handshake,
    /// What was answered in HTTP; none where the handshake failed or no HTTP is spoken.
    pub http: Option<Result<Spoken, Mute>>,
}

impl Surveyor {
    /// Whether the server wants another handshake in TLS 1.2 once it knows what is asked for.
    async fn renegotiates(&self, query: &Query, address: SocketAddr, offer: &Offer) -> bool {
        let again: Rc<Cell<Option<Rc<Cell<bool>>>>> = Rc::default();
        let offer = Offer { old: true, ..offer.clone() };
        let _socket = self.open.acquire().await;
        let open = async || {
            let stream = self.client.open(address, &offer).await?;
            again.set(Some(stream.get_ref().0.records.again()));
            Ok(stream)
        };
        // Some servers know no HEAD, and are silent.
        let _answer = request(&open, &Question::https(&query.name, address.port()), "GET", "/").await;
        again.take().is_some_and(|again| again.get())
    }

    /// What it wants of clients that the first looks did not show: whether it asks for a certificate later; whether a refusal that may be
    /// for want of one is of everything, or of the page alone; what it makes of the given one, where only a later look showed that it
    /// asks.
    pub(super) async fn clients(&self, sight: &mut Sight, query: &Query, offer: &Offer) {
        let address = sight.address;
        // Whoever answered nothing in HTTP speaks something else.
        let speaks = !matches!(&sight.http, None | Some(Err(Mute::Unopened(_) | Mute::Silent | Mute::NotHttp(_))));
        let again = async { speaks && self.renegotiates(query, address, offer).await };
        let denied = matches!(&sight.http, Some(Ok(spoken)) if denies(spoken.first.head.status));
        let asked = |shake: &Handshake| shake.client_certificate_asked;
        let asks = asked(sight.telling()) || sight.old.as_ref().is_some_and(asked);
        let control = async { if asks && denied { self.control(query, address, offer).await } else { None } };
        let unheard = sight.bare.is_some() && sight.main.chain.is_empty();
        let offer = Offer { web: offer.web && !unheard, ..offer.clone() };
        let missed =
            async { if asks && !asked(&sight.main) { self.given(query, address, &offer).await } else { Vec::new() } };
        let (renegotiates, elsewhere, missed) = Box::pin(join3(again, control, missed)).await;
        (sight.renegotiates, sight.elsewhere) = (renegotiates, elsewhere);
        sight.given.extend(missed);
    }

    async fn control(&self, query: &Query, address: SocketAddr, offer: &Offer) -> Option<u16> {
        let _socket = self.open.acquire().await;
        let open = async || self.client.open(address, offer).await;
        let question = Question::https(&query.name, address.port());
        request(&open, &question, "HEAD", NOWHERE).await.ok().map(|head| head.status)
    }

    /// What it makes of the given certificate, in each version.
    pub(super) async fn given(&self, query: &Query, address: SocketAddr, offer: &Offer) -> Vec<Tried> {
        let Some(identity) = &query.client else { return Vec::new() };
        let offer = Offer { identity: Some(identity.pair()), patient: true, ..offer.clone() };
        let (newest, old) =
            join(self.tried(query, address, &offer, false), self.tried(query, address, &offer, true)).await;
        // A server without TLS 1.3 was asked the same twice, and one without TLS 1.2 did not come to speak of certificates.
        let newest = newest.filter(|newest| newest.version != TLS_1_2 || old.is_none());
        newest.into_iter().chain(old).collect()
    }

    async fn tried(&self, query: &Query, address: SocketAddr, offer: &Offer, old: bool) -> Option<Tried> {
        let offer = Offer { old, ..offer.clone() };
        let shake = self.shake(address, &offer).await;
        let version = shake.version?;
        let mut http = None;
        if offer.web && shake.end.is_ok() {
            let _socket = self.open.acquire().await;
            let open = async || self.client.open(address, &offer).await;
            http = Some(ask(open, &Question::https(&query.name, address.port()), &*self.clock).await);
        }
        Some(Tried { version, shake, http })
    }
}
