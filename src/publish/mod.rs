//! What servers read: the AtomicWriter layout of a live directory, and extra files. The same code runs on a node under `receive`.
//!
//! ```text
//! live/NAME/cert.pem … bundle.pem → ..data/cert.pem …
//! live/NAME/..data                → ..gen-0007-3fa94c1b      the switch: one rename of one symbolic link
//! live/NAME/..gen-0007-3fa94c1b/  five files and `..epoch`   built aside, synced, renamed whole, never changed afterwards
//! ```
//!
//! The order of the system calls keeps this: at every instant, and after a kill or a power cut at any of them, the paths
//! show the old pair or the new one. Publishing is idempotent and heals what it finds: a generation edited by hand is built anew under
//! another name (`..gen-0007-3fa94c1b.1`) and switched to, since it may be in use. What is not everleaf's is moved aside, never removed.

mod access;
mod contents;
mod extra;
mod live;

pub use contents::Files;
pub use extra::{extra, extra_holds};

use crate::config::spec::{Access, KeyAlgorithm};
use crate::disk::{Dir, DiskError};
use crate::pki::{csr, key};
use crate::types::{CertName, Class, Epoch, Failure, GenId, Identifier, KeyFamily, Printable, Secret, Timestamp};
use access::Modes;
use contents::{Contents, NAMES};
use live::Live;
use nix::errno::Errno;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Which live directory, and who may read it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The node's live directory; the certificate's lies in it.
    pub live: &'a Path,
    /// The certificate.
    pub name: &'a CertName,
    /// Owner, group and modes.
    pub access: &'a Access,
}

/// What publishing did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether anything had to be written.
    pub changed: bool,
    /// What people should know: foreign files moved aside, something that could not be cleaned up.
    pub notes: Vec<Printable>,
}

/// What lies published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The generation `..data` resolves to; `None` also for a placeholder.
    pub generation: Option<GenId>,
    /// The epoch it was published at.
    pub epoch: Option<Epoch>,
    /// Whether it is the generation asked about, byte for byte, with its owner and modes, and every name leads to it.
    pub intact: bool,
}

/// The files that a live directory shows, whatever they are.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The leaf, PEM.
    pub cert: String,
    /// The intermediates, PEM.
    pub chain: String,
    /// The key, PEM, when it can be read.
    pub privkey: Option<Secret>,
}

/// Makes `files` what `target` shows, at `epoch`. Done already is done; what is damaged is healed.
///
/// # Errors
/// Class `Operator`, code `publish:epoch`, when something of a higher epoch is published; `publish:owner` when the owner or group is not
/// known here; or the I/O error as `publish:ERRNO`. What was published is then still published, unchanged.
pub fn publish(target: &Target<'_>, files: &Files<'_>, epoch: Epoch) -> Result<Done, Failure> {
    let modes = Modes::resolve(target.access)?;
    let live = Live::open(open_or_make(target, &modes).map_err(failed)?, modes).map_err(failed)?;
    if let Some(published) = live.current().and_then(|current| current.epoch).filter(|published| epoch < *published) {
        return Err(overtaken(target, epoch, published));
    }
    live.publish(&Contents::of(files), &files.generation.to_string(), Some(epoch)).map_err(failed)
}

/// Publishes a self-signed pair for `names` where nothing lies yet, so that a server can start. Answers whether it did. It has no
/// generation and no epoch, so whatever is published next replaces it.
///
/// # Errors
/// As [`publish`], or what the cryptographic library says.
pub fn placeholder(
    target: &Target<'_>,
    names: &[Identifier],
    family: KeyFamily,
    now: Timestamp,
) -> Result<bool, Failure> {
    let modes = Modes::resolve(target.access)?;
    let live = Live::open(open_or_make(target, &modes).map_err(failed)?, modes).map_err(failed)?;
    if !live.is_empty().map_err(failed)? {
        return Ok(false);
    }
    // The quickest algorithm of the family: a placeholder protects nothing.
    let algorithm = match family {
        KeyFamily::Ecdsa => KeyAlgorithm::EcdsaP256,
        KeyFamily::Rsa => KeyAlgorithm::Rsa2048,
    };
    let key = key::generate(algorithm)?.pem;
    let cert = csr::self_signed(&key, names, now)?;
    live.publish(&Contents::new(&cert, "", &key), PLACEHOLDER, None).map_err(failed).map(|done| done.changed)
}

/// The name of a placeholder's directory, in place of a generation's.
const PLACEHOLDER: &str = "placeholder";

/// What lies at `target`, held against `files`. Changes nothing.
///
/// # Errors
/// The I/O error; a missing directory is an answer, not an error.
pub fn inspect(target: &Target<'_>, files: &Files<'_>) -> Result<Found, Failure> {
    let modes = Modes::resolve(target.access)?;
    let opened = Dir::open(target.live).and_then(|live| live.sub(target.name.as_str()));
    let dir = match opened {
        Ok(dir) => dir,
        Err(error) if error.errno() == Errno::ENOENT => return Ok(Found::default()),
        Err(error) => return Err(failed(error)),
    };
    let live = Live::unlocked(dir, modes);
    let Some(current) = live.current() else { return Ok(Found::default()) };
    let same = current.generation == Some(files.generation);
    let intact = same && live.is_intact(&current.name, &Contents::of(files)) && live.is_linked().map_err(failed)?;
    Ok(Found { generation: current.generation, epoch: current.epoch, intact })
}

/// The files that a live directory shows, where they can be read.
#[must_use]
pub fn read_back(live: &Path) -> Option<Shown> {
    let shown = Dir::open(&live.join(live::DATA)).ok()?;
    let read = |name: &str| String::from_utf8(shown.read(name, MAX_PUBLISHED).ok()??).ok();
    Some(Shown { cert: read("cert.pem")?, chain: read("chain.pem")?, privkey: read("privkey.pem").map(Secret::new) })
}

/// Far more than any certificate's chain takes.
const MAX_PUBLISHED: usize = 1024 * 1024;

/// A word for what a live directory looks like without reading its files: whoever changes something there changes the word.
#[must_use]
pub fn mark(live: &Path) -> String {
    let link = std::fs::read_link(live.join(live::DATA)).unwrap_or_default();
    let names = NAMES.map(|(name, _)| mark_of(&live.join(name)));
    format!("{} {}", link.display(), names.join(" "))
}

/// The same of a single file; links are followed, as whoever reads it does.
#[must_use]
pub fn mark_of(file: &Path) -> String {
    let Ok(found) = std::fs::metadata(file) else { return "-".to_owned() };
    // The time of the last change of any kind cannot be set back by whoever made it.
    format!("{}:{}:{}:{}:{}", found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec())
}

fn open_or_make(target: &Target<'_>, modes: &Modes) -> Result<Dir, DiskError> {
    Dir::open_or_make(target.live, PARENT_MODE)?.make(target.name.as_str(), &modes.dir)
}

/// The directory of all live directories: its names are no secret, and each directory in it has the mode configured.
const PARENT_MODE: u32 = 0o755;

fn overtaken(target: &Target<'_>, epoch: Epoch, published: Epoch) -> Failure {
    let place = target.live.join(target.name.as_str());
    let message = format!("epoch {published} is published there, which is newer than {epoch}");
    Failure::new(Class::Operator, "publish:epoch", place.to_string_lossy(), message)
        .advise("two everleaf installations may be publishing here; run deploy from the one that should")
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn failed(error: DiskError) -> Failure {
    error.failure("publish")
}

#[cfg(test)]
mod tests;
