//! The looks at what an address says in HTTP.

use super::Surveyor;
use super::client::Again;
use super::http::{Mute, Question, Spoken, ask, multiplexed};
use crate::probe::dial;
use crate::probe::handshake::{Handshake, Offer};
use crate::probe::target::Query;
use crate::types::Identifier;
use std::net::SocketAddr;

/// Where HTTPS is, and where what redirects to it is looked for.
const WEB: (u16, u16) = (443, 80);

impl Surveyor {
    /// What is answered over TLS; nothing where this is no place for HTTP. `again` hears whether another handshake is wanted.
    pub(super) async fn secure(
        &self,
        query: &Query,
        address: SocketAddr,
        offer: &Offer,
        main: &Handshake,
        again: &Again,
    ) -> Option<Result<Spoken, Mute>> {
        if !offer.web {
            return None;
        }
        if let Err(trouble) = &main.end {
            return Some(Err(Mute::Unopened(trouble.clone())));
        }
        // Never closed: an error cannot come. Waited for outside of the exchange's own limit.
        let _socket = self.open.acquire().await;
        let open = async || again.watch(self.client.open(address, offer).await);
        let question = Question::https(&query.name, address.port());
        let spoken = ask(open, &question, &*self.clock).await;
        let here = match &query.name {
            Identifier::Dns(_) => true,
            Identifier::Ip(ip) => *ip == address.ip(),
        };
        let multiplexes = main.agreed.as_ref().is_some_and(|agreed| agreed.alpn.as_deref() == Some("h2"));
        if spoken.is_ok() || !multiplexes || !here {
            return Some(spoken);
        }
        let tls = self.client.multiplexing(offer);
        Some(Box::pin(multiplexed::ask(tls, address, &question, &*self.clock)).await)
    }

    /// What is answered without TLS, with the port; nothing where nobody asked for a port and the usual one is not this site's.
    pub(super) async fn plain(
        &self,
        query: &Query,
        address: SocketAddr,
        offer: &Offer,
    ) -> Option<(u16, Result<Spoken, Mute>)> {
        let usual = (address.port() == WEB.0).then_some(WEB.1);
        let port = query.http_port.or(usual).filter(|_| offer.web)?;
        let place = SocketAddr::new(address.ip(), port);
        let _socket = self.open.acquire().await;
        let open = async || dial::connect(place).await;
        Some((port, ask(open, &Question::http(&query.name, port), &*self.clock).await))
    }
}
