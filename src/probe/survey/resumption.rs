//! Sessions: whether a server resumes its own, whether other servers of the name do, and whether it takes data before the
//! handshake is done (RFC 8446 §2.2, §2.3; RFC 5077).

mod early;
mod store;

use super::{Sight, Surveyor, http, is_web};
use crate::probe::dial::{self, Tap};
use crate::probe::handshake::{Client, Offer, sorted};
use crate::probe::label::{Label, Trouble};
use crate::probe::target::Query;
use futures_util::future::{OptionFuture, join};
use rustls::client::ClientSessionStore;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Tickets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For all that is asked of one server in one version.
const ROUND_LIMIT: Duration = Duration::from_millis(4500);
/// How long a ticket of TLS 1.3, which comes after the handshake, is waited for.
const TICKET_LIMIT: Duration = Duration::from_millis(800);
/// How often it is looked whether one has come.
const TICKET_TICK: Duration = Duration::from_millis(20);
/// For saying goodbye: a server forgets the session of whoever does not.
const CLOSE_LIMIT: Duration = Duration::from_millis(100);
/// A server that does not take its own ticket is asked again: behind one address may be several.
const TRIES: usize = 3;
/// Other servers that one server's tickets are offered to: of a large fleet each meets the next few.
const OTHERS: usize = 4;

/// What one server's tickets are worth, in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Who gave them.
    pub from: SocketAddr,
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// How often it was offered its own, and how often it took it: the control. Nothing was offered where it gave none.
    pub own: Tally,
    /// Whether each of these took one: all that were asked.
    pub others: Vec<(SocketAddr, bool)>,
    /// What became of data sent with the first flight, where the tickets allow that.
    pub early: Option<Early>,
}

/// How often something was offered and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Offered.
    pub offered: usize,
    /// Taken.
    pub taken: usize,
}

/// What became of early data: a `HEAD` request for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Early {
    /// How many bytes the tickets allow.
    pub allowed: u32,
    /// Whether it was taken.
    pub taken: bool,
    /// What the application answered to it.
    pub status: Option<u16>,
}

impl Surveyor {
    /// What the session tickets of `sight` are worth, to itself and to all that serve the same leaf, in each version.
    pub(super) async fn rounds(
        &self,
        query: &Query,
        sight: &Sight,
        sights: &[Sight],
        sni: Option<&ServerName<'static>>,
    ) -> Vec<Round> {
        let shaken = sight.telling();
        let (Some(agreed), Some(leaf), true) = (&shaken.agreed, shaken.chain.first(), shaken.end.is_ok()) else {
            return Vec::new();
        };
        // Some servers bind a session to all certificates that they have, and to the clients' CAs.
        let second = |sight: &Sight| sight.other_family.as_ref().and_then(|it| it.chain.first().cloned());
        let alike = |other: &&Sight| {
            let shown = other.telling();
            let asks = shown.client_certificate_asked == shaken.client_certificate_asked;
            let same = shown.chain.first() == Some(leaf) && second(other) == second(sight) && asks;
            other.address != sight.address && shown.end.is_ok() && same
        };
        // Each meets those that come after it, so that in a large fleet too everybody is asked.
        let at = sights.iter().position(|it| it.address == sight.address).unwrap_or_default();
        let others: Vec<SocketAddr> =
            sights[at..].iter().chain(&sights[..at]).filter(alike).map(|it| it.address).collect();
        let question = is_web(query, sight.address).then(|| http::Question::https(&query.name, sight.address.port()));
        let round = async |old: bool| {
            let name = sni.cloned().unwrap_or_else(|| ServerName::IpAddress(sight.address.ip().into()));
            let offer = Offer { old, web: agreed.alpn.is_some(), ..Offer::plain(name, query.starttls) };
            let _slot = self.open.acquire().await;
            let asker =
                Asker { client: &self.client, offer: &offer, question: question.as_ref(), protocol: b"http/1.1" };
            match asker.round(sight.address, &others).await {
                // It speaks nothing but HTTP/2, in which nothing is asked early here.
                Err(trouble) if trouble.label == Label::AlpnRejected => {
                    Asker { question: None, protocol: b"h2", ..asker }.round(sight.address, &others).await
                }
                round => round,
            }
            .ok()?
        };
        let new = agreed.version == "TLS 1.3";
        let old = !new || sight.old.as_ref().is_some_and(|old| old.end.is_ok());
        let [new, old] = [(new, false), (old, true)].map(|(wanted, old)| {
            let look = Box::pin(round(old));
            OptionFuture::from(wanted.then_some(look))
        });
        let (new, old) = join(new, old).await;
        new.into_iter().chain(old).flatten().collect()
    }
}

/// Who is asked, and how.
struct Asker<'a> {
    client: &'a Client,
    offer: &'a Offer,
    /// What to ask in early data; none where no HTTP is spoken.
    question: Option<&'a http::Question>,
    /// What is offered of the application protocols.
    protocol: &'a [u8],
}

struct Shaken {
    stream: TlsStream<Tap>,
    resumed: bool,
    version: Option<ProtocolVersion>,
}

