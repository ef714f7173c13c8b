//! What is asked of systemd, recorded: this machine need not run one.

use crate::support::{block_on, scratch, script};
use everleaf::alarm::SystemdAlarm;
use everleaf::config::spec::Hook;
use everleaf::hook::{Call, Systemd};
use everleaf::ports::Alarm;
use everleaf::types::Timestamp;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// `systemctl` and `systemd-run` that write down their arguments and answer as they are told.
pub(crate) struct Recorder {
    dir: tempfile::TempDir,
}

impl Recorder {
    /// All questions succeed; `list-units` shows no unit.
    pub(crate) fn new() -> Self {
        let recorder = Self { dir: scratch() };
        recorder.answer("systemctl", "exit 0");
        recorder.answer("systemd-run", "exit 0");
        recorder
    }

    /// Has `program` end with `lines`, after writing its arguments down.
    pub(crate) fn answer(&self, program: &str, lines: &str) {
        let log = self.log().display().to_string();
        let text = format!("#!/bin/sh\n{{ printf '%s' {program}; printf ' [%s]' \"$@\"; echo; }} >>{log}\n{lines}\n");
        script(self.dir.path(), program, &text);
    }

    /// This systemd.
    pub(crate) fn systemd(&self) -> Systemd {
        Systemd::at(self.dir.path(), self.dir.path())
    }

    /// What was asked since the last time, one line a call.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        fs::write(self.log(), "").expect("forget");
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

fn command() -> Vec<String> {
    ["/usr/bin/everleaf", "run"].map(str::to_owned).to_vec()
}

#[test]
fn a_unit_hook_is_a_start_job() {
    let recorder = Recorder::new();
    let hook = Hook { unit: Some("renew-hook.service".to_owned()), ..crate::support::hook([""; 0]) };
    block_on(Call::new(&hook, "deploy", "here").systemd(recorder.systemd()).run()).expect("started");
    assert_eq!(recorder.asked(), ["systemctl [--no-ask-password] [--no-pager] [start] [--] [renew-hook.service]"]);
    recorder.answer("systemctl", "echo 'Job for renew-hook.service failed.' >&2; exit 1");
    let failure = block_on(Call::new(&hook, "deploy", "here").systemd(recorder.systemd()).run()).expect_err("failed");
    assert_eq!(failure.code, "systemd:job");
    assert!(failure.details.iter().any(|line| line.as_str().starts_with("Job for")), "{failure:?}");
}

#[test]
fn an_alarm_is_one_timer_at_the_whole_second_after() {
    let recorder = Recorder::new();
    let alarm = SystemdAlarm::new(recorder.systemd(), command());
    let at = Timestamp::from_millis(1_795_341_600_250);
    block_on(alarm.arm(at)).expect("armed");
    let asked = recorder.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let unit = asked[1].split("[--unit=").nth(1).and_then(|rest| rest.split(']').next()).expect("a unit").to_owned();
    assert!(unit.starts_with("everleaf-wake-") && unit.ends_with("-1795341601"), "{unit}");
    assert_eq!(
        asked[1],
        format!(
            "systemd-run [--quiet] [--collect] [--unit={unit}] [--on-calendar=2026-11-22 10:00:01 UTC] \
             [--timer-property=AccuracySec=1s] [--] [/usr/bin/everleaf] [run]"
        )
    );

    // Armed already: nothing is done. Another instant: the new timer first, then the old one goes.
    let listed = format!("case \"$*\" in *list-units*) echo '{unit}.timer loaded active waiting x';; esac");
    recorder.answer("systemctl", &listed);
    block_on(alarm.arm(at)).expect("armed");
    assert_eq!(recorder.asked().len(), 1);
    block_on(alarm.arm(Timestamp::from_secs(1_795_350_000))).expect("armed again");
    let asked = recorder.asked();
    assert!(asked[1].starts_with("systemd-run") && asked[1].contains("1795350000"), "{asked:?}");
    assert_eq!(asked[2], format!("systemctl [--no-ask-password] [--no-pager] [stop] [--] [{unit}.timer]"));
}

#[test]
fn a_timer_that_cannot_be_armed_leaves_the_old_one() {
    let recorder = Recorder::new();
    recorder.answer("systemctl", "case \"$*\" in *list-units*) echo 'everleaf-wake-x.timer loaded';; esac");
    recorder.answer("systemd-run", "echo 'Failed to start transient timer unit' >&2; exit 1");
    let alarm = SystemdAlarm::new(recorder.systemd(), command());
    let failure = block_on(alarm.arm(Timestamp::from_secs(1_795_350_000))).expect_err("not armed");
    assert_eq!(failure.code, "systemd:job");
    assert!(recorder.asked().iter().all(|line| !line.contains("[stop]")));
}

#[test]
fn without_systemd_there_is_no_alarm() {
    let recorder = Recorder::new();
    let systemd = Systemd::at("/usr/bin:/bin", "/nonexistent/systemd");
    let failure = block_on(SystemdAlarm::new(systemd, command()).arm(Timestamp::from_secs(0))).expect_err("none");
    assert_eq!(failure.code, "alarm:no-systemd");
    assert!(recorder.asked().is_empty());
}

#[test]
fn systemd_itself_understands_the_instant() {
    let told = Command::new("systemd-analyze").args(["calendar", "2026-11-22 10:00:01 UTC"]).output().expect("runs");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.contains("2026-11-22 10:00:01 UTC"), "{text}");
}
