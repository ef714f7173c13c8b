//! The built `everleaf`, as people and scripts call it: exit codes, both streams, schemas, and one certificate's life.
#![cfg(test)]

#[path = "../rig/mod.rs"]
mod rig;

mod clients;
mod desk;
mod fleet;
mod hsts;
mod life;
mod output;
mod probe;
mod usage;
mod verify;
mod via;
