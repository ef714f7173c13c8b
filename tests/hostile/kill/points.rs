//! Where a run can be struck, and with what.

use super::shop::Shop;
use crate::rig::strace::{Aim, CHANGING, Call, Threads, interfere, record};
use regex::Regex;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::process::{Command, Output};
use std::sync::LazyLock;

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
    /// How strace finds it again. Counted among the calls about the same, few of which change from run to run.
    aim: Aim,
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
    /// The calls that change something are nearly the same in every run, but reads and wake-ups between them are not; they may shift
    /// the number by which strace knows a call. If another call was met, this is mended for the next time.
    pub(crate) fn strike(&mut self, shop: &Shop, command: &Command) -> Struck {
        let action = match self.kind {
            Kind::Kill => "signal=KILL".to_owned(),
            Kind::Error(error) => format!("error={error}"),
        };
        let aim = &mut self.point.aim;
        let (output, calls) = interfere(command, Threads::First, aim, &action).expect("strace");
        let seen = points(shop, calls);
        let met = seen.iter().find(|point| point.call.nth == aim.nth).map(|point| point.what.clone());
        aim.nth = seen.iter().find(|point| point.what == self.point.what).map_or(aim.nth + 1, |point| point.call.nth);
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
    let mut about: HashMap<(String, String), usize> = HashMap::new();
    let mut points = Vec::new();
    let first = calls.first().map(|call| call.thread.clone());
    for call in calls.into_iter().filter(|call| Some(&call.thread) == first.as_ref()) {
        let subjects = subjects(&call.line);
        for subject in subjects.iter().collect::<BTreeSet<_>>() {
            *about.entry((call.name.clone(), subject.path.to_owned())).or_default() += 1;
        }
        let Some((place, what)) = describe(shop, &call) else { continue };
        let subject = lasting(shop, &subjects).map(|subject| subject.path.to_owned());
        let name = call.name.clone();
        let nth = subject.as_ref().map_or(call.nth, |path| about[&(name.clone(), path.clone())]);
        let which = seen.entry(what.clone()).and_modify(|count| *count += 1).or_insert(1);
        points.push(Point { place, what: format!("{what} #{which}"), aim: Aim { name, about: subject, nth }, call });
    }
    points
}

/// A path in a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Subject<'a> {
    /// Whether it is a file descriptor's, and not an argument itself.
    open: bool,
    path: &'a str,
}

/// The paths that strace finds a call by; what a link is to point to is none.
fn subjects(line: &str) -> Vec<Subject<'_>> {
    let target = usize::from(line.starts_with("symlink"));
    let found = NAMED.captures_iter(arguments(line)).filter_map(|found| {
        let open = found.get(1).is_some();
        found.get(1).or_else(|| found.get(2)).map(|path| Subject { open, path: path.as_str() })
    });
    found.skip(target).collect()
}

/// That which is the same in every run and says most: a file's own name before the directory that it is in.
fn lasting<'a>(shop: &Shop, subjects: &[Subject<'a>]) -> Option<Subject<'a>> {
    let here = shop.scene.path("").display().to_string();
    let lasts = |subject: &&Subject<'a>| {
        let path = subject.path.replace(here.trim_end_matches('/'), "");
        !CHANCE.iter().any(|(chance, _)| chance.is_match(&path))
    };
    subjects.iter().rev().filter(lasts).min_by_key(|subject| subject.open).copied()
}

/// A call's arguments; of one that writes, where to: what is written is not part of what is meant.
fn arguments(line: &str) -> &str {
    let arguments = line.split_once('(').map_or(line, |(_, rest)| rest);
    let arguments = arguments.split(" = ").next().unwrap_or(arguments);
    let writes = line.split('(').next().is_some_and(|name| name.contains("write"));
    if writes { arguments.split(',').next().unwrap_or_default() } else { arguments }
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

/// Where a call's arguments name a path or a lock.
static NAMED: LazyLock<Regex> = LazyLock::new(|| valid(r#"<(/[^>]*)>|"([^"]*)"|(LOCK_\w+)"#));

/// What differs from run to run, and what stands for it.
static CHANCE: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (valid(r"tmp-[0-9]+-[0-9]+"), "tmp"),
        (valid(r"-[0-9a-f]{8}\b"), "-ID"),
        (valid(r"[0-9a-f]{32,}"), "DIGEST"),
        (valid(r"[0-9A-Za-z_-]{43}"), "TOKEN"),
        (valid(r"/\.\./"), "/"),
    ]
});

fn valid(expression: &str) -> Regex {
    Regex::new(expression).expect("a valid expression")
}

/// The paths in a call's arguments, plain, and what they belong to.
fn paths(line: &str) -> (String, Place) {
    let paths: Vec<&str> = NAMED
        .captures_iter(arguments(line))
        .filter_map(|found| found.iter().skip(1).flatten().next())
        .map(|it| it.as_str())
        .collect();
    let mut text = paths.join(" ");
    for (chance, plain) in CHANCE.iter() {
        text = chance.replace_all(&text, *plain).into_owned();
    }
    let place = match () {
        () if text.contains("/edges") => Place::Publish,
        () if text.contains("journal.jsonl") => Place::Journal,
        () => Place::Disk,
    };
    (text, place)
}
