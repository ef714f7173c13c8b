//! Where a run can be struck, and with what.

use super::shop::Shop;
use crate::rig::strace::{CHANGING, Call, Threads, interfere, record};
use regex::Regex;
use std::collections::HashMap;
use std::fmt;
use std::process::{Command, Output};

/// What a blow may meet beside the disk: what is said to the CA and heard from it, and what is started or signalled.
const ELSEWHERE: &str = "connect,sendto,writev,recvfrom,clone3,kill";
/// What a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// What servers read.
    Publish,
    /// What must be durable before anything is done.
    Journal,
    /// The rest of what is kept, and the answers to challenges.
    Disk,
    /// The conversation with the CA.
    Ca,
    /// Hooks and signals.
    Process,
}

/// A call of an undisturbed run.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) place: Place,
    /// What is called on what, without what differs from run to run, and which of its like it is.
    pub(crate) what: String,
    pub(crate) call: Call,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The process is killed before it is done.
    Kill,
    /// It is refused with this error, once.
    Error(&'static str),
}

/// One kind at one call.
#[derive(Debug, Clone)]
pub(crate) struct Blow {
    pub(crate) point: Point,
    pub(crate) kind: Kind,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Kill => write!(f, "SIGKILL at {}", self.point.what),
            Kind::Error(error) => write!(f, "{error} at {}", self.point.what),
        }
    }
}

/// What came of a blow.
pub(crate) struct Struck {
    pub(crate) output: Output,
    /// The call that it met, if any; seldom another one than was meant.
    pub(crate) met: Option<String>,
}

impl Blow {
    /// Runs `command` on the shop with this blow.
    ///
    /// The calls that change something are the same in every run, but reads and wake-ups between them are not; they shift the
    /// number by which strace knows a call. If another call was met, this is mended for the next time.
    pub(crate) fn strike(&mut self, shop: &Shop, command: &Command) -> Struck {
        let action = match self.kind {
            Kind::Kill => "signal=KILL".to_owned(),
            Kind::Error(error) => format!("error={error}"),
        };
        let (name, nth) = (self.point.call.name.clone(), self.point.call.nth);
        let (output, calls) = interfere(command, Threads::First, &name, nth, &action).expect("strace");
        let seen = points(shop, calls);
        let met = seen.iter().find(|point| point.call.nth == nth).map(|point| point.what.clone());
        match seen.iter().find(|point| point.what == self.point.what) {
            Some(point) => self.point.call = point.call.clone(),
            None => self.point.call.nth += 1,
        }
        Struck { output, met }
    }
}

/// The points of an undisturbed run of `command`.
pub(crate) fn survey(shop: &Shop, command: &Command) -> Vec<Point> {
    let (output, calls) = record(command, &format!("{CHANGING},{ELSEWHERE}")).expect("strace");
    assert!(output.status.success(), "nothing interferes:\n{}", String::from_utf8_lossy(&output.stderr));
    points(shop, calls)
}

/// All kinds of blows at these points.
pub(crate) fn blows(points: &[Point]) -> Vec<Blow> {
    let of =
        |point: &Point| kinds(point).into_iter().map(|kind| Blow { point: point.clone(), kind }).collect::<Vec<_>>();
    points.iter().flat_map(of).collect()
}

/// What can happen at a call. Letting go of a lock cannot fail.
fn kinds(point: &Point) -> Vec<Kind> {
    let errors: &[&'static str] = match (point.place, point.call.name.as_str()) {
        (Place::Process, "clone3") => &["EAGAIN"],
        (Place::Ca | Place::Process, _) => &[],
        (_, "flock") if point.call.line.contains("LOCK_UN") => &[],
        (_, "flock") => &["EINTR", "EIO"],
        (_, "fsync" | "fdatasync") => &["EIO", "ENOSPC", "EINTR"],
        (_, "write" | "pwrite64" | "ftruncate") => &["ENOSPC", "EIO", "EINTR"],
        (_, "openat") => &["ENOSPC", "EACCES", "EIO", "EMFILE", "EINTR"],
        (_, "fchmod" | "fchown" | "unlinkat") => &["EIO", "EACCES", "EINTR"],
        _ => &["ENOSPC", "EACCES", "EIO", "EINTR"],
    };
    std::iter::once(Kind::Kill).chain(errors.iter().copied().map(Kind::Error)).collect()
}

/// Those of the first thread, in which everleaf does everything but making keys.
fn points(shop: &Shop, calls: Vec<Call>) -> Vec<Point> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut points = Vec::new();
    let first = calls.first().map(|call| call.thread.clone());
    for call in calls.into_iter().filter(|call| Some(&call.thread) == first.as_ref()) {
        let Some((place, what)) = describe(shop, &call) else { continue };
        let nth = seen.entry(what.clone()).and_modify(|count| *count += 1).or_insert(1);
        points.push(Point { place, what: format!("{what} #{nth}"), call });
    }
    points
}

/// What a call is about; nothing when it changes nothing outside the process.
fn describe(shop: &Shop, call: &Call) -> Option<(Place, String)> {
    let here = shop.scene.path("").display().to_string();
    let name = call.name.as_str();
    let line = call.line.replace(here.trim_end_matches('/'), "");
    if line.len() < call.line.len() && !line.contains("O_RDONLY") {
        let (paths, place) = paths(&line);
        return Some((place, format!("{name} {paths}")));
    }
    let ca = shop.scene.pebble.acme();
    if line.contains(&format!("->{ca}]")) || line.contains(&format!("htons({})", ca.port())) {
        return Some((Place::Ca, format!("{name} CA")));
    }
    match name {
        "clone3" if line.contains("CLONE_VFORK") => Some((Place::Process, "clone3 of a command".to_owned())),
        "kill" => Some((Place::Process, "kill".to_owned())),
        "write" if line.contains("<pipe:") => Some((Place::Process, "write to a command".to_owned())),
        _ => None,
    }
}

/// The paths in a call's arguments, plain, and what they belong to.
fn paths(line: &str) -> (String, Place) {
    const PLAIN: [(&str, &str); 5] = [
        (r"tmp-\d+-\d+", "tmp"),
        (r"-[0-9a-f]{8}\b", "-ID"),
        (r"[0-9a-f]{32,}", "DIGEST"),
        (r"[\w-]{43}", "TOKEN"),
        (r"/\.\./", "/"),
    ];
    // What is written is not part of what is meant.
    let arguments = line.split_once('(').map_or(line, |(_, rest)| rest);
    let arguments = if line.contains("write") { arguments.split(',').next().unwrap_or_default() } else { arguments };
    let named = Regex::new(r#"<(/[^>]*)>|"([^"]*)"|(LOCK_\w+)"#).expect("a valid expression");
    let result = arguments.split(" = ").next().unwrap_or(arguments);
    let paths: Vec<&str> = named
        .captures_iter(result)
        .filter_map(|found| found.iter().skip(1).flatten().next())
        .map(|it| it.as_str())
        .collect();
    let mut text = paths.join(" ");
    for (chance, plain) in PLAIN {
        text = Regex::new(chance).expect("a valid expression").replace_all(&text, plain).into_owned();
    }
    let place = match () {
        () if text.contains("/edges") => Place::Publish,
        () if text.contains("journal.jsonl") => Place::Journal,
        () => Place::Disk,
    };
    (text, place)
}
