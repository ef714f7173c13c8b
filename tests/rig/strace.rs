//! strace around a command: what it called, and what happens when one call fails or is its last.
#![cfg_attr(test, allow(dead_code, reason = "a test binary may use only a part of it"))]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Command, Output, Stdio};

/// Every system call by which a file system is changed or made durable.
pub(crate) const CHANGING: &str = "mkdir,mkdirat,openat,creat,write,pwrite64,writev,fsync,fdatasync,sync_file_range,fchown,fchownat,\
                                   fchmod,fchmodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,\
                                   truncate,ftruncate,flock";

/// One call that a command made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// Which call of that name it was, from 1, among all that its thread made.
    pub(crate) nth: usize,
    /// The thread's number.
    pub(crate) thread: String,
    /// Its line, with file descriptors' paths.
    pub(crate) line: String,
}

/// Whose calls are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The command's first thread's: what it starts runs at its own speed, and may be met by errors all the same.
    First,
    /// Those of every thread, each counted apart.
    All,
}

/// Runs `command` undisturbed, and answers the calls named in `calls` (separated by commas) that it and what it started made, in
/// order, with its output.
///
/// # Errors
/// When strace cannot be started or its log cannot be read.
pub(crate) fn record(command: &Command, calls: &str) -> io::Result<(Output, Vec<Call>)> {
    traced(command, calls, &["-f", "--seccomp-bpf"])
}

/// The call that is met: of each thread, the `nth` of this name, from 1, among those about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) name: String,
    /// A path as it stands in the call, or that of a file descriptor in it; nothing where any will do.
    pub(crate) about: Option<String>,
    pub(crate) nth: usize,
}

/// Runs `command` with `action` (`signal=KILL`, `error=ENOSPC`) done to one call, and answers all calls of that name that are about
/// the same: the last is the one at which it was killed.
///
/// # Errors
/// As for [`record`].
pub(crate) fn interfere(
    command: &Command,
    threads: Threads,
    aim: &Aim,
    action: &str,
) -> io::Result<(Output, Vec<Call>)> {
    let Aim { name, about, nth } = aim;
    let inject = format!("inject={name}:{action}:when={nth}");
    let about: Vec<&str> = about.iter().flat_map(|path| ["-P", path]).collect();
    // Stopping at the calls that are looked for alone is faster by far; but a signal is lost there.
    let follow: &[&str] = match (action.starts_with("signal"), threads) {
        (true, Threads::First) => &[],
        (true, Threads::All) => &["-f"],
        (false, _) => &["-f", "--seccomp-bpf"],
    };
    traced(command, name, &[follow, &about, &["-e", &inject]].concat())
}

fn traced(command: &Command, calls: &str, options: &[&str]) -> io::Result<(Output, Vec<Call>)> {
    let log = tempfile::NamedTempFile::new()?;
    // One that hangs is ended, with what it runs.
    let mut strace = Command::new("timeout");
    strace.args(["--kill-after=5", "180", "strace", "--quiet=all", "-yy", "-s", "256", "-e", "signal=none", "-o"]);
    strace.arg(log.path()).args(["-e", &format!("trace={calls}")]).args(options);
    strace.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let output = strace.stdin(Stdio::null()).output()?;
    let followed = options.contains(&"-f");
    Ok((output, read(&String::from_utf8_lossy(&fs::read(log.path())?), followed)))
}

fn read(log: &str, followed: bool) -> Vec<Call> {
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, call)) = (if followed { line.split_once(' ') } else { Some(("", line)) }) else { continue };
        // A call that another thread's line interrupts is told in two parts; the second has no arguments.
        let Some((name, _)) = call.trim_start().split_once('(').filter(|_| !call.contains(" resumed>")) else {
            continue;
        };
        let nth = counts.entry((thread.to_owned(), name.to_owned())).and_modify(|count| *count += 1).or_insert(1);
        let (name, thread) = (name.to_owned(), thread.to_owned());
        calls.push(Call { name, nth: *nth, thread, line: call.trim_start().to_owned() });
    }
    calls
}
