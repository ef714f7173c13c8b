//! The agent and the core against a simulated world: one clock, one die, a CA, nodes, files, people.
//!
//! ```text
//! EVERLEAF_SIM_SEED=123 cargo nextest run --test sim random --no-capture   # replays one seed with its whole log
//! EVERLEAF_SIM_SEEDS=2000 EVERLEAF_SIM_DAYS=30 cargo nextest run --test sim random
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test and report"
)]

mod ca;
mod crash;
mod dice;
mod faults;
mod forge;
mod invariants;
mod layers;
mod nodes;
mod orders;
mod people;
mod random;
mod rollout;
mod scenario;
mod store;
mod world;
