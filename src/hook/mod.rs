//! Runs commands that other people wrote, safely.
//!
//! A hook is an argv list, never a shell line unless asked. It gets its own process group, a clean environment, `/` as its
//! directory, a time limit after which its whole group is ended, and one JSON event on stdin. What it prints is cut, cleaned
//! and logged line by line. It sees paths, never key material.
//!
//! Exit status: 0 done, 75 try later, 42 not for me, 43 refused (a person must look), anything else failed.

mod environment;
mod output;
mod process;
mod program;
mod ssh;
mod systemd;

pub use output::{Output, Stream};
pub use ssh::{Errand, Said, quoted};
pub use systemd::Systemd;

use crate::config::spec::Hook;
use crate::ports::HookContext;
use crate::types::{Class, Failure, Secret};
use process::{Ended, Finished, Process};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The schema of the JSON event on a hook's stdin.
pub const SCHEMA: &str = "everleaf.hook/1";

/// `EX_TEMPFAIL` of sysexits(3): the hook asks to be called again later.
const TRY_LATER: i32 = 75;
/// The hook does not handle this event.
const NOT_FOR_ME: i32 = 42;
/// The hook could, but must not: a node has a newer epoch. Trying again soon is of no use.
const REFUSED: i32 = 43;

/// What a hook that did not fail said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Exit 0.
    Done {
        /// The beginning of its standard output, at most 64 KiB, as it came: parse it, never print it.
        stdout: Vec<u8>,
    },
    /// Exit 42: it does not handle this event.
    NotForMe,
}

/// One call of a hook.
#[derive(Debug)]
pub struct Call<'a> {
    hook: &'a Hook,
    event: &'static str,
    place: String,
    contexts: &'a [HookContext],
    variables: Vec<(&'static str, OsString)>,
    fields: Map<String, Value>,
    systemd: Systemd,
}

impl<'a> Call<'a> {
    /// Calls `hook` with `event`. `place` says where for people and for merging failures, such as `node edge1`.
    #[must_use]
    pub fn new(hook: &'a Hook, event: &'static str, place: impl AsRef<str>) -> Self {
        let shown = hook.unit.as_deref().or(hook.argv.first().map(String::as_str)).unwrap_or("(empty)");
        Self {
            hook,
            event,
            place: format!("{}, {event} hook {}", place.as_ref(), first_line(shown)),
            contexts: &[],
            variables: Vec::new(),
            fields: Map::new(),
            systemd: Systemd::of_this_machine(),
        }
    }

    /// What it is called about. The first is described by the environment; with several, `EVERLEAF_NAMES` has them all and
    /// the JSON event lists them as `certificates`.
    #[must_use]
    pub fn about(mut self, contexts: &'a [HookContext]) -> Self {
        self.contexts = contexts;
        self
    }

    /// Sets a further environment variable. Never a secret.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Adds top-level fields to the JSON event; one of the same name is replaced.
    #[must_use]
    pub fn fields(mut self, fields: Map<String, Value>) -> Self {
        self.fields.extend(fields);
        self
    }

    /// Which systemd starts a `unit:` hook.
    #[must_use]
    pub fn systemd(mut self, systemd: Systemd) -> Self {
        self.systemd = systemd;
        self
    }

    /// Runs it to its end. Dropping the future kills its process group.
    ///
    /// # Errors
    /// Codes `hook:exit`, `hook:later` (exit 75), `hook:signal` and `hook:timeout` (class `Retry`);
    /// `hook:not-found`, `hook:interpreter`, `hook:permission`, `hook:format`, `hook:world-writable` and `hook:start`
    /// (class `Operator`): it never ran; `hook:refused` (exit 43, class `Operator`). The last lines it printed are the failure's details.
    pub async fn run(self) -> Result<Answer, Failure> {
        if let Some(unit) = &self.hook.unit {
            self.systemd.start(unit, self.hook.timeout, &self.place).await?;
            return Ok(Answer::Done { stdout: Vec::new() });
        }
        let process = self.process()?;
        judge(process::run(&process).await?, &self.place, self.hook)
    }

