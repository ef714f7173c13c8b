//! Looking from outside: dial, handshake, observe; then judge. There is one prober, and the confirm step uses it.
//!
//! `survey` (with `dial`, `starttls` and `handshake`) records what a peer does and never decides; `checks`, `judge` and `chain`
//! decide and never touch a socket. `files` reads what lies on a disk, for the same judgement.

mod alert;
pub mod chain;
pub mod checks;
pub mod configured;
mod confirm;
mod dial;
mod far;
pub mod files;
mod finding;
mod handshake;
mod judge;
mod label;
mod recorder;
mod records;
pub mod relay;
mod resolve;
mod starttls;
pub mod survey;
pub mod target;

pub use confirm::TlsProber;
pub use finding::{Finding, Verdict};
pub use handshake::{Agreed, Handshake};
pub use label::{Label, Severity, Trouble};
pub use starttls::negotiate;
