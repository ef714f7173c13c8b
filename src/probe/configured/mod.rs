//! What servers' own configurations load: read from what `nginx -T` prints, from HAProxy's runtime API, and from HAProxy's
//! configuration. Pure, bounded and total: what cannot be understood is not told of.

pub mod haproxy;
pub mod nginx;

use std::path::PathBuf;

/// Files that a server loads for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads {
    /// Which part of which configuration says so.
    pub place: String,
    /// The files or directories of certificates; those of HAProxy hold keys too.
    pub certificates: Vec<PathBuf>,
    /// The files of keys, where they are named apart.
    pub keys: Vec<PathBuf>,
    /// Lists of further files, which must be read to know.
    pub lists: Vec<PathBuf>,
}
