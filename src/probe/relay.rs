//! What one everleaf has another look at: questions on its standard input, answers as JSON Lines.
//!
//! The command that is sent is always the same, `everleaf probe --json --relayed`; whatever was typed travels as JSON and is read there
//! as strictly as a stranger's. Trust stores travel as certificates; the machine's own store is the one of the machine that looks. No key
//! of any kind travels.

use super::chain::Store;
use super::target::{Place, Query, Target, Via};
use crate::config::spec::{Roots, StartTls};
use crate::pki::{Anchors, RootStore};
use crate::types::{Class, Failure, Identifier, KeyId, NodeName, Printable};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::rc::Rc;

/// The command there.
pub const COMMAND: [&str; 4] = ["everleaf", "probe", "--json", "--relayed"];
/// What is asked: its schema.
const ASKED: &str = "everleaf.ask/1";
/// The most that is read of what is asked: a hundred thousand targets.
pub const MOST_ASKED: usize = 64 << 20;

/// Everything that is asked at once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    schema: String,
    /// The resolvers to ask; none for those of the machine that looks.
    #[serde(default)]
    pub resolvers: Vec<SocketAddr>,
    /// The trust stores that questions and looks name by number: each several of them, side by side.
    #[serde(default)]
    trusts: Vec<Vec<Trusted>>,
    /// Questions for a probe.
    #[serde(default)]
    questions: Vec<Question>,
}

/// A trust store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trusted {
    name: String,
    /// Its certificates; nothing for the machine's own store.
    pem: Option<String>,
}

/// A [`Query`], as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    host: Identifier,
    port: u16,
    #[serde(default)]
    connect: Vec<Instead>,
    name: Identifier,
    send_name: bool,
    starttls: StartTls,
    trust: usize,
    #[serde(default)]
    pins: Vec<KeyId>,
    http_port: Option<u16>,
    quick: bool,
    crl: bool,
}

/// Where to connect instead of what DNS says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instead {
    host: Identifier,
    port: Option<u16>,
    node: Option<NodeName>,
}

impl Ask {
    /// Asks for `queries`.
    #[must_use]
    pub fn of_queries<'a>(queries: impl Iterator<Item = &'a Query>, resolvers: Vec<SocketAddr>) -> Self {
        let (mut known, mut trusts): (Vec<&Rc<[Store]>>, Vec<Vec<Trusted>>) = (Vec::new(), Vec::new());
        let questions = queries.map(|query| {
            let trust = known.iter().position(|it| Rc::ptr_eq(it, &query.stores)).unwrap_or_else(|| {
                known.push(&query.stores);
                trusts.push(query.stores.iter().map(Trusted::of).collect());
                known.len() - 1
            });
            Question::of(query, trust)
        });
        let questions = questions.collect();
        Self { schema: ASKED.to_owned(), resolvers, trusts, questions }
    }

    /// As one line for a standard input.
    ///
    /// # Errors
    /// Never in practice: everything in it can be written as JSON.
    pub fn line(&self) -> Result<Vec<u8>, Failure> {
        let mut line = serde_json::to_vec(self).map_err(|error| misunderstood(&error.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads what somebody asks.
    ///
    /// # Errors
    /// Code `probe:asked` when it is no question that this everleaf understands.
    pub fn read(text: &[u8]) -> Result<Self, Failure> {
        let asked: Self = serde_json::from_slice(text).map_err(|error| misunderstood(&error.to_string()))?;
        if asked.schema == ASKED { Ok(asked) } else { Err(misunderstood(&format!("it is of schema {}", asked.schema))) }
    }

    /// What is to be looked at, from `vantage`.
    ///
    /// # Errors
    /// As [`RootStore::load`] and [`Anchors::from_pem`]; code `probe:asked` when it names a trust store that did not come along.
    pub fn queries(&self, vantage: &Printable) -> Result<Vec<Query>, Failure> {
        let roots = RootStore::default();
        let read = |them: &Vec<Trusted>| them.iter().map(|it| it.store(&roots)).collect::<Result<Rc<[Store]>, _>>();
        let trusts = self.trusts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let query = |question: &Question| {
            let stores = trusts.get(question.trust).filter(|stores| !stores.is_empty());
            let stores = stores.ok_or_else(|| misunderstood("a question has no trust store"))?;
            Ok(question.query(Rc::clone(stores), vantage.clone()))
        };
        self.questions.iter().map(query).collect()
    }
}

fn misunderstood(why: &str) -> Failure {
    let message = format!("it is no question that everleaf {} understands: {why}", env!("CARGO_PKG_VERSION"));
    Failure::new(Class::Operator, "probe:asked", "standard input", message)
        .advise("let both machines have the same everleaf")
}

impl Trusted {
    fn of(store: &Store) -> Self {
        Self { name: store.name.clone(), pem: (!store.system).then(|| store.anchors.to_pem()) }
    }

    fn store(&self, roots: &RootStore) -> Result<Store, Failure> {
        let name = Printable::new(&self.name).to_string();
        Ok(match &self.pem {
            Some(pem) => Store { anchors: Rc::new(Anchors::from_pem(pem.as_bytes(), &name)?), name, system: false },
            None => Store { anchors: roots.load(&Roots::System)?, name, system: true },
        })
    }
}

impl Question {
    fn of(query: &Query, trust: usize) -> Self {
        let instead =
            |via: &Via| Instead { host: via.place.host.clone(), port: via.place.port, node: via.node.clone() };
        Self {
            host: query.target.host.clone(),
            port: query.target.port,
            connect: query.connect.iter().map(instead).collect(),
            name: query.name.clone(),
            send_name: query.send_name,
            starttls: query.starttls,
            trust,
            pins: query.pins.to_vec(),
            http_port: query.http_port,
            quick: query.quick,
            crl: query.crl,
        }
    }

    fn query(&self, stores: Rc<[Store]>, vantage: Printable) -> Query {
        let via = |it: &Instead| Via { place: Place { host: it.host.clone(), port: it.port }, node: it.node.clone() };
        Query {
            target: Target { host: self.host.clone(), port: self.port },
            connect: self.connect.iter().map(via).collect(),
            name: self.name.clone(),
            send_name: self.send_name,
            starttls: self.starttls,
            stores,
            pins: self.pins.as_slice().into(),
            http_port: self.http_port,
            quick: self.quick,
            crl: self.crl,
            // A key is for the machine it lies on.
            client: None,
            vantage,
        }
    }
}
