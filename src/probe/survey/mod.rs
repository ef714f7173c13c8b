//! Touches the network and records; never decides. DNS first, then every address beside the others.

pub mod client;
pub mod crl;
pub mod hello;
pub mod http;
mod late;
mod policy;
pub mod resumption;
mod revocation;
mod sight;

pub use sight::Sight;

use super::checks::{SLOW, offered};
use super::files::Disk;
use super::handshake::{Client, Handshake, Offer};
use super::label::{Label, Trouble};
use super::resolve;
use super::target::{Place, Query, Via, server_name};
use crate::config::spec::StartTls;
use crate::net::dns::{Resolver, routed};
use crate::pki::Certificate;
use crate::ports::Clock;
use crate::types::{Failure, Identifier, KeyFamily, NodeName, Timestamp};
use client::Again;
use futures_util::future::{OptionFuture, join, join_all, join3, join5};
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Handshakes that are worked on at once: more would not be done any sooner, and each holds its buffers.
const BUSY: usize = 128;
/// After this a peer counts as silent: it is waited for, and no longer keeps others from their turn.
const BRISK: Duration = Duration::from_millis(300);
/// What one lookup opens: a socket each for A and AAAA.
const LOOKUP: u32 = 2;
/// A name that no server can have (RFC 6761 §6.4): it meets the default virtual host, or a refusal.
const STRANGER: &str = "everleaf-check.invalid";
/// Other names of the same place that are asked for after a certificate that is not for the name.
const OTHERS: usize = 8;
/// Ports of services that speak no HTTP: submission, LDAP, DNS, IMAP, POP3, AMQP and MQTT over TLS.
const NOT_WEB: [u16; 7] = [465, 636, 853, 993, 995, 5671, 8883];

/// Everything that was seen of one target.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What was asked.
    pub query: Query,
    /// When it began.
    pub at: Timestamp,
    /// Why there is no address to look at.
    pub unresolved: Vec<Trouble>,
    /// What each address showed.
    pub sights: Vec<Sight>,
    /// What lies on this machine's disk, where somebody asked.
    pub disk: Option<Disk>,
    /// What became of names below the target's, where they were looked at.
    pub below: Vec<Below>,
}

/// A name below a target's, and whether it can be held to HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// The name.
    pub name: Identifier,
    /// Why not: the label of its worst failure; none where it is well.
    pub fault: Option<Label>,
}

/// Looks at targets.
pub struct Surveyor {
    resolver: Rc<Resolver>,
    clock: Rc<dyn Clock>,
    client: Client,
    /// A permit for each socket that may be open.
    open: Semaphore,
    busy: Semaphore,
    lists: crl::Lists,
}

impl Surveyor {
    /// A surveyor that resolves hosts with `resolver` and has at most `sockets` open at once. Touches no network.
    ///
    /// # Errors
    /// Code `probe:tls` when the TLS library cannot be set up.
    pub fn new(resolver: Rc<Resolver>, clock: Rc<dyn Clock>, sockets: usize) -> Result<Self, Failure> {
        // A lookup waits for its sockets together, and would wait for ever for more than there are.
        let open = Semaphore::new(sockets.max(LOOKUP.max(hello::AT_ONCE) as usize));
        let (busy, lists) = (Semaphore::new(BUSY), crl::Lists::default());
        Ok(Self { resolver, clock, client: Client::new()?, open, busy, lists })
    }

    /// Looks at every address of the target. Bounded in time and bytes.
    ///
    /// # Errors
    /// Code `probe:name` when the name cannot be asked for in TLS.
    pub async fn survey(&self, query: Query) -> Result<Survey, Failure> {
        let at = self.clock.now();
        let sni = query.sni().map(server_name).transpose()?;
        let (addresses, unresolved) = self.addresses(&query).await;
        let fleet = addresses.len() > 1 && !query.quick;
        let each = addresses.into_iter().map(async |(address, node)| {
            let mut sight = self.sight(&query, address, node, sni.as_ref()).await;
            if fleet && sight.main.end.is_ok() {
                let asked = self.hello(&query, address, sni.as_ref(), hello::Offer::Old);
                sight.legacy = Some(Box::pin(asked).await);
            }
            Box::pin(self.revocation(&mut sight, &query, sni.as_ref())).await;
            sight
        });
        let mut sights = join_all(each).await;
        if !query.quick {
            let all = join_all(sights.iter().map(|sight| self.rounds(&query, sight, &sights, sni.as_ref()))).await;
            for (sight, rounds) in sights.iter_mut().zip(all) {
                sight.rounds = rounds;
            }
        }
        Ok(Survey { query, at, unresolved, sights, disk: None, below: Vec::new() })
    }

