//! Looks for the confirm step: does each address of an endpoint serve what it should?

use super::checks::revocation;
use super::far::Far;
use super::handshake::{Client, Handshake, Offer};
use super::judge::{self, Bench};
use super::label::{Label, Trouble};
use super::relay::Watched;
use super::resolve;
use super::survey::crl::Lists;
use super::target::server_name;
use crate::config::spec::{Expect, Target};
use crate::net::dns::Resolver;
use crate::pki::{Anchors, Certificate, RootStore};
use crate::ports::{Clock, Look, Observation, Pending, Prober, Shown};
use crate::types::{Failure, KeyFamily, Printable, Vantage};
use futures_util::future::{OptionFuture, join, join_all};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Handshakes under way at once, over all looks: well below the usual limit of 1,024 open files.
const AT_ONCE: usize = 256;

/// How long a CRL is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks over TLS, from this machine or from where an endpoint says.
pub struct TlsProber {
    resolver: Rc<Resolver>,
    clock: Rc<dyn Clock>,
    roots: RootStore,
    client: Client,
    slots: Semaphore,
    far: Far,
    lists: Lists,
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
            far: Far::default(),
            lists: Lists::in_passing(),
        })
    }

    /// Looks from where the endpoint says.
    async fn look(&self, look: &Look<'_>) -> Vec<Observation> {
        let prepared = match look.endpoint.expect {
            Expect::Leaf => Ok(None),
            Expect::Valid => self.roots.load(look.roots).map(Some),
        };
        let anchors = match prepared {
            Ok(anchors) => anchors,
            Err(failure) => return vec![unreachable(failure)],
        };
        match &look.endpoint.from {
            Vantage::Here => self.look_from_here(look, anchors.as_deref()).await,
            Vantage::Ssh(host) => self.far.look(host, &Watched::of(look, anchors.as_deref())).await,
        }
    }

    /// Takes a look that another everleaf asks for.
    pub async fn relayed(&self, watched: &Watched) -> Vec<Observation> {
        let endpoint = watched.endpoint();
        match watched.anchors(&self.roots) {
            Ok(anchors) => self.look_from_here(&watched.look(&endpoint), anchors.as_deref()).await,
            Err(failure) => vec![unreachable(failure)],
        }
    }

    async fn look_from_here(&self, look: &Look<'_>, anchors: Option<&Anchors>) -> Vec<Observation> {
        let endpoint = look.endpoint;
        let place = endpoint.sni.to_string();
        let sni = match server_name(&endpoint.sni) {
            Ok(sni) => sni,
            Err(failure) => return vec![unreachable(failure)],
        };
        match self.addresses(&endpoint.target, &place).await {
            Ok(addresses) => {
                let each = addresses.into_iter().map(|it| self.address(look, it, &sni, anchors));
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
        let found = resolve::addresses(&self.resolver, host).await.map_err(|(label, failure)| Failure {
            place: failure.place,
            details: failure.details,
            ..Trouble::silent(label, failure.message.as_str()).failure(None, place)
        })?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
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
        let (mut shown, mut notes, handshake) = self.once(look, address, sni, anchors).await;
        let mut matched = u32::from(shown == Shown::Wanted);
        if shown == Shown::Wanted {
            let revoked = OptionFuture::from(look.revocation.then(|| Box::pin(self.revoked(look, &handshake))));
            let rest = async {
                for round in 1..rounds {
                    tokio::time::sleep_until(began + gap * round).await;
                    let (seen, found, _) = self.once(look, address, sni, anchors).await;
                    notes.extend(found);
                    if seen != Shown::Wanted {
                        shown = seen;
                        return;
                    }
                    matched += 1;
                }
            };
            let ((), revoked) = join(rest, revoked).await;
            notes.extend(revoked.flatten());
        }
        Observation { address: Some(address), shown, matched, notes: distinct(notes) }
    }

    /// Whether its CRL lists the leaf that was shown. Beside the handshakes, for some seconds at most: a list that is
    /// slow, gone or not the issuer's is nothing against the certificate.
    async fn revoked(&self, look: &Look<'_>, handshake: &Handshake) -> Option<Printable> {
        let sent: Vec<Certificate> = handshake.chain.iter().filter_map(|it| Certificate::from_der(it).ok()).collect();
        let fetched = tokio::time::timeout(PATIENCE, self.lists.of(sent.get(..1)?)).await.ok()?;
        for looked in revocation::look(&sent, &[], &fetched, self.clock.now()) {
            tracing::debug!(endpoint = %look.endpoint, url = %looked.url, "CRL: {}", looked.outcome);
            if let Some(found) = revocation::findings(&sent, &[0], &[looked]).first() {
                tracing::warn!(endpoint = %look.endpoint, "{}: {}", found.label.as_str(), found.seen);
                return Some(Printable::new(&format!("{}: {}", found.label.as_str(), found.seen)));
            }
        }
        None
    }

    async fn once(
        &self,
        look: &Look<'_>,
        address: SocketAddr,
        sni: &ServerName<'static>,
        anchors: Option<&Anchors>,
    ) -> (Shown, Vec<Printable>, Handshake) {
        let shake = async |family: Option<KeyFamily>| {
            // Never closed: an error cannot come.
            let _slot = self.slots.acquire().await;
            let offer = Offer { family, ..Offer::plain(sni.clone(), look.endpoint.starttls) };
            self.client.shake(address, &offer).await
        };
        let family = (look.endpoint.expect == Expect::Leaf).then_some(look.family);
        let handshake = shake(family).await;
        let bench = Bench { look, address, anchors, now: self.clock.now() };
        let refused = handshake.end.as_ref().is_err_and(|trouble| trouble.label == Label::HandshakeRefused);
        if family.is_some() && refused && handshake.chain.is_empty() {
            // A server that still has only a certificate of the other family refuses: see what it does serve.
            let again = shake(None).await;
            if !again.chain.is_empty() {
                let (shown, notes) = judge::shown(&again, &bench);
                return (shown, notes, again);
            }
        }
        let (shown, notes) = judge::shown(&handshake, &bench);
        (shown, notes, handshake)
    }
}

impl Prober for TlsProber {
    fn observe<'a>(&'a self, look: &'a Look<'a>) -> Pending<'a, Vec<Observation>> {
        Box::pin(self.look(look))
    }
}

fn unreachable(failure: Failure) -> Observation {
    Observation { address: None, shown: Shown::Unreachable { failure }, matched: 0, notes: Vec::new() }
}

fn distinct(mut notes: Vec<Printable>) -> Vec<Printable> {
    notes.sort();
    notes.dedup();
    notes
}
