//! The agent and the core against a simulated world: one clock, one die, a CA, nodes, files, people.
//!
//! ```text
//! EVERLEAF_SIM_SEED=123 cargo nextest run --test sim random --no-capture   # replays one seed with its whole log
//! EVERLEAF_SIM_SEEDS=5000 cargo nextest run --test sim random_months       # so many months in each of four shards
//! EVERLEAF_SIM_YEARS=100 cargo nextest run --test sim random_years         # so many years in each of two shards
//! ```
//!
//! Each shard of months is a process of its own and must exercise every fault, effect, event, stage and outcome at least fifty
//! times; see `coverage`. One seed, or a few, need not, and say so.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail the test and report"
)]

mod ca;
mod configured;
mod coverage;
mod crash;
mod dice;
mod faults;
mod fleet;
mod forge;
mod hours;
mod invariants;
mod layers;
mod nodes;
mod orders;
mod people;
mod process;
mod random;
mod rollout;
mod scenario;
mod store;
mod world;