    async fn addresses(&self, query: &Query) -> (Vec<(SocketAddr, Option<NodeName>)>, Vec<Trouble>) {
        let target = &query.target;
        let own = [Via { place: Place { host: target.host.clone(), port: None }, node: None }];
        let vias = if query.connect.is_empty() { &own[..] } else { &query.connect };
        let mut found: Vec<(SocketAddr, Option<NodeName>)> = Vec::new();
        let mut unresolved = Vec::new();
        for (via, looked_up) in vias.iter().zip(join_all(vias.iter().map(|via| self.resolve(&via.place.host))).await) {
            let port = via.place.port.unwrap_or(target.port);
            match looked_up {
                Ok(addresses) => {
                    let fresh = addresses.into_iter().map(|address| (SocketAddr::new(address, port), via.node.clone()));
                    let fresh: Vec<_> = fresh.filter(|(it, _)| found.iter().all(|(have, _)| have != it)).collect();
                    found.extend(fresh);
                }
                Err(trouble) => unresolved.push(trouble),
            }
        }
        (found, unresolved)
    }

    async fn resolve(&self, host: &Identifier) -> Result<Vec<IpAddr>, Trouble> {
        let name = match host {
            Identifier::Ip(address) => return Ok(vec![*address]),
            Identifier::Dns(name) => name,
        };
        let _sockets = self.open.acquire_many(LOOKUP).await;
        resolve::addresses(&self.resolver, name).await.map_err(|(label, failure)| {
            let asked = self.resolver.asked();
            Trouble::silent(label, format!("{}: {} (asked: {asked})", failure.place, failure.message))
        })
    }

    async fn sight(
        &self,
        query: &Query,
        address: SocketAddr,
        node: Option<NodeName>,
        sni: Option<&ServerName<'static>>,
    ) -> Sight {
        let nobody = ServerName::IpAddress(address.ip().into());
        let plain = Offer::plain(sni.unwrap_or(&nobody).clone(), query.starttls);
        let offer = Offer { web: is_web(query, address), patient: true, ..plain };
        let mut sight = Sight::new(address, node, self.shake(address, &offer).await);
        if sight.main.end.is_ok() && sight.main.took >= SLOW {
            // In a crowd, or on a busy machine, it may have been we who were slow.
            let again = self.shake(address, &offer).await;
            sight.main.took = if again.end.is_ok() { sight.main.took.min(again.took) } else { sight.main.took };
        }
        if sight.main.end.as_ref().is_err_and(|trouble| trouble.label == Label::Unreachable) {
            sight.routed = routed(address);
        }
        if let Err(trouble) = &sight.main.end
            && offered::is_open(trouble)
            && sight.main.chain.is_empty()
        {
            let _slots = self.open.acquire_many(hello::AT_ONCE).await;
            let hellos = Box::pin(hello::ask_all(address, &offer.name, offer.starttls)).await;
            // What is shown in the clear is a certificate like any other, only unproved.
            sight.main.chain = hellos.chain().to_vec();
            sight.hellos = Some(hellos);
        }
        // Whoever did not answer at all would cost as much time again.
        if query.quick || sight.main.end.as_ref().is_err_and(|trouble| !trouble.answered) {
            return sight;
        }
        let main = sight.main.clone();
        let again = Again::default();
        let said = join(self.secure(query, address, &offer, &main, &again), self.plain(query, address, &offer));
        let asked = main.client_certificate_asked;
        let given = async { if asked { self.given(query, address, &offer).await } else { Vec::new() } };
        let looks = join3(Box::pin(said), Box::pin(given), Box::pin(self.deepen(&mut sight, query, &offer)));
        ((sight.http, sight.plain), sight.given, ()) = looks.await;
        sight.renegotiates = again.seen();
        let old = sight.old.as_ref().and_then(|old| old.end.as_ref().err());
        if old.is_some_and(|trouble| trouble.label != Label::ProtocolTooOld && offered::is_open(trouble)) {
            sight.tls12 = Some(Box::pin(self.hello(query, address, sni, hello::Offer::Tls12)).await);
        }
        Box::pin(self.clients(&mut sight, query, &offer)).await;
        sight
    }

