//! The configuration as people write it: what is accepted, what is said of mistakes, how long reading takes.

#[cfg(test)]
mod examples;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod speed;

#[cfg(test)]
use everleaf::config::{ConfigErrors, Loaded, parse};

#[cfg(test)]
/// Reads one file's text by itself.
fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    parse(&[("everleaf.yaml".into(), text.to_owned())])
}
