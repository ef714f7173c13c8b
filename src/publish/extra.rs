//! Extra files (`files:`): any path, one file each, for what reads neither the live directory's names nor its formats.
//!
//! They are replaced one by one, so two of them can for an instant, or after a kill until the next deploy, belong to two generations; the
//! live directory is the one place where a pair switches in one step.

use super::access::attributes;
use super::contents::{Contents, Files};
use super::failed;
use crate::config::spec::ExtraFile;
use crate::disk::{Attributes, Dir, Durability, kind};
use crate::types::{Class, Failure, Printable};
use nix::errno::Errno;
use nix::sys::stat::SFlag;
use std::path::Path;

/// Makes an extra file what it should be. Answers a note when it had to be written. A link at the path is replaced, never followed.
///
/// # Errors
/// As [`super::publish`]; code `publish:enoent` when its directory is missing, which everleaf does not make: it may be a mount point.
pub fn extra(file: &ExtraFile, files: &Files<'_>) -> Result<Option<Printable>, Failure> {
    let place = file.path.to_string_lossy();
    let (parent, name) = split(file)?;
    let wanted = attributes(file.owner.as_deref(), file.group.as_deref(), file.mode)?;
    let contents = Contents::of(files);
    let contents = contents.bytes(file.content);
    let dir = Dir::open(parent).map_err(failed)?;
    let found = dir.stat(name).map_err(failed)?;
    if holds(&dir, name, &wanted, contents)? {
        return Ok(None);
    }
    let temporary = format!("..everleaf-{name}");
    dir.replace_by_way_of(&temporary, name, contents, &wanted, Durability::Synced).map_err(failed)?;
    let did = if found.is_some() { "replaced" } else { "written" };
    Ok(Some(Printable::new(&format!("{place}: {did}"))))
}

/// Whether an extra file is what it should be. Changes nothing.
///
/// # Errors
/// As [`extra`]; a missing file or directory is an answer, not an error.
pub fn extra_holds(file: &ExtraFile, files: &Files<'_>) -> Result<bool, Failure> {
    let (parent, name) = split(file)?;
    let wanted = attributes(file.owner.as_deref(), file.group.as_deref(), file.mode)?;
    match Dir::open(parent) {
        Ok(dir) => holds(&dir, name, &wanted, Contents::of(files).bytes(file.content)),
        Err(error) if error.errno() == Errno::ENOENT => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn holds(dir: &Dir, name: &str, wanted: &Attributes, contents: &[u8]) -> Result<bool, Failure> {
    let found = dir.stat(name).map_err(failed)?;
    let is_file = found.is_some_and(|found| kind(&found) == SFlag::S_IFREG && wanted.hold(&found));
    Ok(is_file && dir.read(name, contents.len()).is_ok_and(|there| there.as_deref() == Some(contents)))
}

fn split(file: &ExtraFile) -> Result<(&Path, &str), Failure> {
    let name = file.path.file_name().and_then(|name| name.to_str());
    file.path.parent().zip(name).ok_or_else(|| {
        let place = file.path.to_string_lossy();
        Failure::new(Class::Spec, "publish:path", place, "this is not the path of a file")
    })
}