    /// What it answers to what rustls cannot offer.
    async fn hello(
        &self,
        query: &Query,
        address: SocketAddr,
        sni: Option<&ServerName<'static>>,
        offer: hello::Offer,
    ) -> hello::Answer {
        let nobody = ServerName::IpAddress(address.ip().into());
        let _socket = self.open.acquire().await;
        hello::ask(address, sni.unwrap_or(&nobody), query.starttls, offer).await
    }

    async fn shake(&self, address: SocketAddr, offer: &Offer) -> Handshake {
        // Never closed: an error cannot come.
        let _socket = self.open.acquire().await;
        let busy = self.busy.acquire().await;
        let mut shake = pin!(self.client.shake(address, offer));
        if let Ok(brisk) = tokio::time::timeout(BRISK, &mut shake).await {
            return brisk;
        }
        drop(busy);
        shake.await
    }

    /// All further looks at one address, beside each other.
    async fn deepen(&self, sight: &mut Sight, query: &Query, offer: &Offer) {
        let address = sight.address;
        let take = |wanted: bool, offer: Offer| {
            let look = Box::pin(async move { self.shake(address, &offer).await });
            OptionFuture::from(wanted.then_some(look))
        };
        let brief = Offer { patient: false, ..offer.clone() };
        let leaf = sight.main.chain.first().and_then(|leaf| Certificate::from_der(leaf).ok());
        let family = leaf.as_ref().and_then(|leaf| leaf.key_kind().family()).map(other);
        let named = query.sni().is_some();
        let refused = sight.main.end.is_err() && sight.main.chain.is_empty();
        let modern = sight.main.agreed.as_ref().is_some_and(|agreed| agreed.version == "TLS 1.3");
        let bare = take(refused && brief.web, Offer { web: false, ..offer.clone() });
        let nameless = take(named, Offer { name: ServerName::IpAddress(address.ip().into()), ..brief.clone() });
        let stranger = ServerName::try_from(STRANGER).ok();
        let stranger = take(
            named && stranger.is_some(),
            Offer { name: stranger.unwrap_or_else(|| brief.name.clone()), ..brief.clone() },
        );
        let other_family = take(family.is_some(), Offer { family, ..brief.clone() });
        let old = take(modern, Offer { old: true, ..brief.clone() });
        let neighbours = self.neighbours(address, query, leaf.as_ref(), &brief);
        let looks = join(join5(bare, nameless, stranger, other_family, old), neighbours).await;
        ((sight.bare, sight.nameless, sight.stranger, sight.other_family, sight.old), sight.neighbours) = looks;
    }

    /// Asks for names that the certificate's server may have as well, where the certificate is not for the one asked for.
    async fn neighbours(
        &self,
        address: SocketAddr,
        query: &Query,
        leaf: Option<&Certificate>,
        brief: &Offer,
    ) -> Vec<(Identifier, Handshake)> {
        let (Some(Identifier::Dns(asked)), Some(leaf)) = (query.sni(), leaf) else { return Vec::new() };
        if leaf.names().iter().any(|name| name.covers(&query.name)) {
            return Vec::new();
        }
        let own = leaf.names().iter().find(|name| matches!(name, Identifier::Dns(_))).cloned();
        let near = [format!("www.{asked}"), asked.split_once('.').map(|(_, base)| base.to_owned()).unwrap_or_default()];
        let near = near.iter().filter_map(|name| name.parse().ok());
        let others = query.others.iter().filter(|other| **other != query.name).take(OTHERS).cloned();
        let looks = own.into_iter().chain(near).chain(others).filter_map(|name: Identifier| {
            let offer = Offer { name: server_name(&name).ok()?, ..brief.clone() };
            Some(Box::pin(async move { (name, self.shake(address, &offer).await) }))
        });
        join_all(looks).await
    }
}

/// Whether it may speak HTTP.
fn is_web(query: &Query, address: SocketAddr) -> bool {
    query.starttls == StartTls::No && !NOT_WEB.contains(&address.port())
}

const fn other(family: KeyFamily) -> KeyFamily {
    match family {
        KeyFamily::Ecdsa => KeyFamily::Rsa,
        KeyFamily::Rsa => KeyFamily::Ecdsa,
    }
}
