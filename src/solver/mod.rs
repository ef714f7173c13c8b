//! Puts up what a CA looks for: http-01 (RFC 8555 §8.3) by a listener, a webroot or a rule at the edges, tls-alpn-01 (RFC 8737) by a
//! listener, and dns-01 (RFC 8555 §8.4) by a hook.
//!
//! All proofs of an order are put up at once. What can be looked at from here is looked at before the CA is told: an
//! http-01 answer that is missing is only a warning, because the CA may see what this machine cannot; a TXT value that an
//! authoritative server does not serve is a failure, because the CA may ask exactly that one.

mod dns01;
mod holder;
mod http01;
mod listener;
mod propagation;
mod request;
mod selfcheck;
mod tls_alpn01;
mod webroot;

use crate::config::spec::{Http01, Solver as How};
use crate::net::dns::Resolver;
use crate::ports::{Pending, Proof, Solvers};
use crate::types::{CertName, Class, Failure, Printable};
use dns01::Dns01;
use listener::Listeners;
use selfcheck::Ports;
use std::net::SocketAddr;
use std::rc::Rc;
use webroot::Webroots;

pub use request::{Asked, asked};

/// Where a CA looks for http-01 answers (RFC 8555 §8.3), and for tls-alpn-01 (RFC 8737 §3).
const PORTS: Ports = Ports { http: Some(80), tls: Some(443) };
/// The longest token that is taken: RFC 8555 §8.1 asks for 128 bits, CAs use 43 characters.
const MAX_TOKEN: usize = 256;
/// Where http-01 answers lie below a host (RFC 8555 §8.3), and below a webroot.
const WELL_KNOWN: [&str; 2] = [".well-known", "acme-challenge"];

/// Every configured way to prove control of a name. One serves the whole process: its listeners are shared.
pub struct Solver {
    resolver: Rc<Resolver>,
    checked: Ports,
    http: Listeners<http01::Answers>,
    tls: Listeners<tls_alpn01::Faces>,
    webroots: Webroots,
    dns: Dns01,
}

impl Solver {
    /// A solver that looks names up with `resolver`, and looks at ports 80 and 443 for what it put up before the CA does.
    #[must_use]
    pub fn new(resolver: Rc<Resolver>) -> Self {
        Self {
            dns: Dns01::new(Rc::clone(&resolver)),
            resolver,
            checked: PORTS,
            http: Listeners::default(),
            tls: Listeners::default(),
            webroots: Webroots::default(),
        }
    }

    /// Looks for http-01 at another port, for a CA that validates there (a test's), or not at all.
    #[must_use]
    pub fn check_port(mut self, port: Option<u16>) -> Self {
        self.checked.http = port;
        self
    }

    /// The same for tls-alpn-01.
    #[must_use]
    pub fn check_tls_port(mut self, port: Option<u16>) -> Self {
        self.checked.tls = port;
        self
    }

    async fn put_up_all(&self, name: &CertName, proofs: &[Proof]) -> Result<Vec<Printable>, Failure> {
        for proof in proofs {
            self.put_up_http(name, proof).await?;
        }
        self.tls.put_up(name, &faces(proofs)).await?;
        let (values, warnings) =
            futures_util::join!(self.dns.put_up(name, proofs), selfcheck::look(&self.resolver, self.checked, proofs));
        values.map(|()| warnings)
    }

    async fn put_up_http(&self, name: &CertName, proof: &Proof) -> Result<(), Failure> {
        let How::Http01(how) = &proof.solver else { return Ok(()) };
        checked(&proof.token)?;
        match how {
            Http01::Listen(addresses) => self.http.put_up(name, proof, addresses).await,
            Http01::Webroot(root) => self.webroots.put_up(name, proof, root),
            Http01::Stateless => Ok(()),
        }
    }

    async fn take_down_all(&self, name: &CertName, proofs: &[Proof]) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for proof in proofs {
            let How::Http01(how) = &proof.solver else { continue };
            match how {
                // A token that was refused was never put up.
                _ if checked(&proof.token).is_err() => {}
                Http01::Listen(addresses) => self.http.take_down(name, proof, addresses),
                Http01::Webroot(root) => failures.extend(self.webroots.take_down(name, proof, root).err()),
                Http01::Stateless => {}
            }
        }
        for (proof, addresses) in faces(proofs) {
            self.tls.take_down(name, proof, addresses);
        }
        failures.extend(self.dns.take_down(name, proofs).await.err());
        let mut failures = failures.into_iter();
        match failures.next() {
            None => Ok(()),
            Some(first) => Err(failures.fold(first, |first, other| first.detail(other.to_string()))),
        }
    }
}

impl Solvers for Solver {
    fn put_up<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<Vec<Printable>, Failure>> {
        Box::pin(self.put_up_all(name, proofs))
    }

    fn take_down<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.take_down_all(name, proofs))
    }
}

/// The tls-alpn-01 proofs, and where they are shown.
fn faces<'p>(proofs: &'p [Proof]) -> Vec<(&'p Proof, &'p [SocketAddr])> {
    let listens = |proof: &'p Proof| match &proof.solver {
        How::TlsAlpn01 { listen } => Some((proof, listen.as_slice())),
        _ => None,
    };
    proofs.iter().filter_map(listens).collect()
}

/// A token is base64url (RFC 8555 §8.1); anything else never meets a path, whoever let it through before.
fn checked(token: &str) -> Result<(), Failure> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(valid) {
        return Ok(());
    }
    let message = format!("the CA sent a token that is not base64url, and it was refused: {token:?}");
    Err(Failure::new(Class::Operator, "solver:token", "http-01", message)
        .advise("Report this to the CA: RFC 8555 §8.1 allows only letters, digits, '-' and '_'."))
}

/// The path of a token's answer.
fn path_of(token: &str) -> String {
    format!("/{}/{}/{token}", WELL_KNOWN[0], WELL_KNOWN[1])
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn only_base64url_is_a_token() {
        assert!(checked("Zm9v-_09").is_ok());
        for bad in ["", "..", "a/b", "../../etc/passwd", "a b", "a%2f", "ä", "a\0", "a=", &"a".repeat(257)] {
            assert_eq!(checked(bad).map_err(|failure| failure.code), Err("solver:token".to_owned()), "{bad:?}");
        }
    }
}