    fn process(&self) -> Result<Process, Failure> {
        let (program, args) = self.command()?;
        let mut environment = environment::base();
        environment.extend(environment::of_event(self.event, self.contexts));
        environment.extend(self.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if self.hook.certbot {
            environment.extend(environment::as_certbot(self.contexts.first()));
        }
        let stdin = if self.hook.certbot { Secret::default() } else { self.document()? };
        Ok(Process {
            program,
            args,
            environment,
            stdin,
            answer: None,
            limit: self.hook.timeout,
            place: self.place.clone(),
        })
    }

    fn command(&self) -> Result<(PathBuf, Vec<OsString>), Failure> {
        let shell = Path::new("/bin/sh").to_path_buf();
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        match self.hook.argv.as_slice() {
            [] => Err(Failure::new(Class::Spec, "hook:empty", &self.place, "the hook names no command")),
            // certbot hands its hooks to `sh -c` as they are written, with the umask it was started with.
            [script] if self.hook.certbot => {
                Ok((shell, words(&["-c", "umask 022; exec /bin/sh -c \"$1\"", "everleaf-hook", script])))
            }
            [name, rest @ ..] if self.hook.certbot => {
                let program = program::resolve(name, &environment::path(), &self.place)?;
                let mut command = words(&["-c", "umask 022; exec \"$@\"", "everleaf-hook"]);
                command.push(program.into_os_string());
                command.extend(rest.iter().map(OsString::from));
                Ok((shell, command))
            }
            [script, rest @ ..] if self.hook.shell => {
                let mut command = words(&["-c", script, "everleaf-hook"]);
                command.extend(rest.iter().map(OsString::from));
                Ok((shell, command))
            }
            [name, rest @ ..] => {
                let program = program::resolve(name, &environment::path(), &self.place)?;
                Ok((program, rest.iter().map(OsString::from).collect()))
            }
        }
    }

    /// The JSON event: one line.
    fn document(&self) -> Result<Secret, Failure> {
        let mut document = environment::document(self.event, self.contexts, &self.place)?;
        document.extend(self.fields.clone());
        let mut line = Value::Object(document).to_string();
        line.push('\n');
        Ok(Secret::new(line))
    }
}

fn first_line(text: &str) -> &str {
    text.trim_start().lines().next().unwrap_or_default()
}

/// Sorts how a hook ended.
fn judge(finished: Finished, place: &str, hook: &Hook) -> Result<Answer, Failure> {
    let limit = crate::types::humane(hook.timeout);
    // Its last line mostly says why; all of them are among the details.
    let last = finished.output.last.back().map(|line| format!(": {line}")).unwrap_or_default();
    let failure = match finished.ended {
        Ended::Code(0) => return Ok(Answer::Done { stdout: finished.output.stdout }),
        Ended::Code(NOT_FOR_ME) => return Ok(Answer::NotForMe),
        Ended::Code(TRY_LATER) => {
            Failure::new(Class::Retry, "hook:later", place, format!("asked to be called again later (exit 75){last}"))
        }
        Ended::Code(REFUSED) => {
            Failure::new(Class::Operator, "hook:refused", place, format!("refused to do it (exit 43){last}"))
                .advise("read the lines it printed: they say who must decide")
        }
        Ended::Code(code) => {
            Failure::new(Class::Retry, "hook:exit", place, format!("failed with exit status {code}{last}"))
                .advise("read the lines it printed; `everleaf why NAME` shows when it is tried again")
        }
        Ended::Signal(signal) => {
            Failure::new(Class::Retry, "hook:signal", place, format!("was killed by signal {signal}{last}"))
                .advise("somebody or something (the OOM killer?) ended it: look at the system's log")
        }
        Ended::TimedOut => Failure::new(
            Class::Retry,
            "hook:timeout",
            place,
            format!("still ran after {limit} and was ended with its group{last}"),
        )
        .advise("let it end sooner, or raise its `timeout:`"),
    };
    Err(finished.output.last.iter().fold(failure, |failure, line| failure.detail(line.as_str())))
}
