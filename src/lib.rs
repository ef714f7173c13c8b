//! everleaf keeps TLS certificates alive on servers and edge fleets.
//!
//! The code map, with the rules that hold between the modules, is `ARCHITECTURE.md`.

#![forbid(unsafe_code)]
// The bans of clippy.toml; what only tests do is not held to them.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod acme;
pub mod agent;
pub mod alarm;
pub mod cli;
pub mod config;
pub mod core;
pub mod deploy;
pub mod disk;
pub mod hook;
pub mod net;
pub mod notify;
pub mod pki;
pub mod ports;
pub mod probe;
pub mod publish;
pub mod report;
pub mod solver;
pub mod state;
pub mod types;
pub mod wire;
