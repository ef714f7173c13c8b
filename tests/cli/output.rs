//! What is printed where, and what a reader that goes away changes.

use crate::desk::{Desk, mode};
use crate::rig::require;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new("");
    // Far more than a pipe holds.
    desk.put_status(2_000);
    for args in [&["status", "-v"][..], &["status", "--json"], &["check"]] {
        let mut child = desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("read");
        let code = child.wait().expect("it ends").code();
        let expected = if args == ["check"] { Some(2) } else { Some(0) };
        assert_eq!((code, err.as_str()), (expected, ""), "{args:?}");
    }
}

#[test]
fn a_log_that_nobody_reads_changes_nothing() {
    // Nothing listens there: the first thing asked of the CA fails, and the log says so.
    let rest = "issuers: { ca: { directory: 'https://127.0.0.1:1/dir' } }\ncertificates:\n  - { name: shop, names: \
                [shop.example.com], solver: { http-01: { listen: '127.0.0.1:1' } }, confirm: none }\n";
    let args = ["--log-format", "json", "renew", "shop"];
    let read = Desk::new(rest).run(&args);
    assert!(read.code != 0 && read.err.contains("\"certificate\":\"shop\""), "{read:?}");
    let desk = Desk::new(rest);
    let mut child = desk.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(read.code));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let desk = Desk::new("");
    desk.put_status(1);
    let coloured = |args: &[&str], no_color: &str| {
        let output = desk.command(args).env("NO_COLOR", no_color).output().expect("it runs");
        assert!(output.status.success());
        output.stdout.contains(&0x1b)
    };
    assert!(!coloured(&["status"], ""), "not into a pipe");
    assert!(coloured(&["status", "--color", "always"], ""));
    assert!(coloured(&["status", "--color", "always"], "1"), "what was typed goes before the environment");
    assert!(!coloured(&["status", "--color", "never"], ""));
}

/// `script` gives a terminal: colours are there, and gone with `NO_COLOR`.
#[test]
fn a_terminal_gets_colours_unless_no_color_says_otherwise() {
    require("script");
    let desk = Desk::new("");
    desk.put_status(1);
    let coloured = |no_color: &str| {
        let line = format!("{} status", env!("CARGO_BIN_EXE_everleaf"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
        command.env("EVERLEAF_CONFIG", desk.config()).env("NO_COLOR", no_color);
        command.output().expect("script runs").stdout.contains(&0x1b)
    };
    assert!(coloured("") && !coloured("1"));
}

#[test]
fn json_has_schemas_and_rfc_3339_times() {
    let desk = Desk::new("");
    desk.put_status(2);
    let status = desk.run(&["status", "--json"]).json();
    assert_eq!(status["schema"], "everleaf.status/1");
    let shop = &status["certificates"][0];
    for field in [
        "name",
        "stage",
        "outcome",
        "generation",
        "served",
        "ari_window",
        "renewal",
        "next",
        "nodes",
        "endpoints",
        "troubles",
        "last_success",
    ] {
        assert!(shop.get(field).is_some(), "{field} is missing in {shop}");
    }
    assert_eq!(shop["served"]["end"], "2027-02-10T10:00:00Z");
    assert_eq!(desk.run(&["status", "shop1", "--json"]).json()["certificates"].as_array().map(Vec::len), Some(1));
    assert_eq!(desk.run(&["why", "shop", "--json"]).json()["schema"], "everleaf.why/1");
    assert_eq!(desk.run(&["check", "--json"]).json()["schema"], "everleaf.check/1");
    assert_eq!(desk.run(&["config", "check", "--json"]).json()["schema"], "everleaf.config/1");
    assert_eq!(desk.run(&["plan", "--json"]).json()["schema"], "everleaf.plan/1");
    assert_eq!(desk.run(&["account", "show", "--json"]).json()["schema"], "everleaf.account/1");
}

#[test]
fn without_a_status_file_readers_say_so() {
    let desk = Desk::new("every: 1000d\n");
    let status = desk.run(&["status"]);
    assert_eq!((status.code, status.out.as_str()), (75, ""));
    assert!(status.err.contains("nothing has run since boot") && status.err.contains("everleaf run"), "{}", status.err);
    let check = desk.run(&["check"]);
    assert_eq!((check.code, check.err.as_str()), (3, ""));
    assert!(check.out.starts_with("EVERLEAF UNKNOWN - "), "{}", check.out);
    desk.configure("every: 1s\n");
    let late = desk.run(&["check"]);
    assert!(late.code == 2 && late.out.starts_with("EVERLEAF CRITICAL - no run has completed since boot"), "{late:?}");
}

#[test]
fn a_damaged_status_file_is_unknown_and_names_itself() {
    let desk = Desk::new("");
    desk.put_status(1);
    fs::write(desk.path("run/status.json"), "{\"schema\":").expect("written");
    let check = desk.run(&["check"]);
    assert!(check.code == 3 && check.out.contains("status.json"), "{check:?}");
    assert_eq!(desk.run(&["status"]).code, 65);
}

#[test]
fn a_quiet_run_leaves_a_readable_status_and_metrics_that_promtool_likes() {
    require("promtool");
    let desk = Desk::new("");
    desk.configure(&format!("metrics: {}\n", desk.path("everleaf.prom").display()));
    let run = desk.run(&["run"]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    assert_eq!((mode(&desk.path("run")), mode(&desk.path("run/status.json"))), (0o755, 0o644));
    assert_eq!((mode(&desk.path("state")), mode(&desk.path("everleaf.prom"))), (0o700, 0o644));
    let metrics = fs::File::open(desk.path("everleaf.prom")).expect("it is there");
    let told = Command::new("promtool").args(["check", "metrics"]).stdin(metrics).output().expect("promtool runs");
    assert!(told.status.success() && told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
    assert_eq!(desk.run(&["check"]).code, 0);
}

#[test]
fn state_that_others_can_read_exits_77_and_says_what_to_do() {
    let desk = Desk::new("");
    fs::create_dir(desk.path("state")).expect("made");
    fs::set_permissions(desk.path("state"), fs::Permissions::from_mode(0o755)).expect("set");
    let run = desk.run(&["run"]);
    assert!(run.code == 77 && run.err.contains("chmod 0700"), "{run:?}");
}

#[test]
fn logs_as_json_are_one_object_a_line() {
    let desk = Desk::new("");
    fs::create_dir(desk.path("state")).expect("made");
    fs::set_permissions(desk.path("state"), fs::Permissions::from_mode(0o755)).expect("set");
    let run = desk.run(&["run", "--log-format", "json"]);
    let lines: Vec<serde_json::Value> = run.err.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["code"] == "state:mode"), "{}", run.err);
}
