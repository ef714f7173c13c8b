//! The chain judge against certificates with chosen defects, with openssl and webpki as witnesses.

mod cases;
mod crowd;
mod pairs;

use super::{Question, Store, judge, webpki};
use crate::config::spec::Usage;
use crate::pki::testing::{Authority, ca, openssl_accepts, server};
use crate::pki::{Anchors, Certificate};
use crate::probe::chain::route::View;
use crate::probe::finding::Verdict;
use crate::probe::label::{Label, Severity};
use crate::types::{Identifier, KeyId, Timestamp};
use ::webpki::KeyUsage;
use rcgen::{CertificateParams, KeyPair};
use std::rc::Rc;

/// When what [`Authority`] makes is valid and not soon to end.
fn in_summer() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// A list of certificates, and what is asked of it.
struct Case {
    sent: Vec<Certificate>,
    stores: Vec<Vec<Certificate>>,
    names: Vec<Identifier>,
    usage: Usage,
    now: Timestamp,
    pins: Vec<KeyId>,
}

impl Case {
    /// Presented to servers' clients that trust `root`, and asked for `a.example`.
    fn new(root: &Certificate, sent: impl Into<Vec<Certificate>>) -> Self {
        Self {
            sent: sent.into(),
            stores: vec![vec![root.clone()]],
            names: vec!["a.example".parse().unwrap()],
            usage: Usage::Server,
            now: in_summer(),
            pins: Vec::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn asked<T>(&self, ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let store = |(at, roots): (usize, &Vec<Certificate>)| {
            let text: String = roots.iter().map(Certificate::pem).collect();
            let anchors = Rc::new(Anchors::from_pem(text.as_bytes(), "test").unwrap());
            Store { name: format!("store {}", at + 1), anchors, source: crate::probe::chain::Source::File }
        };
        let stores: Vec<Store> = self.stores.iter().enumerate().map(store).collect();
        let Self { names, usage, now, pins, .. } = self;
        ask(&Question { names, stores: &stores, usage: *usage, now: *now, pins, published: false })
    }

    fn verdict(&self) -> Verdict {
        self.asked(|question| Verdict::new(judge(&self.sent, question).findings, || "all is well".into()))
    }

    fn labels(&self) -> Vec<Label> {
        self.verdict().findings().iter().map(|finding| finding.label).collect()
    }

    /// What OpenSSL's clients do, at the level of Debian's and with curl's flag for partial chains.
    fn openssl_accepts(&self) -> bool {
        let purpose = if self.usage == Usage::Client { "sslclient" } else { "sslserver" };
        let mut asked = vec!["-partial_chain", "-auth_level", "2", "-purpose", purpose];
        let name = self.names.first().map(ToString::to_string).unwrap_or_default();
        match self.names.first() {
            Some(Identifier::Dns(_)) => asked.extend(["-verify_hostname", &name]),
            Some(Identifier::Ip(_)) => asked.extend(["-verify_ip", &name]),
            None => {}
        }
        self.stores.iter().all(|roots| openssl_accepts(roots, &self.sent, &asked, self.now))
    }

    fn webpki_accepts(&self) -> bool {
        let usage = if self.usage == Usage::Client { KeyUsage::client_auth } else { KeyUsage::server_auth };
        self.asked(|question| {
            question.stores.iter().all(|store| {
                webpki::verify(&self.sent, &View::new(&self.sent, store, question), question, usage()).is_ok()
            })
        })
    }

    fn clients_accept(&self) -> bool {
        self.openssl_accepts() && self.webpki_accepts()
    }
}

/// Whether a verdict says that no ordinary client fails.
fn passes(verdict: &Verdict) -> bool {
    verdict.severity() < Severity::Fail
}

/// Root → Upper → Lower → leaf.
struct World {
    root: Authority,
    upper: Authority,
    lower: Authority,
}

impl World {
    fn new() -> Self {
        Self::with(ca("Test Root"), ca("Upper"), ca("Lower"))
    }

    fn with(root: CertificateParams, upper: CertificateParams, lower: CertificateParams) -> Self {
        let root = Authority::root_with(root);
        let upper = root.intermediate_with(upper);
        let lower = upper.intermediate_with(lower);
        Self { root, upper, lower }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = server(&["a.example", "*.b.example"]);
        change(&mut params);
        self.lower.sign(&params, &KeyPair::generate().unwrap())
    }

    fn sent(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<Certificate> {
        vec![self.leaf(change), self.lower.certificate.clone(), self.upper.certificate.clone()]
    }

    fn case(&self, change: impl FnOnce(&mut CertificateParams)) -> Case {
        Case::new(&self.root.certificate, self.sent(change))
    }
}
