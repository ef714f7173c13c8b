//! A look of the confirm step, as it travels, and its answer.

use super::{LOOKED, Misread, noise};
use crate::config::spec::{Endpoint, Expect, Roots, StartTls, Target};
use crate::pki::{Anchors, RootStore};
use crate::ports::{Look, Observation, Shown};
use crate::types::{Class, Failure, Fingerprint, Identifier, KeyFamily, Vantage};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Addresses that one look may show, and notes on each.
const MOST_ADDRESSES: usize = 256;
const MOST_NOTES: usize = 64;
/// As in the configuration: what a look may ask for.
const MOST_HANDSHAKES: u32 = 1000;
const LONGEST: Duration = Duration::from_secs(600);

/// A [`Look`], as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    host: Identifier,
    port: u16,
    name: Identifier,
    starttls: StartTls,
    leaf: Fingerprint,
    chain: Vec<Fingerprint>,
    family: KeyFamily,
    handshakes: u32,
    over_ms: u64,
    /// Whether to look whether the leaf is revoked.
    #[serde(default)]
    revocation: bool,
    /// What a certificate must chain to, where any valid one will do.
    #[serde(default)]
    valid: Option<Trust>,
}

/// Roots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Trust {
    /// Of the machine that looks.
    System,
    /// These.
    Pem(String),
}

/// What a look was answered with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Looked {
    schema: String,
    /// Which look, from 0.
    pub at: usize,
    /// What each address showed.
    pub observations: Vec<Observation>,
}

impl Watched {
    /// `look`, with the `anchors` that a certificate must chain to where any valid one will do.
    #[must_use]
    pub fn of(look: &Look<'_>, anchors: Option<&Anchors>) -> Self {
        let endpoint = look.endpoint;
        let (host, port) = match &endpoint.target {
            Target::Address(address) => (Identifier::Ip(address.ip()), address.port()),
            Target::Host { host, port } => (Identifier::Dns(host.clone()), *port),
        };
        let trust = |anchors: &Anchors| match look.roots {
            Roots::System => Trust::System,
            _ => Trust::Pem(anchors.to_pem()),
        };
        Self {
            host,
            port,
            name: endpoint.sni.clone(),
            starttls: endpoint.starttls,
            leaf: look.leaf,
            chain: look.chain.to_vec(),
            family: look.family,
            handshakes: look.handshakes,
            over_ms: u64::try_from(look.over.as_millis()).unwrap_or(u64::MAX),
            revocation: look.revocation,
            valid: anchors.map(trust),
        }
    }

    /// Over which span its handshakes are spread.
    #[must_use]
    pub fn over(&self) -> Duration {
        Duration::from_millis(self.over_ms).min(LONGEST)
    }

    /// How many handshakes are asked for.
    #[must_use]
    pub fn handshakes(&self) -> u32 {
        self.handshakes.clamp(1, MOST_HANDSHAKES)
    }

    /// The endpoint, to be looked at from the machine that was asked.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let target = match &self.host {
            Identifier::Ip(address) => Target::Address(SocketAddr::new(*address, self.port)),
            Identifier::Dns(host) => Target::Host { host: host.clone(), port: self.port },
        };
        Endpoint {
            target,
            sni: self.name.clone(),
            node: None,
            starttls: self.starttls,
            expect: if self.valid.is_some() { Expect::Valid } else { Expect::Leaf },
            from: Vantage::Here,
        }
    }

    /// The look at `endpoint`, as [`Watched::endpoint`] gave it.
    #[must_use]
    pub fn look<'a>(&'a self, endpoint: &'a Endpoint) -> Look<'a> {
        Look {
            endpoint,
            leaf: self.leaf,
            chain: &self.chain,
            family: self.family,
            roots: &Roots::System,
            handshakes: self.handshakes(),
            over: self.over(),
            revocation: self.revocation,
        }
    }

    /// What a certificate must chain to, where any valid one will do.
    ///
    /// # Errors
    /// As [`RootStore::load`] and [`Anchors::from_pem`].
    pub fn anchors(&self, roots: &RootStore) -> Result<Option<Rc<Anchors>>, Failure> {
        match &self.valid {
            None => Ok(None),
            Some(Trust::System) => roots.load(&Roots::System).map(Some),
            Some(Trust::Pem(pem)) => {
                Anchors::from_pem(pem.as_bytes(), "the roots that came along").map(|it| Some(Rc::new(it)))
            }
        }
    }
}

