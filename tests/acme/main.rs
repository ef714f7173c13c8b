//! The CA adapter against a real ACME server, Pebble, and against one that misbehaves.

#[path = "../rig/mod.rs"]
mod rig;

mod account;
mod client;
mod fake;
mod faults;
mod issuing;
mod refusals;
mod renewing;
mod resuming;
