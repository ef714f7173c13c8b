//! What a pass leaves for readers: `status.json` in the run directory and the Prometheus textfile.

use crate::disk::{Attributes, Dir, DiskError, Durability};
use crate::report::{CertificateStatus, Said, Snapshot, metrics};
use crate::types::{Class, Failure};
use std::path::Path;

/// The status file's name.
const STATUS: &str = "status.json";
/// Ten thousand certificates take less.
const MAX_STATUS: usize = 64 * 1024 * 1024;
/// World-readable: there are no secrets inside.
const READABLE: Attributes = Attributes::mode(0o644);

/// What lies in the run directory.
#[derive(Debug, Clone, PartialEq)]
pub enum Readable {
    /// No status file.
    Absent,
    /// A status file.
    There(Box<Snapshot>),
}

/// Reads the status file in the run directory `run`. Takes no lock and needs no rights.
///
/// # Errors
/// The I/O error; code `status:unreadable` when it is not a status file of this version.
pub fn read_status(run: &Path) -> Result<Readable, Failure> {
    let absent = |error: &DiskError| matches!(error.errno(), nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR);
    let text = match Dir::open(run).and_then(|dir| dir.read(STATUS, MAX_STATUS)) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Readable::Absent),
        Err(error) if absent(&error) => return Ok(Readable::Absent),
        Err(error) => return Err(error.failure("status")),
    };
    let place = run.join(STATUS);
    serde_json::from_slice(&text).map(|snapshot| Readable::There(Box::new(snapshot))).map_err(|error| {
        Failure::new(Class::Operator, "status:unreadable", place.to_string_lossy(), error.to_string())
            .advise("the next `everleaf run` writes it anew")
    })
}

/// Writes the status file. Losing it costs readers one interval, so failing is logged and fails nothing.
pub(super) fn write_status(run: &Path, snapshot: &Snapshot) {
    let written = serde_json::to_vec(snapshot).map_err(|error| error.to_string()).and_then(|json| {
        let dir = Dir::open_or_make(run, 0o755).map_err(|error| error.to_string())?;
        dir.replace(STATUS, &json, &READABLE, Durability::Losable).map_err(|error| error.to_string())
    });
    if let Err(error) = written {
        tracing::warn!("the status file is not written: {error}");
    }
}

/// Writes the metrics to `file`, as one rename.
pub(super) fn write_metrics(file: &Path, snapshot: &Snapshot) {
    let written = metrics(snapshot).map_err(|failure| failure.to_string()).and_then(|text| {
        let (Some(parent), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return Err("it is not the path of a file".to_owned());
        };
        let dir = Dir::open(parent).map_err(|error| error.to_string())?;
        dir.replace(name, text.as_bytes(), &READABLE, Durability::Losable).map_err(|error| error.to_string())
    });
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), "the metrics are not written: {error}");
    }
}

/// A status from an earlier pass: what was new then is not new now.
pub(super) fn carried(mut certificate: CertificateStatus) -> CertificateStatus {
    if matches!(certificate.outcome, Said::Live | Said::Installed) {
        certificate.outcome = Said::NothingDue;
    }
    certificate
}
