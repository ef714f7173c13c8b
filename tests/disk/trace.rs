//! The helper under strace: what it called, and what happens when one call fails or is its last.

use crate::helper;
use crate::site::Site;
pub(crate) use crate::strace::Call;
use crate::strace::{self, Aim, CHANGING, Threads};
use std::process::Command;

/// Runs `task` at `site` and answers the calls that concern its directories, in order.
pub(crate) fn calls(site: &Site, task: &str) -> Vec<Call> {
    let (output, mut calls) = strace::record(&command(site, task), CHANGING).expect("strace is installed");
    assert!(output.status.success(), "{task} succeeds when nothing interferes: {output:?}");
    let root = site.root().to_string_lossy().into_owned();
    calls.retain(|call| call.line.contains(&root) && !call.line.contains("O_RDONLY"));
    assert!(!calls.is_empty(), "strace saw nothing of {task}");
    calls
}

/// Runs `task` with `action` (`signal=KILL`, `error=ENOSPC`) done to `call`. Answers whether the task succeeded.
pub(crate) fn interfere(site: &Site, task: &str, call: &Call, action: &str) -> bool {
    let aim = Aim { name: call.name.clone(), about: None, nth: call.nth };
    let interfered = strace::interfere(&command(site, task), Threads::All, &aim, action);
    interfered.expect("strace is installed").0.status.success()
}

fn command(site: &Site, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    // One test at a time, so that the n-th call is the same in every run.
    command.args(["--exact", helper::NAME, "--test-threads=1"]);
    command.env(helper::TASK, task).env(helper::ROOT, site.root()).env("RUST_BACKTRACE", "0");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
