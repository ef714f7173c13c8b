//! Looking from outside: dial, handshake, observe; then judge. There is one prober, and the confirm step uses it.
//!
//! `dial`, `starttls` and `handshake` record what a peer does and never decide; `judge` and `chain` decide and never touch a
//! socket. `files` reads what lies on a disk, for the same judgement.

mod alert;
pub mod chain;
pub mod checks;
mod dial;
pub mod files;
mod finding;
mod handshake;
mod judge;
mod label;
mod starttls;
pub mod survey;

pub use finding::{Finding, Verdict};
pub use handshake::Handshake;
pub use label::{Label, Severity, Trouble};
pub use starttls::negotiate;

use crate::config::spec::{Expect, Target};
use crate::net::dns::Resolver;
use crate::pki::{Anchors, RootStore};
use crate::ports::{Clock, Look, Observation, Pending, Prober, Shown};
use crate::types::{Class, Failure, Identifier, KeyFamily, Printable};
use futures_util::future::join_all;
use handshake::Client;
use judge::Bench;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Handshakes under way at once, over all looks: well below the usual limit of 1,024 open files.
const AT_ONCE: usize = 256;
/// What stands for the `*` of a wildcard name: the server must answer for any label.
const WILDCARD_LABEL: &str = "everleaf-check";

/// Looks over TLS, from this machine.
pub struct TlsProber {
    resolver: Rc<Resolver>,
    clock: Rc<dyn Clock>,
    roots: RootStore,
    client: Client,
    slots: Semaphore,
}

impl TlsProber {
    /// A prober that resolves hosts with `resolver`. Touches no network.
    ///
    /// # Errors
    /// Code `probe:tls` when the TLS library cannot be set up.
    pub fn new(resolver: Rc<Resolver>, clock: Rc<dyn Clock>) -> Result<Self, Failure> {
        Ok(Self {
            resolver,
            clock,
            roots: RootStore::default(),
            client: Client::new()?,
            slots: Semaphore::new(AT_ONCE),
        })
    }

    async fn look(&self, look: &Look<'_>) -> Vec<Observation> {
        let endpoint = look.endpoint;
        let place = endpoint.sni.to_string();
        let prepared = match endpoint.expect {
            Expect::Leaf => Ok(None),
            Expect::Valid => self.roots.load(&look.issuer.roots).map(Some),
        };
        let (sni, anchors) = match (server_name(&endpoint.sni), prepared) {
            (Ok(sni), Ok(anchors)) => (sni, anchors),
            (Err(failure), _) | (_, Err(failure)) => return vec![unreachable(failure)],
        };
        match self.addresses(&endpoint.target, &place).await {
            Ok(addresses) => {
                let each = addresses.into_iter().map(|it| self.address(look, it, &sni, anchors.as_deref()));
                join_all(each).await
            }
            Err(failure) => vec![unreachable(failure)],
        }
    }

    async fn addresses(&self, target: &Target, place: &str) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = match target {
            Target::Address(address) => return Ok(vec![*address]),
            Target::Host { host, port } => (host, *port),
        };
        match self.resolver.addresses(host).await {
            Ok(found) if found.is_empty() => {
                let trouble = Trouble::silent(Label::DnsNoAddress, format!("{host} has neither A nor AAAA"));
                Err(trouble.failure(None, place))
            }
            Ok(found) => Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
            Err(failure) => {
                let none = matches!(failure.code.as_str(), "dns:noAddress" | "dns:nxdomain");
                let label = if none { Label::DnsNoAddress } else { Label::DnsFailed };
                let mut sorted = Trouble::silent(label, failure.message.to_string()).failure(None, place);
                sorted.place = failure.place;
                sorted.details = failure.details;
                Err(sorted)
            }
        }
    }

    /// Fresh handshakes with one address, spread over the span asked for; the first that does not match ends them.
    async fn address(
        &self,
        look: &Look<'_>,
        address: SocketAddr,
        sni: &ServerName<'static>,
        anchors: Option<&Anchors>,
    ) -> Observation {
        let rounds = look.handshakes.max(1);
        let gap = if rounds > 1 { look.over / (rounds - 1) } else { Duration::ZERO };
        let began = Instant::now();
        let mut notes: Vec<Printable> = Vec::new();
        for round in 0..rounds {
            tokio::time::sleep_until(began + gap * round).await;
            let (shown, found) = self.once(look, address, sni, anchors).await;
            notes.extend(found);
            if shown != Shown::Wanted {
                return Observation { address: Some(address), shown, matched: round, notes: distinct(notes) };
            }
        }
        Observation { address: Some(address), shown: Shown::Wanted, matched: rounds, notes: distinct(notes) }
    }

    async fn once(
        &self,
        look: &Look<'_>,
        address: SocketAddr,
        sni: &ServerName<'static>,
        anchors: Option<&Anchors>,
    ) -> (Shown, Vec<Printable>) {
        let shake = async |family: Option<KeyFamily>| {
            // Never closed: an error cannot come.
            let _slot = self.slots.acquire().await;
            self.client.shake(address, sni, look.endpoint.starttls, family).await
        };
        let family = (look.endpoint.expect == Expect::Leaf).then_some(look.family);
        let handshake = shake(family).await;
        let bench = Bench { look, address, anchors, now: self.clock.now() };
        let refused = handshake.end.as_ref().is_err_and(|trouble| trouble.label == Label::HandshakeRefused);
        if family.is_some() && refused && handshake.chain.is_empty() {
            // A server that still has only a certificate of the other family refuses: see what it does serve.
            let again = shake(None).await;
            if !again.chain.is_empty() {
                return judge::shown(&again, &bench);
            }
        }
        judge::shown(&handshake, &bench)
    }
}

impl Prober for TlsProber {
    fn observe<'a>(&'a self, look: &'a Look<'a>) -> Pending<'a, Vec<Observation>> {
        Box::pin(self.look(look))
    }
}

/// The name to ask for. An address is never sent as SNI (RFC 6066 §3).
fn server_name(sni: &Identifier) -> Result<ServerName<'static>, Failure> {
    let host = match sni {
        Identifier::Ip(address) => return Ok(ServerName::IpAddress((*address).into())),
        Identifier::Dns(name) if sni.is_wildcard() => format!("{WILDCARD_LABEL}.{}", name.trim_start_matches("*.")),
        Identifier::Dns(name) => name.clone(),
    };
    ServerName::try_from(host)
        .map_err(|_| Failure::new(Class::Spec, "probe:name", sni.to_string(), "the name cannot be asked for in TLS"))
}

fn unreachable(failure: Failure) -> Observation {
    Observation { address: None, shown: Shown::Unreachable { failure }, matched: 0, notes: Vec::new() }
}

fn distinct(mut notes: Vec<Printable>) -> Vec<Printable> {
    notes.sort();
    notes.dedup();
    notes
}
