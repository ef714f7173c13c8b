//! A `ClientHello` of our own making, for what rustls cannot speak: old versions, legacy suites, finite-field groups. It reads as
//! far as the server speaks in the clear, and goes no further: nothing is decrypted, no key is agreed on.

pub(super) mod answer;
pub(super) mod offer;

pub use answer::{Answer, End, Reader};
pub use offer::Offer;
pub(crate) use offer::named;

use crate::config::spec::StartTls;
use crate::probe::dial;
use crate::probe::label::{Label, Trouble};
use aws_lc_rs::rand;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// From the connection attempt to the end of the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How many connections [`ask_all`] has at once.
pub(super) const AT_ONCE: u32 = 5;

/// What a server answers to the same question asked in several ways, where rustls could not shake hands.
#[derive(Debug, Clone)]
pub struct Hellos {
    /// To everything that was ever in use.
    pub everything: Answer,
    /// To the same without ephemeral finite-field Diffie-Hellman.
    pub without_dhe: Answer,
    /// To TLS 1.2 alone.
    pub tls12: Answer,
    /// To TLS 1.0 and 1.1 alone.
    pub old: Answer,
    /// To a version that there is not: shows whether the server tells versions apart.
    pub unheard: Answer,
}

impl Hellos {
    /// The certificates of the first answer that shows any.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        let answers = [&self.everything, &self.tls12, &self.old];
        answers.into_iter().map(|answer| answer.chain.as_slice()).find(|chain| !chain.is_empty()).unwrap_or_default()
    }
}

/// Asks in all ways, side by side. Bounded in time and bytes; never an error.
pub async fn ask_all(address: SocketAddr, sni: &ServerName<'_>, starttls: StartTls) -> Hellos {
    let (everything, without_dhe, tls12, old, unheard) = tokio::join!(
        ask(address, sni, starttls, Offer::Everything),
        ask(address, sni, starttls, Offer::WithoutDhe),
        ask(address, sni, starttls, Offer::Tls12),
        ask(address, sni, starttls, Offer::Old),
        ask(address, sni, starttls, Offer::Unheard),
    );
    Hellos { everything, without_dhe, tls12, old, unheard }
}

/// Asks once, over a connection of its own.
pub async fn ask(address: SocketAddr, sni: &ServerName<'_>, starttls: StartTls, offer: Offer) -> Answer {
    let mut reader = Reader::default();
    let asking = tokio::time::timeout(ANSWER_LIMIT, converse(address, sni, starttls, offer, &mut reader));
    let end = match asking.await {
        Ok(Ok(end)) => end,
        Ok(Err(trouble)) => End::Broken(trouble),
        Err(_) => {
            let message = format!("no answer to a ClientHello within {} s", ANSWER_LIMIT.as_secs());
            End::Broken(Trouble::silent(Label::HandshakeTimeout, message))
        }
    };
    reader.ended(end)
}

async fn converse(
    address: SocketAddr,
    sni: &ServerName<'_>,
    starttls: StartTls,
    offer: Offer,
    reader: &mut Reader,
) -> Result<End, Trouble> {
    let mut stream = dial::prepare(dial::connect(address).await?, starttls).await?;
    // Nothing here is secret: without random octets it is a ClientHello all the same.
    let mut random = [0; 64];
    let _same_for_all = rand::fill(&mut random).is_err();
    let name = match sni {
        ServerName::DnsName(name) => Some(name.as_ref()),
        _ => None,
    };
    stream.write_all(&offer.encode(name, &random)).await.map_err(|error| dial::broken(&error))?;
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) => return Err(dial::broken(&io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                if let Some(end) = reader.feed(&chunk[..count]) {
                    return Ok(end);
                }
            }
            Err(error) => return Err(dial::broken(&error)),
        }
    }
}