impl Looked {
    /// The answer to the look number `at`.
    #[must_use]
    pub fn new(at: usize, observations: Vec<Observation>) -> Self {
        Self { schema: LOOKED.to_owned(), at, observations }
    }

    /// Reads a line of answers to `asked`.
    ///
    /// # Errors
    /// Why it is no answer to any of them.
    pub fn read(line: &[u8], asked: &[Watched]) -> Result<Self, Misread> {
        let read: serde_json::Value = serde_json::from_slice(line).map_err(|_| noise(line))?;
        let mut looked = Self::deserialize(read)
            .map_err(|why| Misread::Foreign(format!("it answers something else than looks: {why}")))?;
        looked.agrees(asked).map_err(Misread::Foreign)?;
        Ok(looked)
    }

    /// Whether it answers what was asked.
    fn agrees(&mut self, asked: &[Watched]) -> Result<(), String> {
        if self.schema != LOOKED {
            return Err(format!("it answers in another schema than {LOOKED}"));
        }
        let Some(watched) = asked.get(self.at) else {
            return Err("it answers what nobody asked".to_owned());
        };
        let count = self.observations.len();
        if count == 0 || count > MOST_ADDRESSES {
            return Err(format!("it answers with {count} addresses"));
        }
        for observation in &mut self.observations {
            let whole = observation.matched == watched.handshakes();
            match &mut observation.shown {
                Shown::Wanted if !whole => return Err("it saw what was wanted, and not often enough".to_owned()),
                Shown::NotLooked { .. } => return Err("it answers that it did not look".to_owned()),
                Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } => {
                    *failure = failure.of_a_stranger(Class::Retry);
                }
                _ => {}
            }
            observation.notes.truncate(MOST_NOTES);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;
    use serde_json::{Value, json};

    fn watched() -> Watched {
        let leaf = sha256(&[b"leaf"]).to_string();
        serde_json::from_value(
            json!({ "host": "192.0.2.1", "port": 443, "name": "a.example", "starttls": "no", "leaf": leaf,
            "chain": [leaf], "family": "ecdsa", "handshakes": 4, "over_ms": 1000 }),
        )
        .unwrap()
    }

    fn answer() -> Value {
        let failure = json!({ "class": "retry", "code": "tcp_refused\u{1b}", "place": "x", "message": "no\u{1b}" });
        json!({ "schema": LOOKED, "at": 0, "observations": [
            { "address": "192.0.2.1:443", "shown": { "saw": "wanted" }, "matched": 4, "notes": [] },
            { "address": "192.0.2.2:443", "shown": { "saw": "unreachable", "failure": failure }, "matched": 0, "notes": [] }] })
    }

    fn read(answer: &Value) -> Result<Looked, Misread> {
        Looked::read(answer.to_string().as_bytes(), &[watched()])
    }

    #[test]
    fn an_answer_is_what_was_asked_for_and_clean() {
        let looked = read(&answer()).unwrap();
        assert_eq!((looked.at, looked.observations.len()), (0, 2));
        let Shown::Unreachable { failure } = &looked.observations[1].shown else { panic!("{looked:?}") };
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("tcp_refused", "no"));
    }

    #[test]
    fn what_proves_less_than_it_says_is_refused() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut changed = answer();
            change(&mut changed);
            read(&changed).is_err()
        };
        assert!(refused(&|it| it["observations"][0]["matched"] = 3.into()), "too few handshakes");
        assert!(refused(&|it| it["observations"] = json!([])), "nothing seen");
        assert!(refused(&|it| it["at"] = 1.into()), "not asked");
        assert!(refused(&|it| it["schema"] = "everleaf.look/2".into()));
        assert!(refused(&|it| it["observations"][0]["shown"]["saw"] = "not_looked".into()));
        assert!(
            refused(&|it| it["observations"][1]["shown"]["saw"] = "not_looked".into()),
            "it looked, or says nothing"
        );
        assert!(matches!(Looked::read(b"Welcome!", &[watched()]), Err(Misread::Noise(_))));
    }
}
