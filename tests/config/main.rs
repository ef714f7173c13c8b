//! The configuration as people write it: what is accepted, what is said of mistakes, how long reading takes.
#![cfg(test)]

#[path = "../rig/snapshot.rs"]
mod snapshot;

mod examples;
mod fleet;
mod mistakes;
mod outside;
mod reading;
mod speed;

use everleaf::config::{ConfigErrors, Loaded, parse};

/// Reads one file's text by itself.
fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    parse(&[("everleaf.yaml".into(), text.to_owned())])
}
