//! Finds a hook's program, and tells apart the ways in which it cannot be started.

use super::process::Process;
use crate::types::{Class, Failure};
use nix::unistd::{AccessFlags, access};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The mode bits that let anybody write.
const OTHERS_WRITE: u32 = 0o002;
/// On a directory: only a file's owner may replace it.
const STICKY: u32 = 0o1000;

/// The absolute path of `name`: looked up along `search` when it has no slash, taken from `/` otherwise.
///
/// Refuses what anybody on the machine could replace, and a text file without a `#!` line, which some libraries would hand to
/// a shell unasked.
pub(super) fn resolve(name: &str, search: &OsStr, place: &str) -> Result<PathBuf, Failure> {
    let path = if name.contains('/') {
        Path::new("/").join(name)
    } else {
        std::env::split_paths(search).map(|dir| dir.join(name)).find(|path| runnable(path)).ok_or_else(|| {
            let message = format!("{name} was not found along {}", search.display());
            Failure::new(Class::Operator, "hook:not-found", place, message).advise("install it, or write its full path")
        })?
    };
    let real = fs::canonicalize(&path).map_err(|error| cannot_open(&path, &error, place))?;
    not_writable_by_all(&path, &real, place)?;
    if !runnable(&real) {
        let message = format!("{} is not an executable file", path.display());
        let advice = format!("chmod 755 {}", path.display());
        return Err(Failure::new(Class::Operator, "hook:permission", place, message).advise(advice));
    }
    has_format(&path, place)?;
    Ok(path)
}

/// The failure of a start that the kernel refused.
pub(super) fn cannot_start(process: &Process, error: &io::Error) -> Failure {
    let path = process.program.display();
    let failure = |class, code: &str, message: String| Failure::new(class, code, &process.place, message);
    match error.kind() {
        io::ErrorKind::NotFound if process.program.exists() => failure(
            Class::Operator,
            "hook:interpreter",
            format!("the interpreter on the #! line of {path} does not exist"),
        )
        .advise("install it, or correct the first line"),
        io::ErrorKind::NotFound => failure(Class::Operator, "hook:not-found", format!("{path} does not exist")),
        io::ErrorKind::PermissionDenied => {
            failure(Class::Operator, "hook:permission", format!("{path} may not be run: {error}"))
                .advise("check its mode, its interpreter's, and whether the file system is mounted noexec")
        }
        io::ErrorKind::ExecutableFileBusy => {
            failure(Class::Retry, "hook:busy", format!("{path} is being written right now"))
        }
        _ => failure(Class::Operator, "hook:start", format!("{path} cannot be started: {error}")),
    }
}

fn cannot_open(path: &Path, error: &io::Error, place: &str) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => "hook:not-found",
        io::ErrorKind::PermissionDenied => "hook:permission",
        _ => "hook:start",
    };
    Failure::new(Class::Operator, code, place, format!("{}: {error}", path.display()))
        .advise("check the path and the rights of the directories that lead to it")
}

fn runnable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// Whoever can write the file, or replace it in its directory, would run commands as us.
fn not_writable_by_all(path: &Path, real: &Path, place: &str) -> Result<(), Failure> {
    let mut looked_at = vec![real];
    looked_at.extend(path.parent());
    looked_at.extend(real.parent());
    for item in looked_at {
        let metadata = fs::metadata(item).map_err(|error| cannot_open(item, &error, place))?;
        let replaceable = metadata.mode() & OTHERS_WRITE != 0;
        let guarded = metadata.is_dir() && metadata.mode() & STICKY != 0;
        if replaceable && !guarded && !metadata.file_type().is_char_device() {
            let message = format!("anybody may write {}, so it is not run", item.display());
            let advice = format!("chmod o-w {}", item.display());
            return Err(Failure::new(Class::Operator, "hook:world-writable", place, message).advise(advice));
        }
    }
    Ok(())
}

/// ELF, or a script that names its interpreter. A program that may be run but not read is left to the kernel.
fn has_format(path: &Path, place: &str) -> Result<(), Failure> {
    let mut start = [0; 4];
    let Ok(count) = File::open(path).and_then(|mut file| file.read(&mut start)) else { return Ok(()) };
    if start[..count].starts_with(b"#!") || start[..count].starts_with(b"\x7fELF") {
        return Ok(());
    }
    let message = format!("{} has no #! line, and is no program either", path.display());
    Err(Failure::new(Class::Operator, "hook:format", place, message).advise("begin it with a line such as #!/bin/sh"))
}
