//! Telling people, and being woken.

use super::Pending;
use crate::config::spec::Notifier;
use crate::types::{CertName, Failure, Printable, Timestamp};
use serde::{Deserialize, Serialize};

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A failure was overcome.
    Recovery,
    /// The first failure after a success.
    Failure,
    /// Past the last call, or under a tenth of the life left.
    Danger,
}

/// What people are told: one cause, with every certificate it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `everleaf.notice/1`.
    pub schema: String,
    /// How bad.
    pub kind: NoticeKind,
    /// What merged them: a failure's code and place.
    pub cause: Printable,
    /// One line.
    pub summary: Printable,
    /// What to do.
    pub advice: Printable,
    /// Particulars.
    pub details: Vec<Printable>,
    /// The certificates concerned.
    pub certificates: Vec<CertName>,
    /// This machine.
    pub host: Printable,
    /// When.
    pub at: Timestamp,
}

/// Tells people.
pub trait Notify {
    /// Delivers `notice`, or says why not.
    fn tell<'a>(&'a self, notifier: &'a Notifier, notice: &'a Notice) -> Pending<'a, Result<(), Failure>>;
}

/// Arms a wake-up outside this process.
pub trait Alarm {
    /// Arms a transient systemd timer that calls `everleaf run` at `at`.
    fn arm(&self, at: Timestamp) -> Pending<'_, Result<(), Failure>>;
}