impl Asker<'_> {
    /// Gets tickets from `from` and offers them to it and to `others`. `None` where it does not shake hands in this version, or
    /// did not say all in time.
    async fn round(&self, from: SocketAddr, others: &[SocketAddr]) -> Result<Option<Round>, Trouble> {
        tokio::time::timeout(ROUND_LIMIT, self.ask(from, others)).await.unwrap_or(Ok(None))
    }

    async fn ask(&self, from: SocketAddr, others: &[SocketAddr]) -> Result<Option<Round>, Trouble> {
        let tickets = Arc::new(Tickets::default());
        let config = Arc::new(self.config(&tickets));
        let wanted = if self.offer.old { ProtocolVersion::TLSv1_2 } else { ProtocolVersion::TLSv1_3 };
        let first = self.shake(from, &config).await?;
        if first.version != Some(wanted) {
            return Ok(None);
        }
        self.part(first, &tickets).await;
        let version = if self.offer.old { "TLS 1.2" } else { "TLS 1.3" };
        let mut round = Round { from, version, own: Tally::default(), others: Vec::new(), early: None };
        while round.own.offered < TRIES && round.own.taken == 0 && !tickets.is_empty() {
            let again = self.shake(from, &config).await?;
            round.own.offered += 1;
            round.own.taken += usize::from(again.resumed);
            self.part(again, &tickets).await;
        }
        if round.own.taken == 0 {
            return Ok(Some(round));
        }
        for other in others.iter().take(OTHERS) {
            self.refill(from, &config, &tickets).await?;
            // What the other gives is its own, and must not be offered as the first one's.
            tickets.close(true);
            // Whoever does not answer now says nothing about tickets.
            if let Ok(shaken) = self.shake(*other, &config).await {
                round.others.push((*other, shaken.resumed));
                leave(shaken).await;
            }
            tickets.close(false);
        }
        if let Some(question) = self.question.filter(|_| !self.offer.old) {
            self.refill(from, &config, &tickets).await?;
            round.early = self.early(from, &config, &tickets, question).await;
        }
        Ok(Some(round))
    }

    fn config(&self, tickets: &Arc<Tickets>) -> ClientConfig {
        let store = Arc::clone(tickets) as Arc<dyn ClientSessionStore>;
        let mut config = self.client.resuming(self.offer, store);
        // Early data is a request of HTTP/1.
        config.alpn_protocols.retain(|protocol| protocol == self.protocol);
        config
    }

    async fn shake(&self, address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Shaken, Trouble> {
        let stream = dial::prepare(dial::connect(address).await?, self.offer.starttls).await?;
        let connector = TlsConnector::from(Arc::clone(config));
        let connecting = connector.connect(self.offer.name.clone(), stream).into_fallible();
        let stream = connecting.await.map_err(|(error, tap)| sorted(&error, &tap))?;
        let state = stream.get_ref().1;
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        let version = state.protocol_version();
        Ok(Shaken { stream, resumed, version })
    }

    /// Waits for a ticket, where one may still come, and says goodbye.
    async fn part(&self, mut shaken: Shaken, tickets: &Tickets) {
        let until = Instant::now() + TICKET_LIMIT;
        let late = shaken.version == Some(ProtocolVersion::TLSv1_3);
        while late && tickets.is_empty() && Instant::now() < until {
            let mut data = [0; 1];
            // A ticket is no data: reading takes it in, and goes on waiting.
            match tokio::time::timeout(TICKET_TICK, shaken.stream.read(&mut data)).await {
                Err(_) => {}
                // A server that speaks first has given its tickets before.
                Ok(_) => break,
            }
        }
        leave(shaken).await;
    }

    async fn refill(&self, from: SocketAddr, config: &Arc<ClientConfig>, tickets: &Tickets) -> Result<(), Trouble> {
        if tickets.is_empty() {
            let again = self.shake(from, config).await?;
            self.part(again, tickets).await;
        }
        Ok(())
    }

    /// Sends a request in the first flight, where the tickets allow it.
    async fn early(
        &self,
        address: SocketAddr,
        config: &ClientConfig,
        tickets: &Tickets,
        question: &http::Question,
    ) -> Option<Early> {
        let allowed = tickets.early_data().filter(|allowed| *allowed > 0)?;
        let mut config = config.clone();
        config.enable_early_data = true;
        let mut stream = dial::prepare(dial::connect(address).await.ok()?, self.offer.starttls).await.ok()?;
        let mut connection = ClientConnection::new(Arc::new(config), self.offer.name.clone()).ok()?;
        connection.early_data()?.write_all(question.text("HEAD", "/", "keep-alive").as_bytes()).ok()?;
        let status = early::answer(&mut connection, &mut stream).await;
        Some(Early { allowed, taken: connection.is_early_data_accepted(), status })
    }
}

async fn leave(mut shaken: Shaken) {
    let _impolite = tokio::time::timeout(CLOSE_LIMIT, shaken.stream.shutdown()).await.is_err();
}
