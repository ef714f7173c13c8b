//! The reconciler's mind: pure, total, and the only place that decides.
//!
//! ```text
//! Spec ─┐
//! Facts ┴─▶ plan() ─▶ admit() ─▶ effects … events ─▶ Ledger::apply ─▶ Facts
//! ```
//!
//! Nothing here reads a clock, draws a number, opens a file or a socket, or logs. Time comes in as an argument; the one
//! random thing, the installation's seed, is a fact. Whatever happened is an [`event`]; whatever should happen is an
//! [`effect`]; [`plan()`] compares what is wanted with what is known and names the difference, with a [`reason`] for each
//! step. A crash needs no code of its own: the next start reads the facts and plans.

pub mod admit;
mod asks;
pub mod budget;
pub mod docket;
pub mod effect;
pub mod event;
pub mod hold;
mod issue;
pub mod ledger;
mod order;
pub mod outcome;
pub mod plan;
pub mod reason;
mod rollout;
pub mod schedule;
pub mod shared;
pub mod sightings;
mod upkeep;
mod want;
mod watch;
mod waves;

pub use admit::{Batch, Work, admit};
pub use docket::Docket;
pub use effect::{Effect, Slot};
pub use event::{Ask, Entry, Event};
pub use ledger::{Facts, Ledger};
pub use outcome::{Outcome, Stage};
pub use plan::{Horizon, LONGEST_PAUSE, LONGEST_SLEEP, Plan, Step, Wake, WakeKind, plan};
pub use reason::Reason;
pub use shared::Shared;
pub use sightings::Sightings;

#[cfg(test)]
mod tests;
