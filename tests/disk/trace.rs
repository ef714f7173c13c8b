//! strace around the helper: what it called, and what happens when one call fails or is its last.

use crate::helper;
use crate::site::Site;
use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// Every system call by which a file system is changed or made durable.
const CHANGING: &str = "mkdir,mkdirat,openat,creat,write,pwrite64,writev,fsync,fdatasync,sync_file_range,fchown,fchownat,fchmod,\
                        fchmodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,truncate,ftruncate,flock";

/// One call that the helper made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// Which call of that name it was, from 1, among all that its thread made.
    pub(crate) nth: usize,
    /// Its line, with file descriptors' paths.
    pub(crate) line: String,
}

/// Runs `task` at `site` and answers the calls that concern its directories, in order.
pub(crate) fn calls(site: &Site, task: &str) -> Vec<Call> {
    let log = tempfile::NamedTempFile::new().expect("a log");
    let path = log.path().to_string_lossy().into_owned();
    let succeeded = strace(site, task, &["-y", "-s", "256", "-o", &path]);
    assert!(succeeded, "{task} succeeds when nothing interferes");
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut calls = Vec::new();
    let root = site.root().to_string_lossy().into_owned();
    for line in fs::read_to_string(log.path()).expect("the log").lines() {
        // With -f, a line begins with the thread's number.
        let (thread, call) = line.split_once(' ').expect("a thread and a call");
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        let nth = counts.entry((thread.to_owned(), name.to_owned())).and_modify(|count| *count += 1).or_insert(1);
        if call.contains(&root) && !call.contains("O_RDONLY") {
            calls.push(Call { name: name.to_owned(), nth: *nth, line: call.trim_start().to_owned() });
        }
    }
    assert!(!calls.is_empty(), "strace saw nothing of {task}");
    calls
}

/// Runs `task` with `action` (`signal=KILL`, `error=ENOSPC`) done to `call`. Answers whether the task succeeded.
pub(crate) fn interfere(site: &Site, task: &str, call: &Call, action: &str) -> bool {
    let inject = format!("inject={}:{action}:when={}", call.name, call.nth);
    strace(site, task, &["-o", "/dev/null", "-e", &inject])
}

fn strace(site: &Site, task: &str, options: &[&str]) -> bool {
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-e", &format!("trace={CHANGING}")])
        .args(options)
        .arg(binary)
        // One test at a time, so that the n-th call is the same in every run.
        .args(["--exact", helper::NAME, "--test-threads=1"])
        .env(helper::TASK, task)
        .env(helper::ROOT, site.root())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("strace is installed");
    output.status.success()
}
