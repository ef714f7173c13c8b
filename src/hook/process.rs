//! One process with its group: started clean, attended, ended, reaped.

use super::environment::Variables;
use super::output::{Output, Stream, drain};
use super::program;
use crate::types::{Failure, Secret};
use futures_util::future::{FusedFuture, FutureExt, join3};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

/// Between TERM and KILL: time to remove a lock file, not to finish the work.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether a group that got TERM is gone.
const POLL: Duration = Duration::from_millis(20);
/// How long output is read after the process itself ended: a child it left behind may hold the pipe open for ever.
const LINGER: Duration = Duration::from_millis(250);
/// How long a process that got KILL may take to be reaped: one in uninterruptible sleep is left to init.
const REAP: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug)]
pub(super) struct Process {
    /// An absolute path that [`program::resolve`] accepted.
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) environment: Variables,
    pub(super) stdin: Secret,
    /// Where its standard output is an answer and no talk: how long that may be, in bytes. Beyond that nobody reads it.
    pub(super) answer: Option<usize>,
    pub(super) limit: Duration,
    pub(super) place: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    TimedOut,
}

/// How it ended, and what it printed.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ended: Ended,
    pub(super) output: Output,
}

/// Runs `process` to its end or its time limit. Dropping the future kills its group.
pub(super) async fn run(process: &Process) -> Result<Finished, Failure> {
    let mut child = command(process).spawn().map_err(|error| program::cannot_start(process, &error))?;
    let output = RefCell::new(process.answer.map_or_else(|| Output::new(&process.place), Output::of_an_answer));
    let feeding = feed(child.stdin.take(), process.stdin.reveal().as_bytes());
    let reading = drain(child.stdout.take(), Stream::Stdout, &output);
    let warning = drain(child.stderr.take(), Stream::Stderr, &output);
    let ended = {
        let mut pipes = pin!(join3(feeding, reading, warning).fuse());
        let mut attended = pin!(attend(&mut child, process.limit));
        let ended = loop {
            tokio::select! {
                ended = &mut attended => break ended,
                _ = &mut pipes, if !pipes.is_terminated() => {}
            }
        };
        if !pipes.is_terminated() && timeout(LINGER, pipes).await.is_err() {
            tracing::debug!(place = %process.place, "something it left behind still holds its output");
        }
        ended
    };
    let mut output = output.into_inner();
    output.finish();
    let ended = ended.map_err(|error| program::cannot_start(process, &error))?;
    Ok(Finished { ended, output })
}

fn command(process: &Process) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that runs commands")]
    let mut command = Command::new(&process.program);
    command
        .args(&process.args)
        .env_clear()
        .envs(process.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Hands over the event and closes stdin. A hook that does not read it is none of our business (EPIPE).
async fn feed(stdin: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut stdin) = stdin {
        let written = stdin.write_all(bytes).await;
        if let Err(error) = written {
            tracing::debug!(%error, "the hook closed its stdin");
        }
    }
}

/// Waits for the process, and ends its whole group at the limit.
async fn attend(child: &mut Child, limit: Duration) -> std::io::Result<Ended> {
    let mut group = Group::of(child);
    let waited = timeout(limit, child.wait()).await;
    if let Ok(status) = waited {
        group.let_go();
        return status.map(how);
    }
    group.end(child).await;
    Ok(Ended::TimedOut)
}

fn how(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// A process group that is killed when this is dropped before it was let go.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The leader was reaped: its number may soon be another's.
    fn let_go(&mut self) {
        self.0 = None;
    }

    /// TERM, grace, KILL; then the leader is reaped.
    async fn end(&mut self, child: &mut Child) {
        let Some(group) = self.0 else { return };
        self.signal(Signal::SIGTERM);
        // A stopped process would sleep through TERM.
        self.signal(Signal::SIGCONT);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            // Reaps the leader, which would otherwise keep its group alive as a zombie.
            let leader_gone = matches!(child.try_wait(), Ok(Some(_)));
            if leader_gone && killpg(group, None) == Err(Errno::ESRCH) {
                return self.let_go();
            }
            sleep(POLL).await;
        }
        self.signal(Signal::SIGKILL);
        self.let_go();
        if timeout(REAP, child.wait()).await.is_err() {
            tracing::warn!(pid = group.as_raw(), "a killed hook does not end; it is left to init");
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0
            && let Err(error) = killpg(group, signal)
            && error != Errno::ESRCH
        {
            tracing::warn!(pid = group.as_raw(), %signal, %error, "a hook's process group cannot be signalled");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
