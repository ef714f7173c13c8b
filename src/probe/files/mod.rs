//! Certificates and keys as files: what each file is, and which list of certificates a server that loads them would present.

mod access;
mod contents;
mod disk;
mod identity;
mod live;
mod read;

pub use access::Reader;
pub use disk::{Disk, Elsewhere, Service, Source};
pub use identity::{Identity, Refusal};

use super::finding::Finding;
use super::label::Label;
use crate::pki::Certificate;
use crate::types::{Class, Failure, KeyId};
use contents::Contents;
use read::Read;
use std::path::{Path, PathBuf};

/// A file, and what it was taken for.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The file, as it was named.
    pub path: PathBuf,
    /// What it was taken for: `a leaf and 1 CA certificate`, `a key`.
    pub what: String,
}

/// What the files come to.
#[derive(Debug, Clone, Default)]
pub struct Presented {
    /// Each file that was read.
    pub taken: Vec<Taken>,
    /// The certificates as a server would present them, the leaf first; empty when the files hold none that can be read.
    pub sent: Vec<Certificate>,
    /// What is wrong with the files themselves.
    pub findings: Vec<Finding>,
    /// Whether they are a live directory.
    pub published: bool,
}

/// Reads `paths` as one certificate with what belongs to it: files in any order, or one live directory.
///
/// # Errors
/// Class `Operator`, code `files:…`: a file cannot be read for want of rights or is no file, or what they hold is not one
/// certificate with its chain and key.
pub fn present(paths: &[PathBuf]) -> Result<Presented, Failure> {
    match paths {
        [directory] if directory.is_dir() => live::present(directory),
        _ => files(paths),
    }
}

/// Something in a file that was read.
struct Piece {
    path: PathBuf,
    contents: Contents,
    /// Whether everybody may read the file.
    exposed: bool,
}

fn files(paths: &[PathBuf]) -> Result<Presented, Failure> {
    let mut presented = Presented::default();
    let mut pieces = Vec::new();
    for path in paths {
        pieces.extend(piece(path, &mut presented.findings)?);
    }
    // What is wrong with a file is told even where the others make no certificate.
    if pieces.iter().all(|piece| piece.contents.certificates.is_empty()) && !presented.findings.is_empty() {
        return Ok(presented);
    }
    let keys: Vec<KeyId> = pieces.iter().flat_map(|piece| piece.contents.known_keys()).collect();
    let (first, place) = leaf(&pieces, &keys)?;
    presented.sent = arranged(&pieces, first, place);
    if place > 0 {
        let path = pieces[first].path.display();
        let seen = format!("in {path} the leaf is certificate {}; servers take the first for their own", place + 1);
        presented.findings.push(Finding::new(Label::ChainOutOfOrder, seen).check("Put the leaf first in the file."));
    }
    let leaf = presented.sent[0].clone();
    for piece in &pieces {
        presented.findings.extend(keys_of(piece, &leaf));
        presented.taken.push(Taken { path: piece.path.clone(), what: piece.contents.describe(&leaf) });
    }
    Ok(presented)
}

/// One file's contents; without any, what is wrong with it.
fn piece(path: &Path, findings: &mut Vec<Finding>) -> Result<Option<Piece>, Failure> {
    let name = path.display();
    let (text, exposed) = match read::read(path)? {
        Read::File { text, exposed } => (text, exposed),
        Read::Missing(why) => {
            findings.push(Finding::new(Label::DiskFileMissing, format!("{name} {why}")));
            return Ok(None);
        }
        Read::TooLarge(size) => {
            let most = read::MAX_BYTES;
            let seen = format!("{name} is {size} bytes long; no certificate file is longer than {most}");
            findings.push(Finding::new(Label::DiskFileCorrupt, seen));
            return Ok(None);
        }
    };
    match contents::read(&text) {
        Ok(contents) if contents.certificates.len() > contents::MAX_CERTIFICATES => {
            let count = contents.certificates.len();
            Err(failure("files:store", path, format!("it holds {count} certificates, too many for a chain"))
                .advise("If it is a trust store, name it with --ca."))
        }
        Ok(contents) => Ok(Some(Piece { path: path.to_owned(), contents, exposed })),
        Err(why) => {
            findings.push(Finding::new(Label::DiskFileCorrupt, format!("{name}: {why}")));
            Ok(None)
        }
    }
}

/// Which file holds the leaf, and where in it: the certificate of one of the keys, the first that is no CA's, or a
/// self-signed one that servers might use.
fn leaf(pieces: &[Piece], keys: &[KeyId]) -> Result<(usize, usize), Failure> {
    let place = |piece: &Piece, is: &dyn Fn(&Certificate) -> bool| piece.contents.certificates.iter().position(is);
    let mine = |it: &Certificate| keys.contains(&it.key());
    let leaves = |it: &Certificate| !it.authority.ca;
    let selfish = |it: &Certificate| it.is_self_issued() && it.key_usages.server;
    for is in [&mine as &dyn Fn(&Certificate) -> bool, &leaves, &selfish] {
        let found: Vec<(usize, usize)> =
            pieces.iter().enumerate().filter_map(|(at, piece)| Some((at, place(piece, is)?))).collect();
        let at = |(piece, place): (usize, usize)| &pieces[piece].contents.certificates[place];
        let Some(best) = found.iter().copied().max_by_key(|(piece, _)| pieces[*piece].contents.certificates.len())
        else {
            continue;
        };
        if let Some(other) = found.iter().copied().find(|other| at(*other).der() != at(best).der()) {
            let (one, two) = (pieces[found[0].0].path.display(), pieces[other.0.max(best.0)].path.display());
            return Err(failure("files:several", &pieces[best.0].path, format!("{one} and {two} each hold a leaf"))
                .advise("Name one certificate's files at a time."));
        }
        return Ok(best);
    }
    let path = &pieces[0].path;
    let none = pieces.iter().all(|piece| piece.contents.certificates.is_empty());
    let what = if none { "there is no certificate to judge, only a key" } else { "there are CA certificates only" };
    Err(failure("files:no_leaf", path, what).advise("Name the file with the leaf as well."))
}

/// The leaf and what stands with it, then the certificates of the other files. What two files hold is presented once.
fn arranged(pieces: &[Piece], first: usize, place: usize) -> Vec<Certificate> {
    let mut sent = pieces[first].contents.certificates.clone();
    sent[..=place].rotate_right(1);
    let own = sent.len();
    let others = pieces.iter().enumerate().filter(|(at, _)| *at != first);
    for certificate in others.flat_map(|(_, piece)| &piece.contents.certificates) {
        if !sent.iter().take(own).any(|had| had.der() == certificate.der()) {
            sent.push(certificate.clone());
        }
    }
    sent
}

/// What is wrong with the keys in a file.
fn keys_of(piece: &Piece, leaf: &Certificate) -> Vec<Finding> {
    let name = piece.path.display();
    let mut found = Vec::new();
    if let Some(key) = piece.contents.known_keys().find(|key| *key != leaf.key()) {
        let (who, wanted) = (leaf.subject_or_names(), leaf.key());
        let seen = format!("the key in {name} is {}, and {who} certifies {}", key.short(), wanted.short());
        found.push(Finding::new(Label::DiskKeyMismatch, seen));
    }
    if piece.exposed && !piece.contents.keys.is_empty() {
        found.push(Finding::new(
            Label::DiskKeyExposed,
            format!("{name} holds a private key, and everybody may read it"),
        ));
    }
    found
}

fn failure(code: &str, path: &Path, message: impl AsRef<str>) -> Failure {
    Failure::new(Class::Operator, code, path.display().to_string(), message)
}
