//! A live directory, as everleaf and certbot publish it: what its servers will read at their next reload.

use super::{Piece, Presented, Taken, failure, keys_of, piece};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::Failure;
use std::path::Path;

/// What every live directory holds.
const ALWAYS: [&str; 2] = ["fullchain.pem", "privkey.pem"];
/// What it may hold besides: a link without its file is wrong all the same.
const SOMETIMES: [&str; 3] = ["bundle.pem", "cert.pem", "chain.pem"];

/// The names of all of them, the chain first.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().chain(SOMETIMES)
}

/// What the directory at `path` presents: its fullchain.
///
/// # Errors
/// As [`super::present`]; code `files:no_live` when it holds none of the files.
pub(super) fn present(path: &Path) -> Result<Presented, Failure> {
    let there = |name: &&str| path.join(name).symlink_metadata().is_ok();
    if !ALWAYS.iter().chain(&SOMETIMES).any(there) {
        return Err(failure("files:no_live", path, "it is a directory without fullchain.pem")
            .advise("Name a live directory (…/live/NAME), or files."));
    }
    let mut presented = Presented { published: true, ..Presented::default() };
    let mut pieces: Vec<Piece> = Vec::new();
    for name in ALWAYS.iter().chain(SOMETIMES.iter().filter(|name| there(name))) {
        pieces.extend(piece(&path.join(name), &mut presented.findings)?);
    }
    let named = |name: &str| pieces.iter().find(|piece| piece.path.ends_with(name));
    let Some(leaf) = named("fullchain.pem").and_then(|full| full.contents.certificates.first().cloned()) else {
        presented.findings.extend(
            named("fullchain.pem").map(|full| {
                Finding::new(Label::DiskFileCorrupt, format!("{} holds no certificate", full.path.display()))
            }),
        );
        return Ok(presented);
    };
    for piece in &pieces {
        presented.taken.push(Taken { path: piece.path.clone(), what: piece.contents.describe(&leaf) });
        // A bundle is a pair of its own.
        let own = piece.contents.certificates.first().unwrap_or(&leaf);
        presented.findings.extend(keys_of(piece, own));
    }
    let full = named("fullchain.pem").map(|full| full.contents.certificates.clone()).unwrap_or_default();
    if let Some(bundle) = named("bundle.pem").filter(|bundle| bundle.contents.certificates.len() < full.len()) {
        let (had, most) = (bundle.contents.certificates.len(), full.len());
        let seen = format!("{} holds {had} of the {most} certificates of fullchain.pem", bundle.path.display());
        presented.findings.push(Finding::new(Label::DiskChainIncomplete, seen));
    }
    presented.sent = full;
    Ok(presented)
}
