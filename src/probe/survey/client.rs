//! The looks at what a server wants of clients, and at what it makes of a certificate that it is given.

use super::Surveyor;
use super::http::{LIMIT, Mute, Question, Spoken, request};
use super::late;
use super::sight::Sight;
use crate::probe::dial::Tap;
use crate::probe::handshake::{Handshake, Offer, TLS_1_2, TLS_1_3};
use crate::probe::label::Trouble;
use crate::probe::target::Query;
use futures_util::future::{join, join4, select};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio_rustls::client::TlsStream;

/// A path that no server has: what is answered here is answered everywhere.
const NOWHERE: &str = "/.well-known/everleaf-check";

/// How often it is looked whether a server wants another handshake.
const TICK: Duration = Duration::from_millis(20);

/// What one version's handshake and request came to, with the client's certificate.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The version.
    pub version: &'static str,
    /// The handshake, with the server's verdict that comes after it in TLS 1.3.
    pub shake: Handshake,
    /// What was answered in HTTP; none where the handshake failed or no HTTP is spoken.
    pub http: Option<Result<Spoken, Mute>>,
    /// The status of a path that nobody has, after an answer that may be a refusal of the certificate.
    pub elsewhere: Option<u16>,
}

/// Whether a status may be for the client certificate, or for want of one: nginx answers 400 itself (its own 495 and 496 inside), and
/// applications 403.
pub(in crate::probe) const fn denies(status: u16) -> bool {
    matches!(status, 400 | 403 | 495 | 496)
}

/// Watches connections for servers that want another handshake.
#[derive(Default)]
pub(super) struct Again(RefCell<Vec<Rc<Cell<bool>>>>);

impl Again {
    /// Watches one more.
    pub(super) fn watch(&self, opened: Result<TlsStream<Tap>, Trouble>) -> Result<TlsStream<Tap>, Trouble> {
        if let Ok(stream) = &opened {
            self.0.borrow_mut().push(stream.get_ref().0.records.again());
        }
        opened
    }

    /// Whether one of them did.
    pub(super) fn seen(&self) -> bool {
        self.0.borrow().iter().any(|again| again.get())
    }
}

impl Surveyor {
    /// Whether the server wants another handshake in TLS 1.2 once it knows what is asked for.
    async fn renegotiates(&self, query: &Query, address: SocketAddr, offer: &Offer) -> bool {
        let again = Again::default();
        let offer = Offer { old: true, ..offer.clone() };
        let _socket = self.open.acquire().await;
        let open = async || again.watch(self.client.open(address, &offer).await);
        // Some servers know no HEAD, and are silent.
        let question = Question::https(&query.name, address.port());
        let answer = request(&open, &question, "GET", "/", LIMIT);
        // It waits for our part of the other handshake, which will not come.
        let wanted = async {
            while !again.seen() {
                tokio::time::sleep(TICK).await;
            }
        };
        let _either = select(pin!(answer), pin!(wanted)).await;
        again.seen()
    }

    /// What it wants of clients that the first looks did not show: whether it asks for a certificate later; whether a refusal that may be
    /// for want of one is of everything, or of the page alone; what it makes of the given one, where only a later look showed that it
    /// asks.
    pub(super) async fn clients(&self, sight: &mut Sight, query: &Query, offer: &Offer) {
        let address = sight.address;
        let denied = matches!(&sight.http, Some(Ok(spoken)) if denies(spoken.first.head.status));
        // In TLS 1.3 a client that cannot be asked later is refused; in TLS 1.2 it is asked.
        let newer = sight.main.version == Some(TLS_1_3);
        let odd = newer && (denied || matches!(&sight.http, Some(Err(Mute::Alert(_) | Mute::Broken(_)))));
        let again = async { odd && self.renegotiates(query, address, offer).await };
        let late = async { odd && self.late(query, address, offer).await };
        let asked = |shake: &Handshake| shake.client_certificate_asked;
        let asks = asked(sight.telling()) || sight.old.as_ref().is_some_and(asked);
        let control = async { if asks && denied { self.control(query, address, offer).await } else { None } };
        let unheard = sight.bare.is_some() && sight.main.chain.is_empty();
        let offer = Offer { web: offer.web && !unheard, ..offer.clone() };
        let missed =
            async { if asks && !asked(&sight.main) { self.given(query, address, &offer).await } else { Vec::new() } };
        let (renegotiates, asks_late, elsewhere, missed) = Box::pin(join4(again, late, control, missed)).await;
        sight.renegotiates |= renegotiates;
        (sight.asks_late, sight.elsewhere) = (asks_late, elsewhere);
        sight.given.extend(missed);
    }

    /// Whether the server asks a client of TLS 1.3 for a certificate that says it can be asked after the handshake.
    async fn late(&self, query: &Query, address: SocketAddr, offer: &Offer) -> bool {
        let _socket = self.open.acquire().await;
        let question = Question::https(&query.name, address.port());
        late::asks(address, &offer.name, offer.starttls, &question).await == Some(true)
    }

    async fn control(&self, query: &Query, address: SocketAddr, offer: &Offer) -> Option<u16> {
        let _socket = self.open.acquire().await;
        let open = async || self.client.open(address, offer).await;
        let question = Question::https(&query.name, address.port());
        request(&open, &question, "HEAD", NOWHERE, LIMIT).await.ok().map(|head| head.status)
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
        let http = Box::pin(self.secure(query, address, &offer, &shake, &Again::default())).await;
        let denied = matches!(&http, Some(Ok(spoken)) if denies(spoken.first.head.status));
        let elsewhere = if denied { self.control(query, address, &offer).await } else { None };
        Some(Tried { version, shake, http, elsewhere })
    }
}
