//! The one place that talks to systemd: `systemctl` and `systemd-run`, each awaited to the end of its job.

use super::environment;
use super::process::{self, Ended, Finished, Process};
use super::program;
use crate::types::{Class, Failure, Secret};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Present exactly when systemd is the running init (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";
/// For a question that starts no job.
const QUESTION: Duration = Duration::from_secs(20);
/// systemd's own limit on unit names, `UNIT_NAME_MAX`.
const MAX_UNIT_NAME: usize = 255;

/// The machine's service manager.
#[derive(Debug, Clone)]
pub struct Systemd {
    search: OsString,
    booted: PathBuf,
}

impl Systemd {
    /// This machine's, its programs looked up along everleaf's own `PATH`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let search = std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(environment::path);
        Self::at(search, BOOTED)
    }

    /// One whose programs are looked up along `search`, and which runs if the directory `booted` exists.
    #[must_use]
    pub fn at(search: impl Into<OsString>, booted: impl Into<PathBuf>) -> Self {
        Self { search: search.into(), booted: booted.into() }
    }

    /// Whether systemd is the running init.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.booted.is_dir()
    }

    /// `systemctl start UNIT`, the job's result awaited: for a oneshot unit, to its end.
    ///
    /// # Errors
    /// Codes `systemd:unit` (no such name can exist), `systemd:absent`, `systemd:job` (the job failed; what systemctl said is in
    /// the details), `systemd:timeout`.
    pub async fn start(&self, unit: &str, limit: Duration, place: &str) -> Result<(), Failure> {
        self.systemctl("start", unit, limit, place).await
    }

    /// `systemctl reload UNIT`, the job's result awaited; then the unit must still be active.
    ///
    /// # Errors
    /// As [`Self::start`]; code `systemd:inactive` when the unit did not survive its reload.
    pub async fn reload(&self, unit: &str, limit: Duration, place: &str) -> Result<(), Failure> {
        self.systemctl("reload", unit, limit, place).await?;
        let active = self.systemctl("is-active", unit, QUESTION, place).await;
        active.map_err(|failure| {
            let message = format!("{unit} is not active any more after its reload");
            let advice = format!("systemctl status {unit}; journalctl -u {unit} -n 50");
            let inactive = Failure::new(Class::Retry, "systemd:inactive", place, message).advise(advice);
            failure.details.iter().fold(inactive, |inactive, line| inactive.detail(line.as_str()))
        })
    }

    /// `systemctl VERB UNIT`.
    async fn systemctl(&self, verb: &str, unit: &str, limit: Duration, place: &str) -> Result<(), Failure> {
        let args = ["--no-ask-password", "--no-pager", verb, "--", checked_unit(unit, place)?];
        self.run("systemctl", &args, limit, place).await.map(|_| ())
    }

    /// Has systemd start `command` at `calendar` (systemd.time(7)), by a transient timer `unit`.timer with a service of the
    /// same name.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn at_calendar(
        &self,
        calendar: &str,
        unit: &str,
        command: &[String],
        place: &str,
    ) -> Result<(), Failure> {
        let (unit, calendar) = (format!("--unit={}", checked_unit(unit, place)?), format!("--on-calendar={calendar}"));
        let mut args = vec!["--quiet", "--collect", &unit, &calendar, "--timer-property=AccuracySec=1s", "--"];
        args.extend(command.iter().map(String::as_str));
        self.run("systemd-run", &args, QUESTION, place).await.map(|_| ())
    }

    /// The loaded timers whose names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn timers(&self, prefix: &str, place: &str) -> Result<Vec<String>, Failure> {
        let pattern = format!("{}*.timer", checked_unit(prefix, place)?);
        let args =
            ["--no-pager", "--no-legend", "--plain", "--full", "--all", "--type=timer", "list-units", "--", &pattern];
        let listed = self.run("systemctl", &args, QUESTION, place).await?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let names = listed.lines().filter_map(|line| line.split_whitespace().next());
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// `systemctl stop UNIT`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn stop(&self, unit: &str, place: &str) -> Result<(), Failure> {
        self.systemctl("stop", unit, QUESTION, place).await
    }

    /// Runs one of systemd's programs. Answers its standard output.
    async fn run(
        &self,
        program: &'static str,
        args: &[&str],
        limit: Duration,
        place: &str,
    ) -> Result<Vec<u8>, Failure> {
        if !self.is_running() {
            let message = "systemd is not this machine's init";
            return Err(Failure::new(Class::Operator, "systemd:absent", place, message)
                .advise("reload by `signal:` or by a command instead"));
        }
        let process = Process {
            program: program::resolve(program, &self.search, place)?,
            args: args.iter().map(OsString::from).collect(),
            environment: environment::base(),
            stdin: Secret::default(),
            answer: None,
            limit,
            place: place.to_owned(),
        };
        judge(process::run(&process).await?, &format!("{program} {}", args.join(" ")), place)
    }
}

fn judge(finished: Finished, command: &str, place: &str) -> Result<Vec<u8>, Failure> {
    let failure = match finished.ended {
        Ended::Code(0) => return Ok(finished.output.stdout),
        Ended::Code(code) => {
            Failure::new(Class::Retry, "systemd:job", place, format!("`{command}` failed with exit status {code}"))
        }
        Ended::Signal(signal) => {
            Failure::new(Class::Retry, "systemd:job", place, format!("`{command}` was killed by signal {signal}"))
        }
        Ended::TimedOut => {
            Failure::new(Class::Retry, "systemd:timeout", place, format!("`{command}` did not end in its time"))
        }
    };
    let failure = failure.advise("look at `systemctl status` and `journalctl -u` of the unit");
    Err(finished.output.last.iter().fold(failure, |failure, line| failure.detail(line.as_str())))
}

/// A unit's name as systemd.unit(5) allows it, so that it can be no option and no path.
fn checked_unit<'a>(unit: &'a str, place: &str) -> Result<&'a str, Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    if unit.is_empty() || unit.len() > MAX_UNIT_NAME || unit.starts_with('-') || !unit.bytes().all(allowed) {
        let message = format!("{unit:?} cannot be the name of a systemd unit");
        return Err(Failure::new(Class::Spec, "systemd:unit", place, message));
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_name_is_never_an_option_or_a_path() {
        for good in ["nginx", "postfix@-.service", "a\\x2db.mount"] {
            assert_eq!(checked_unit(good, "here"), Ok(good));
        }
        for bad in ["", "--force", "a b", "../x", "a;b", "nginx\n"] {
            assert_eq!(
                checked_unit(bad, "here").map_err(|failure| failure.code),
                Err("systemd:unit".to_owned()),
                "{bad}"
            );
        }
    }
}
