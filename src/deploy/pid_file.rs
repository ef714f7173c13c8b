//! Signals the process that a pid file names, if it can be the one that wrote it.

use crate::types::{Class, Failure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, geteuid, getpid, sysconf};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A pid has at most seven digits (`PID_MAX_LIMIT` is 2^22); some servers write more lines, of which the first counts.
const MAX_PID_FILE: u64 = 4096;
/// A server writes its pid file after it started; clocks and mounts are granted this much.
const STARTED_LATER: i64 = 60;
/// The mode bit that lets anybody write.
const OTHERS_WRITE: u32 = 0o002;

/// Sends `signal` (`HUP`, `USR1`, `USR2`, `WINCH`) to the process in `pid_file`.
///
/// # Errors
/// Codes `signal:unknown`, `signal:pid-file` (it cannot be believed), `signal:gone` (no such process), `signal:refused`.
pub(super) fn signal(signal: &str, pid_file: &Path, node: &str) -> Result<(), Failure> {
    let place = format!("{node}, pid file {}", pid_file.display());
    let failure = |class, code: &str, message: String| Failure::new(class, code, &place, message);
    let number = match signal {
        "HUP" => Signal::SIGHUP,
        "USR1" => Signal::SIGUSR1,
        "USR2" => Signal::SIGUSR2,
        "WINCH" => Signal::SIGWINCH,
        other => return Err(failure(Class::Spec, "signal:unknown", format!("{other:?} is not a signal for a reload"))),
    };
    let pid = believed(pid_file).map_err(|unfit| match unfit {
        Unfit::Missing(error) => failure(Class::Retry, "signal:gone", format!("it cannot be read: {error}"))
            .advise("is the server running, and does it write this file?"),
        Unfit::Gone(pid) => failure(Class::Retry, "signal:gone", format!("no process {pid} is running"))
            .advise("start the server; the file is left from an earlier one"),
        Unfit::Strange(why) => failure(Class::Operator, "signal:pid-file", format!("it is not believed: {why}"))
            .advise("look which process should be signalled, and who writes this file"),
    })?;
    kill(pid, number).map_err(|error| match error {
        Errno::ESRCH => failure(Class::Retry, "signal:gone", format!("process {pid} has just ended")),
        error => failure(Class::Operator, "signal:refused", format!("process {pid} cannot be signalled: {error}"))
            .advise("everleaf needs CAP_KILL, or to run as the server's user"),
    })
}

/// Why nobody is signalled.
#[derive(Debug)]
enum Unfit {
    Missing(std::io::Error),
    Gone(Pid),
    Strange(String),
}

fn believed(pid_file: &Path) -> Result<Pid, Unfit> {
    let file = File::open(pid_file).map_err(Unfit::Missing)?;
    let metadata = file.metadata().map_err(Unfit::Missing)?;
    if !metadata.is_file() || metadata.mode() & OTHERS_WRITE != 0 {
        return Err(Unfit::Strange("it is no plain file, or anybody may write it".to_owned()));
    }
    let mut text = String::new();
    file.take(MAX_PID_FILE).read_to_string(&mut text).map_err(Unfit::Missing)?;
    let pid = pid_in(&text).map_err(Unfit::Strange)?;
    let process = Path::new("/proc").join(pid.to_string());
    let Ok(running) = fs::metadata(&process) else {
        return if kill(pid, None).is_ok() { Ok(pid) } else { Err(Unfit::Gone(pid)) };
    };
    let ours = [0, geteuid().as_raw(), running.uid()];
    if !ours.contains(&metadata.uid()) {
        let why = format!("user {} wrote it, but process {pid} is user {}'s", metadata.uid(), running.uid());
        return Err(Unfit::Strange(why));
    }
    let status = fs::read_to_string(process.join("stat")).unwrap_or_default();
    match started(&status) {
        Some(Started::Zombie) => Err(Unfit::Gone(pid)),
        Some(Started::At { boot, start }) if metadata.mtime() >= boot && start > metadata.mtime() + STARTED_LATER => {
            Err(Unfit::Strange(format!("process {pid} started after it was written, so it is another one")))
        }
        _ => Ok(pid),
    }
}

/// The pid on the first line of a pid file, if it can be a server's: not 0 or 1, nothing that means a group, not ourselves.
///
/// # Errors
/// Why it is not believed.
pub fn pid_in(text: &str) -> Result<Pid, String> {
    let line = text.lines().next().unwrap_or_default().trim();
    let number = line.parse::<i32>().ok().filter(|_| line.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(number) if number > 1 && number != getpid().as_raw() => Ok(Pid::from_raw(number)),
        Some(number) => Err(format!("{number} cannot be the server")),
        None => Err("its first line is not a process number".to_owned()),
    }
}

/// When a process started, in seconds since 1970, beside when the machine did.
enum Started {
    Zombie,
    At { boot: i64, start: i64 },
}

/// Reads a line of proc(5)'s `stat`; the second field is a name that may hold anything.
fn started(stat: &str) -> Option<Started> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return Some(Started::Zombie);
    }
    // Field 22, of which the first two are cut off.
    let ticks: i64 = fields.get(19)?.parse().ok()?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().filter(|ticks| *ticks > 0)?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Started::At { boot, start: boot + ticks / per_second })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn code(text: &str) -> String {
        let dir = tempfile::tempdir().expect("scratch");
        let file = dir.path().join("pid");
        fs::write(&file, text).expect("write");
        signal("HUP", &file, "node local").expect_err("nobody is signalled").code
    }

    #[test]
    fn what_cannot_be_a_server_is_never_signalled() {
        let own = getpid().to_string();
        for text in ["", "0", "1", "-1", "-17", "+17", "abc", "12 34", "99999999999", &own] {
            assert_eq!(code(text), "signal:pid-file", "{text:?}");
        }
        assert_eq!(code("4194303\n"), "signal:gone");
    }

    #[test]
    fn only_a_reload_s_signals_are_sent() {
        for signal_name in ["KILL", "TERM", "SIGHUP", ""] {
            let failure = signal(signal_name, Path::new("/nonexistent"), "node local").expect_err("refused");
            assert_eq!(failure.code, "signal:unknown");
        }
    }

    #[test]
    fn a_process_younger_than_its_pid_file_is_another_one() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().expect("a process");
        let dir = tempfile::tempdir().expect("scratch");
        let file = dir.path().join("pid");
        fs::write(&file, format!("{}\n", child.id())).expect("write");
        let believed_now = believed(&file).is_ok();
        let boot_and_a_bit = match started(&fs::read_to_string("/proc/self/stat").expect("stat")) {
            Some(Started::At { boot, .. }) => boot + 1,
            _ => panic!("this process runs"),
        };
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(boot_and_a_bit.unsigned_abs());
        File::options().write(true).open(&file).and_then(|file| file.set_modified(long_ago)).expect("set the time");
        let stale = believed(&file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("chmod");
        let open = believed(&file);
        child.kill().and_then(|()| child.wait()).expect("end it");
        assert!(believed_now);
        assert!(matches!(stale, Err(Unfit::Strange(why)) if why.contains("started after")));
        assert!(matches!(open, Err(Unfit::Strange(why)) if why.contains("anybody")));
    }
}
