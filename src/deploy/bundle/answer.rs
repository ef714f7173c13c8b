//! What a node answers.

use crate::types::{CertName, Class, Epoch, Failure, GenId, Printable, Serial};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The schema of an answer.
const ANSWERED: &str = "everleaf.received/1";
/// What is kept of an answer.
const MOST_NOTES: usize = 64;
const MOST_SERVED: usize = 1024;
/// Codes that are the same wherever it is that something failed.
const MEANT_SO: [&str; 4] = ["publish:epoch", "reload:pair", "reload:not-published", "check:failed"];
/// What is shown of an answer that is none, in characters.
const SHOWN: usize = 60;

/// What came of a bundle: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub(in crate::deploy) schema: String,
    /// The version of the everleaf there.
    pub everleaf: Printable,
    /// In a word.
    pub outcome: Outcome,
    /// What lies published there now; nothing where it was not about one certificate, or could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Lies>,
    /// After a reload: what is served, as seen from the node itself at the addresses that its own command names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<Served>,
    /// What people should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Printable>,
    /// Why nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What came of a bundle, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is published.
    Published,
    /// It lay there already.
    Unchanged,
    /// It was looked at.
    Inspected,
    /// The check agrees, or there is none.
    Checked,
    /// The servers were told to read their files.
    Reloaded,
    /// No reload is named in the node's own command.
    NoReload,
    /// See `failure`.
    Failed,
}

/// What lies published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lies {
    /// The certificate.
    pub name: CertName,
    /// Which generation.
    pub generation: Option<GenId>,
    /// The epoch it was published at.
    pub epoch: Option<Epoch>,
    /// Whether it is the one asked about, byte for byte, with its owner and modes.
    pub intact: bool,
    /// The leaf's serial number, where it can be read.
    pub serial: Option<Serial>,
}

/// What is served at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The certificate asked for.
    pub name: CertName,
    /// Where.
    pub address: SocketAddr,
    /// The serial number of the leaf that was shown; nothing where none was.
    pub serial: Option<Serial>,
    /// Whether it is what lies published, with its whole chain.
    pub wanted: bool,
    /// What else was seen.
    #[serde(default, skip_serializing_if = "Printable::is_empty")]
    pub seen: Printable,
}

/// Why a text is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    why: String,
    advice: &'static str,
}

impl Received {
    /// An answer with nothing in it but its outcome.
    #[must_use]
    pub fn new(outcome: Outcome) -> Self {
        Self {
            schema: ANSWERED.to_owned(),
            everleaf: Printable::new(env!("CARGO_PKG_VERSION")),
            outcome,
            published: None,
            served: Vec::new(),
            notes: Vec::new(),
            failure: None,
        }
    }

    /// Nothing came of it.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::new(Outcome::Failed) }
    }

    /// Reads an answer as a stranger's: one line, in bounds.
    ///
    /// # Errors
    /// Why it is no answer.
    pub fn read(stdout: &[u8]) -> Result<Self, Misread> {
        let mut lines = stdout.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let line = lines.next().unwrap_or_default();
        let noise = "nothing but everleaf may print to standard output there: look at the shell's start-up files and the forced command";
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
            let text: String = String::from_utf8_lossy(line).chars().take(SHOWN).collect();
            let why = format!("it answers something that is no JSON: {:?}", Printable::new(&text).as_str());
            return Err(Misread { why, advice: noise });
        };
        if lines.next().is_some() {
            return Err(Misread { why: "it answers more than one line".to_owned(), advice: noise });
        }
        let schema = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or_default();
        if schema != ANSWERED {
            let version = |text: &str| text.rsplit_once('/').and_then(|(_, number)| number.parse::<u32>().ok());
            let newer = schema.starts_with("everleaf.received/") && version(schema) > version(ANSWERED);
            let why = if newer {
                "the everleaf there is newer than this one, and answers in a way that this one does not understand"
            } else {
                "it answers something else than an everleaf that received a bundle"
            };
            return Err(Misread { why: why.to_owned(), advice: "let both machines have the same everleaf" });
        }
        let mut received = Self::deserialize(value).map_err(|error| Misread {
            why: Printable::new(&format!("its answer cannot be read: {error}")).to_string(),
            advice: "let both machines have the same everleaf",
        })?;
        received.notes.truncate(MOST_NOTES);
        received.served.truncate(MOST_SERVED);
        let silent = received.outcome == Outcome::Failed && received.failure.is_none();
        let unsaid = || Failure::new(Class::Retry, "receive:answer", "", "it failed there, and is not said why");
        received.failure = received.failure.map(|failure| bounded(&failure)).or_else(|| silent.then(unsaid));
        Ok(received)
    }
}

/// What a node says failed. Codes that say something of this machine get a room of their own: it is not its disk that is to be mended.
fn bounded(failure: &Failure) -> Failure {
    let class = match failure.class {
        Class::Retry | Class::HoldUntil => Class::Retry,
        Class::Operator | Class::Spec => Class::Operator,
    };
    let meant_so = failure.code.starts_with("receive:") || MEANT_SO.contains(&failure.code.as_str());
    let code = if meant_so { failure.code.clone() } else { format!("there:{}", failure.code) };
    Failure { code, ..failure.clone() }.of_a_stranger(class)
}

impl Misread {
    /// The same as a failure of the node at `place`; code `receive:answer`.
    #[must_use]
    pub fn failure(&self, place: &str) -> Failure {
        Failure::new(Class::Operator, "receive:answer", place, &self.why).advise(self.advice)
    }
}
