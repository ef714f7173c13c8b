//! What went wrong outside, sorted by what to do next.

use super::Printable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What a failure asks for. The planner acts on this and on nothing else of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Passing: try again with backoff.
    Retry,
    /// The other side named a time before which there is no use in trying (rate limit, Retry-After): a minimum wait.
    HoldUntil,
    /// Looks permanent (CAA, DNS, paused account, refused account): tell people at once, try daily, and on `renew`.
    Operator,
    /// The specification itself makes it impossible: wait for an edit.
    Spec,
}

/// A failed effect: what, where, why, what to do. Safe to print and to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What to do next, for the planner.
    pub class: Class,
    /// A stable word for scripts and for merging by cause: `acme:rateLimited`, `hook:exit`, `net:timeout`, `publish:enospc`.
    pub code: String,
    /// Where: a URL, a node, an address, a file.
    pub place: Printable,
    /// What happened and why, one sentence.
    pub message: Printable,
    /// What a person should do or look at first. Empty when nothing can be said.
    #[serde(default, skip_serializing_if = "Printable::is_empty")]
    pub advice: Printable,
    /// Particulars, one line each: subproblems with their identifiers, the lines a hook printed last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Printable>,
    /// The least wait the other side asked for, in milliseconds in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub retry_after: Option<Duration>,
    /// Whether it stands in the way of every new order at this CA, not of this one alone: a limit on the account or address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub issuer_wide: bool,
}

/// The particulars kept of one failure.
const MAX_DETAILS: usize = 32;
/// The longest code: `acme:` with a problem's type.
const MAX_CODE: usize = 64;

impl Failure {
    /// A failure of `class` with a stable `code`, at `place`.
    #[must_use]
    pub fn new(class: Class, code: impl Into<String>, place: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            class,
            code: code.into(),
            place: Printable::new(place.as_ref()),
            message: Printable::new(message.as_ref()),
            advice: Printable::default(),
            details: Vec::new(),
            retry_after: None,
            issuer_wide: false,
        }
    }

    /// Adds what a person should do.
    #[must_use]
    pub fn advise(mut self, advice: impl AsRef<str>) -> Self {
        self.advice = Printable::new(advice.as_ref());
        self
    }

    /// Adds a particular; those beyond the 32nd are dropped.
    #[must_use]
    pub fn detail(mut self, line: impl AsRef<str>) -> Self {
        if self.details.len() < MAX_DETAILS {
            self.details.push(Printable::new(line.as_ref()));
        }
        self
    }

    /// What another machine says failed, as a failure of `class` in bounds: its code a word, its particulars few, never without a message.
    #[must_use]
    pub fn of_a_stranger(&self, class: Class) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || "_:-".contains(*c);
        let code: String = self.code.chars().filter(plain).take(MAX_CODE).collect();
        let message = if self.message.is_empty() { "it failed, and is not said how" } else { self.message.as_str() };
        let told = Self::new(class, code, self.place.as_str(), message).advise(self.advice.as_str());
        self.details.iter().fold(told, |told, line| told.detail(line.as_str()))
    }

    /// Whether this machine's files refused (`state:eacces`, `publish:enospc`) or are gone (`key:`, `generation:`, `account:`, `roots:`).
    /// Whatever the class, what was to be done is no worse for it, and whoever mends a disk tells nobody.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        // Errors of system calls, and they alone, begin with an E; an epoch is none.
        let errno = |rest: &str| rest.starts_with('e') && rest != "epoch";
        let refused =
            ["state:", "publish:", "solver:"].into_iter().any(|area| self.code.strip_prefix(area).is_some_and(errno));
        refused || ["account:", "key:", "generation:", "roots:"].into_iter().any(|area| self.code.starts_with(area))
    }

    /// Whether it is this machine, its files or its clock, that somebody has to mend: every run looks whether that was done.
    #[must_use]
    pub fn is_mended_here(&self) -> bool {
        self.is_of_the_disk() || ["publish:", "clock:"].iter().any(|area| self.code.starts_with(area))
    }

    /// Whether a leaf key is gone from this disk.
    #[must_use]
    pub fn is_lost_key(&self) -> bool {
        matches!(self.code.as_str(), "key:missing" | "key:damaged")
    }

    /// Sets the least wait.
    #[must_use]
    pub fn wait(mut self, least: Option<Duration>) -> Self {
        self.retry_after = least;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "serde's `with` hands a reference to the field")]
    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
