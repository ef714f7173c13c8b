//! From YAML to a checked [`Spec`](spec::Spec): all errors at once, each with its place.

pub mod spec;
