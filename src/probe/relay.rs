//! What one everleaf has another look at: questions on its standard input, answers as JSON Lines.
//!
//! The command that is sent is always the same, `everleaf probe --json --relayed`; whatever was typed travels as JSON and is read there
//! as strictly as a stranger's. Trust stores travel as certificates; the machine's own store is the one of the machine that looks. No key
//! of any kind travels.

mod watched;

pub use watched::{Looked, Watched};

use super::chain::{MOZILLA, Source, Store};
use super::target::{Place, Query, Target, Via};
use crate::config::spec::{Roots, StartTls};
use crate::hook::Said;
use crate::pki::{Anchors, RootStore};
use crate::types::{Class, Failure, Identifier, KeyId, NodeName, Printable, Secret};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::rc::Rc;

/// The command there.
pub const COMMAND: [&str; 4] = ["everleaf", "probe", "--json", "--relayed"];
/// What is asked: its schema.
const ASKED: &str = "everleaf.ask/1";
/// What looks of a confirm step are answered in.
const LOOKED: &str = "everleaf.look/1";
/// What a command exits with that does not understand its arguments.
const USAGE: i32 = 64;
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
    /// Looks of a confirm step.
    #[serde(default)]
    looks: Vec<Watched>,
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
    #[serde(default)]
    others: Vec<Identifier>,
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
        Self { schema: ASKED.to_owned(), resolvers, trusts, questions, looks: Vec::new() }
    }

    /// Asks for `looks`.
    #[must_use]
    pub fn of_looks(looks: Vec<Watched>) -> Self {
        let (trusts, questions) = (Vec::new(), Vec::new());
        Self { schema: ASKED.to_owned(), resolvers: Vec::new(), trusts, questions, looks }
    }

    /// As one line for a standard input.
    ///
    /// # Errors
    /// Never in practice: everything in it can be written as JSON.
    pub fn line(&self) -> Result<Secret, Failure> {
        let mut line = serde_json::to_string(self).map_err(|error| misunderstood(&error.to_string()))?;
        line.push('\n');
        Ok(Secret::new(line))
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

    /// The looks of a confirm step.
    #[must_use]
    pub fn looks(&self) -> &[Watched] {
        &self.looks
    }
}

/// Whether `said` comes from an everleaf that cannot be asked.
///
/// # Errors
/// Code `vantage:old`.
pub fn understood(said: &Said, place: &str) -> Result<(), Failure> {
    if said.code != USAGE {
        return Ok(());
    }
    let last = last(said).unwrap_or("it says nothing");
    let message = format!("the everleaf there is older than this one and cannot be asked by it ({last})");
    let advice = format!("install everleaf {} there", env!("CARGO_PKG_VERSION"));
    Err(Failure::new(Class::Operator, "vantage:old", place, message).advise(advice))
}

/// Why what is said there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misread {
    /// It is nothing of everleaf's.
    Noise(String),
    /// It is not as this everleaf has it.
    Foreign(String),
}

impl Misread {
    /// The same as a failure of the vantage at `place`; code `vantage:answer`.
    #[must_use]
    pub fn failure(&self, place: &str) -> Failure {
        let (why, advice) = match self {
            Self::Noise(why) => (
                why,
                "let nothing but everleaf print to standard output there, whatever a login without a terminal runs",
            ),
            Self::Foreign(why) => (why, "let both machines have the same everleaf"),
        };
        Failure::new(Class::Operator, "vantage:answer", place, why).advise(advice)
    }
}

/// The beginning of what is no answer.
#[must_use]
pub fn noise(line: &[u8]) -> Misread {
    const SHOWN: usize = 60;
    let text: String = String::from_utf8_lossy(line).chars().take(SHOWN).collect();
    Misread::Noise(format!("it answers something that is no JSON: {:?}", Printable::new(&text).as_str()))
}

/// The last line of its standard error, without the program's name before it.
#[must_use]
pub fn last(said: &Said) -> Option<&str> {
    said.last.last().map(|line| line.as_str().trim_start_matches("everleaf: "))
}

fn misunderstood(why: &str) -> Failure {
    let message = format!("it is no question that everleaf {} understands: {why}", env!("CARGO_PKG_VERSION"));
    Failure::new(Class::Operator, "probe:asked", "standard input", message)
        .advise("let both machines have the same everleaf")
}

impl Trusted {
    fn of(store: &Store) -> Self {
        Self { name: store.name.clone(), pem: (store.source == Source::File).then(|| store.anchors.to_pem()) }
    }

    fn store(&self, roots: &RootStore) -> Result<Store, Failure> {
        let name = Printable::new(&self.name).to_string();
        Ok(match &self.pem {
            Some(pem) => {
                Store { anchors: Rc::new(Anchors::from_pem(pem.as_bytes(), &name)?), name, source: Source::File }
            }
            None if name == MOZILLA => Store::mozilla()?,
            None => Store { anchors: roots.load(&Roots::System)?, name, source: Source::System },
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
            others: query.others.to_vec(),
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
            others: self.others.as_slice().into(),
            http_port: self.http_port,
            quick: self.quick,
            crl: self.crl,
            // A key is for the machine it lies on.
            client: None,
            vantage,
        }
    }
}
