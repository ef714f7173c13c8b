//! Hostile surroundings, met by the built program as people run it: a process killed at any system call, disks that refuse,
//! a CA that lies, peers that fight over a lock, bytes that nobody sane would send. What everleaf says of each is kept in
//! `messages/`, as it was reviewed.
#![cfg(test)]

mod budgets;
mod bytes;
mod ca_chains;
mod ca_orders;
mod ca_wire;
mod daemon;
mod dependencies;
mod disk;
mod disk_clock;
mod disk_full;
mod disk_live;
mod disk_rights;
mod disk_state;
mod floods;
mod kill;
mod mutants;
mod peers;
mod plain;
mod promises;
#[path = "../rig/mod.rs"]
mod rig;
mod secrets;
mod soak;
