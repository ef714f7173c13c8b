//! From YAML to a checked [`Spec`]: all errors at once, each with its place.
//!
//! [`load`] reads `everleaf.yaml` and `conf.d/*.yaml` beside it. [`parse`] does the same with text in memory and looks at
//! nothing outside it. Every reader of a value says what is wrong and goes on, so that five mistakes are five errors;
//! only text that is no YAML at all stands alone.

mod certificates;
mod each;
mod endpoints;
mod fleet;
mod groups;
mod hooks;
mod issuers;
mod known;
mod nodes;
mod notifiers;
mod outside;
mod problem;
mod read;
mod rehearse;
mod rollout;
mod sections;
mod solvers;
pub mod spec;
mod yaml;

pub(crate) use read::nearest;

pub use problem::{ConfigErrors, Problem, Report, Severity};
pub use rehearse::{NotRehearsable, Rehearsed};

use outside::{Machine, Nothing, Outside, plain};
use problem::{At, Sink, Source};
use read::Reader;
use spec::Spec;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The largest file read: 5,000 certificates take less than half a megabyte.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// Files read at most. A directory full of others' files is a mistake.
const MAX_FILES: usize = 1024;
/// Where further files lie, beside the main one.
const FURTHER: &str = "conf.d";

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is wanted.
    pub spec: Spec,
    /// What is probably not meant, yet can be done.
    pub warnings: Report,
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
}

/// Reads `path` and the files `conf.d/*.yaml` beside it, sorted by name, with the secrets they name.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong, in the YAML and in what it names: missing files, secrets that
/// everybody may read, hooks that everybody may change.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    let (paths, mut problems) = files(path);
    let mut files = Vec::new();
    for path in paths {
        match contents(&path) {
            Ok(text) => files.push((path, text)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        return check(files, &Machine);
    }
    Err(ConfigErrors(Report::of_files(problems)))
}

/// Checks text that was read elsewhere. Pure and total: no file, variable or clock is looked at, files named are taken to
/// be there, and every secret is empty.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong in the YAML.
pub fn parse(files: &[(PathBuf, String)]) -> Result<Loaded, ConfigErrors> {
    check(files.to_vec(), &Nothing)
}

fn check(files: Vec<(PathBuf, String)>, outside: &dyn Outside) -> Result<Loaded, ConfigErrors> {
    let sink = Sink::default();
    let roots: Vec<Option<yaml::Node>> =
        files.iter().enumerate().map(|(index, (_, text))| yaml::parse(index, text, &sink)).collect();
    let spec = sections::read(&Reader { sink: &sink, outside }, &roots);
    if spec.is_none()
        && !sink.has_errors()
        && let Some((first, _)) = files.first()
    {
        let help = "write `version: 1` and what to keep alive under `certificates:`; README.md shows a whole file";
        sink.push(Problem::of_file(first, "nothing is configured here").help(help));
    }
    let paths = files.iter().map(|(path, _)| path.clone()).collect();
    let sources = files.into_iter().map(|(path, text)| Source { path, text }).collect();
    let key_of = |at: At| {
        let root = roots.get(at.file).and_then(Option::as_ref);
        root.map(|root| yaml::key_path(root, at)).unwrap_or_default()
    };
    let report = sink.into_report(sources, key_of);
    match spec {
        Some(spec) if !report.has_errors() => Ok(Loaded { spec, warnings: report, files: paths }),
        _ => Err(ConfigErrors(report)),
    }
}

/// The files to read.
fn files(path: &Path) -> (Vec<PathBuf>, Vec<Problem>) {
    let directory = path.parent().unwrap_or(Path::new(".")).join(FURTHER);
    let mut further = Vec::new();
    let mut problems = Vec::new();
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries.take(MAX_FILES * 2).flatten() {
                let path = entry.path();
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !hidden && path.extension().is_some_and(|extension| extension == "yaml") {
                    further.push(path);
                }
            }
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
        Err(error) => {
            problems.push(Problem::of_file(&directory, format!("this directory cannot be read: {}", plain(&error))));
        }
    }
    further.sort();
    if further.len() >= MAX_FILES {
        problems.push(Problem::of_file(&directory, format!("more than {MAX_FILES} files lie here")));
        further.clear();
    }
    further.insert(0, path.to_owned());
    (further, problems)
}

fn contents(path: &Path) -> Result<String, Problem> {
    let wrong = |message: String, help: &str| Problem::of_file(path, message).help(help);
    let unreadable = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "write it, or name another with --config",
            std::io::ErrorKind::PermissionDenied => "run everleaf as the user it belongs to",
            _ => "",
        };
        wrong(format!("this file cannot be read: {}", plain(&error)), help)
    };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(wrong("this is not a file".to_owned(), "name the YAML file itself"));
    }
    if meta.permissions().mode() & 0o002 != 0 {
        let message = "everybody may change this file, and everleaf runs the hooks it names".to_owned();
        return Err(wrong(message, "chmod o-w it, after looking at what it holds"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(
            format!("this file is larger than {} MiB", MAX_FILE / 1024 / 1024),
            "spread it over conf.d/",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        wrong(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}
