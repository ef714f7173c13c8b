//! The words of FINDINGS that a look at one address needs.

use crate::types::{Class, Failure};
use std::net::SocketAddr;

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident => $text:literal, $advice:literal;)*) => {
        /// A stable label. Scripts and alerts match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Label {
            $($(#[$meta])* $name,)*
        }

        impl Label {
            /// The label as written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What to check first.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

labels! {
    /// Nothing listens.
    TcpRefused => "tcp_refused", "Is the server running, and does it listen on this address and port?";
    /// No answer to the connection attempt.
    TcpTimeout => "tcp_timeout", "Is the host up, and does a firewall let this machine through?";
    /// No route, or the network refuses.
    Unreachable => "unreachable", "Has this machine a route to the address (IPv6?), and a local resource left?";
    /// The name has no address.
    DnsNoAddress => "dns_no_address", "Publish an address for the name, or correct it.";
    /// The name could not be resolved.
    DnsFailed => "dns_failed", "Ask the named resolver for the name by hand.";
    /// TCP connects, TLS gets no answer.
    HandshakeTimeout => "handshake_timeout", "Is the server overloaded, or is something else listening there?";
    /// It works, but takes seconds.
    HandshakeSlow => "handshake_slow", "Is the server overloaded, or does it look up names before it answers?";
    /// Reset after the `ClientHello`.
    ConnReset => "conn_reset", "Read the server's log: did its TLS process crash, or does a middlebox cut the connection?";
    /// Closed after the `ClientHello`.
    ConnClosed => "conn_closed", "Read the server's log: is TLS configured on this port at all?";
    /// Something that is not TLS.
    NotTls => "not_tls", "Is this the TLS port, or does it want STARTTLS or the PROXY protocol first?";
    /// STARTTLS is not offered or refused.
    StarttlsRefused => "starttls_refused", "Read the service's log: it offers no STARTTLS when it cannot load its certificate.";
    /// Alert `unrecognized_name`.
    SniRejected => "sni_rejected", "Is there a virtual host for this name on this server?";
    /// Alert `protocol_version`.
    ProtocolTooOld => "protocol_too_old", "Turn TLS 1.2 and 1.3 on.";
    /// Any other refusal.
    HandshakeRefused => "handshake_refused", "Read the server's log for this time.";
    /// The server asked for a client certificate, and none was given.
    ClientCertRequired => "client_cert_required", "Nothing to do when the endpoint is for known clients.";
    /// The leaf's issuer is not sent.
    MissingIntermediate => "missing_intermediate", "Does the server load fullchain.pem, not cert.pem?";
    /// An intermediate is sent, but not the right one.
    WrongIntermediate => "wrong_intermediate", "Does the server load a chain file of its own beside the certificate? Let it load fullchain.pem.";
    /// All are sent, in another order.
    ChainOutOfOrder => "chain_out_of_order", "Does the server put its chain together itself? Let it load fullchain.pem.";
    /// The root is sent as well.
    RootIncluded => "root_included", "Leave the root out.";
    /// A certificate is sent twice.
    DuplicateInChain => "duplicate_in_chain", "Does the server load the chain twice?";
    /// A certificate of no path is sent.
    ExtraInChain => "extra_in_chain", "Does the server load a chain file of its own as well?";
    /// Valid, but does not cover the name.
    NameMismatch => "name_mismatch", "Does the terminator in front have a certificate for this name?";
}

/// A connection that showed no certificate, or not to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its label.
    pub label: Label,
    /// Whether anybody answered at all: only then does it say something about what is served.
    pub answered: bool,
    /// What was seen, one sentence.
    pub message: String,
}

impl Trouble {
    /// Nobody answered.
    pub(crate) fn silent(label: Label, message: impl Into<String>) -> Self {
        Self { label, answered: false, message: message.into() }
    }

    /// Somebody answered, and it was no good.
    pub(crate) fn answered(label: Label, message: impl Into<String>) -> Self {
        Self { label, answered: true, message: message.into() }
    }

    /// The same as a failure at `address`.
    #[must_use]
    pub fn failure(&self, address: Option<SocketAddr>, sni: &str) -> Failure {
        let place = address.map_or_else(|| sni.to_owned(), |address| format!("{address} ({sni})"));
        Failure::new(Class::Retry, format!("probe:{}", self.label.as_str()), place, &self.message)
            .advise(self.label.advice())
    }
}
