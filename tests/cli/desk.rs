//! A configuration in a directory of its own, and the program called on it.

use crate::rig::scratch;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Desk {
    dir: tempfile::TempDir,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Left {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Desk {
    /// A desk whose configuration has `rest` after its version and paths.
    pub(crate) fn new(rest: &str) -> Self {
        let desk = Self { dir: scratch("cli") };
        desk.configure(rest);
        desk
    }

    pub(crate) fn configure(&self, rest: &str) {
        let [state, live, run] = ["state", "live", "run"].map(|name| self.path(name).display().to_string());
        let text = format!("version: 1\npaths: {{ state: {state}, live: {live}, run: {run} }}\n{rest}");
        fs::write(self.config(), text).expect("written");
        fs::set_permissions(self.config(), fs::Permissions::from_mode(0o600)).expect("private");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("everleaf.yaml")
    }

    /// The program, set up as cron would: no terminal, a bare environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.env("EVERLEAF_CONFIG", self.config());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Left {
        left(self.command(args))
    }

    /// Puts a status file there, with `certificates` copies of the sample's.
    pub(crate) fn put_status(&self, certificates: usize) {
        let sample: Value = serde_json::from_str(include_str!("../data/status-1.json")).expect("JSON");
        let mut status = sample.clone();
        let shop = sample["certificates"][0].clone();
        status["certificates"] = (0..certificates)
            .map(|number| {
                let mut one = shop.clone();
                one["name"] = if number == 0 { "shop".into() } else { format!("shop{number}").into() };
                one
            })
            .collect();
        fs::create_dir_all(self.path("run")).expect("made");
        fs::write(self.path("run/status.json"), status.to_string()).expect("written");
    }
}

pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everleaf"));
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

pub(crate) fn left(mut command: Command) -> Left {
    let output = command.output().expect("it runs");
    Left {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}
