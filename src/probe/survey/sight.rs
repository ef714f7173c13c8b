//! What one address showed.

use super::client::Tried;
use super::crl::Fetched;
use super::hello::{Answer, Hellos};
use super::http::{Mute, Spoken};
use super::resumption::Round;
use crate::probe::handshake::Handshake;
use crate::types::{Identifier, NodeName};
use std::net::SocketAddr;

/// All that one address showed. Each deeper look is one field; it is `None` where it was not taken.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Where it was looked.
    pub address: SocketAddr,
    /// The node behind the address, when the configuration names one.
    pub node: Option<NodeName>,
    /// Whether this machine has a route to it at all.
    pub routed: bool,
    /// The handshake as an ordinary client would make it.
    pub main: Handshake,
    /// The same without application protocols, after a server that knows none of those offered.
    pub bare: Option<Handshake>,
    /// Without SNI.
    pub nameless: Option<Handshake>,
    /// For a name that nobody can have.
    pub stranger: Option<Handshake>,
    /// For names that may be other virtual hosts here, after a certificate that is not for the name.
    pub neighbours: Vec<(Identifier, Handshake)>,
    /// For signatures of the other family than the leaf's.
    pub other_family: Option<Handshake>,
    /// With TLS 1.2 only, after a handshake with TLS 1.3.
    pub old: Option<Handshake>,
    /// What it answers to TLS 1.2 with more than rustls has, where that failed after TLS 1.3 had not.
    pub tls12: Option<Answer>,
    /// What it answers to TLS 1.0 and 1.1, where the name has several addresses.
    pub legacy: Option<Answer>,
    /// Once more a little later, where the leaf demands a staple and none came.
    pub again: Option<Handshake>,
    /// The CRLs that the certificates point to, where they were asked for.
    pub crls: Vec<Fetched>,
    /// The same for the certificates of the other family.
    pub other_crls: Vec<Fetched>,
    /// What is answered in HTTP over TLS.
    pub http: Option<Result<Spoken, Mute>>,
    /// What is answered without TLS, and at which port.
    pub plain: Option<(u16, Result<Spoken, Mute>)>,
    /// What it answers to hellos with more than rustls has, after a refusal.
    pub hellos: Option<Hellos>,
    /// Whether it asks for another handshake in TLS 1.2 once it was sent a request.
    pub renegotiates: bool,
    /// Whether it asks for a client certificate in TLS 1.3 once it was sent a request.
    pub asks_late: bool,
    /// With which status it answers for a path that nobody has, after a refusal that may be for want of a client certificate.
    pub elsewhere: Option<u16>,
    /// What it makes of the client certificate that was given, in each version that it speaks; nothing where it asks for none.
    pub given: Vec<Tried>,
    /// What its session tickets are worth, in each version that it speaks.
    pub rounds: Vec<Round>,
}

impl Sight {
    /// What the handshake showed, and nothing deeper yet.
    pub(super) fn new(address: SocketAddr, node: Option<NodeName>, main: Handshake) -> Self {
        Self {
            address,
            node,
            routed: true,
            main,
            bare: None,
            nameless: None,
            stranger: None,
            neighbours: Vec::new(),
            other_family: None,
            old: None,
            tls12: None,
            legacy: None,
            again: None,
            crls: Vec::new(),
            other_crls: Vec::new(),
            http: None,
            plain: None,
            hellos: None,
            renegotiates: false,
            asks_late: false,
            elsewhere: None,
            given: Vec::new(),
            rounds: Vec::new(),
        }
    }

    /// The stapled OCSP response, of the second look where the first had none; empty where none came.
    #[must_use]
    pub fn stapled(&self) -> &[u8] {
        let telling = self.telling();
        let later = self.again.as_ref().filter(|again| telling.staple.is_empty() && again.chain == telling.chain);
        &later.unwrap_or(telling).staple
    }

    /// The handshake that showed the certificate, or the one that should have.
    #[must_use]
    pub fn telling(&self) -> &Handshake {
        match &self.bare {
            Some(bare) if self.main.chain.is_empty() => bare,
            _ => &self.main,
        }
    }
}
