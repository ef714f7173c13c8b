//! A machine with a CA, a configuration, and everleaf as people run it: the built program, its exit code and its words.

use super::{Pebble, PebbleOptions, require, scratch};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// No call of these tests takes longer, also on a busy machine.
const LIMIT: &str = "180";

/// A CA and everything everleaf keeps, in one directory.
pub(crate) struct Scene {
    pub(crate) pebble: Pebble,
    dir: tempfile::TempDir,
}

/// What a call of everleaf came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let exit = output.status.code().unwrap_or(-1);
        Self { exit, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Fails unless it ended with `exit`.
    #[track_caller]
    pub(crate) fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl Scene {
    pub(crate) fn new(options: PebbleOptions) -> Self {
        Self { pebble: Pebble::start(options), dir: scratch("main-job") }
    }

    /// A Pebble that asks everleaf's own listener.
    pub(crate) fn with_listener() -> Self {
        Self::new(PebbleOptions { serve_http01: false, ..PebbleOptions::default() })
    }

    /// A scene with everleaf's own listener, in a directory below `parent`.
    pub(crate) fn below(parent: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("everleaf-").tempdir_in(parent).expect("a temporary directory");
        Self { dir, ..Self::with_listener() }
    }

    /// A Pebble that takes every challenge for proved: where the proof is not what is tested.
    pub(crate) fn easy() -> Self {
        use super::Validation;
        Self::new(PebbleOptions { validation: Validation::Never, serve_http01: false, ..PebbleOptions::default() })
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// What every configuration here begins with.
    pub(crate) fn preamble(&self) -> String {
        self.preamble_at(&self.pebble.directory())
    }

    /// The same with the CA's directory at another URL.
    pub(crate) fn preamble_at(&self, directory: &str) -> String {
        let here = self.dir.path().display();
        format!(
            "version: 1\npaths: {{ state: {here}/state, live: {here}/live, run: {here}/run }}\nresolvers: [\"{}\"]\n\
             http_port: {}\nissuers:\n  pebble: {{ directory: \"{directory}\", ca_bundle: {}, roots: {}, \
             agree_to_terms: true, profile: tlsserver }}\n",
            self.pebble.challenges.dns,
            self.pebble.http01().port(),
            self.pebble.tls_root_file().display(),
            self.pebble.issuing_root_file().display(),
        )
    }

    /// Everleaf's own listener where this Pebble asks.
    pub(crate) fn solver(&self) -> String {
        format!("solver: {{ http-01: {{ listen: \"{}\" }} }}", self.pebble.http01())
    }

    /// A configuration with one certificate, `shop`, that nothing serves; `more` are further lines of the certificate.
    pub(crate) fn unproven(&self, more: &str) -> String {
        let certificates = "certificates:\n  - name: shop\n    names: [shop.example.com, www.shop.example.com]\n";
        let solver = self.solver();
        let rest = format!("    issuer: pebble\n    {solver}\n    nodes: [local]\n    confirm: none\n{more}");
        format!("{}{certificates}{rest}", self.preamble())
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("everleaf.yaml")
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, yaml: &str) {
        fs::write(self.config(), yaml).expect("a file");
    }

    /// `everleaf --config … ARGUMENTS`, ended when it hangs, with an environment of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(require("timeout"));
        command.args(["--signal=KILL", LIMIT]).arg(everleaf());
        self.finish(&mut command, arguments);
        command
    }

    /// Gives a command that begins everleaf in some way the arguments and surroundings every call has.
    pub(crate) fn finish(&self, command: &mut Command, arguments: &[&str]) {
        command.arg("--config").arg(self.config()).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.dir.path());
        command.stdin(Stdio::null());
    }

    /// Calls everleaf and waits for its end.
    pub(crate) fn everleaf(&self, arguments: &[&str]) -> Ran {
        Ran::new(&self.command(arguments).output().expect("everleaf starts"))
    }

    /// `everleaf run` with the configuration `yaml`.
    pub(crate) fn run(&self, yaml: &str) -> Ran {
        self.configure(yaml);
        self.everleaf(&["run"])
    }

    /// Begins everleaf, without waiting: itself and no wrapper, so that a signal meets it.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(require("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(everleaf());
        self.finish(&mut command, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("everleaf starts")
    }

    /// What `status --json` says of the certificate `name`.
    pub(crate) fn status(&self, name: &str) -> Value {
        let status = self.everleaf(&["status", "--json"]).exits(0).json();
        let all = status["certificates"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|it| it["name"] == name);
        found.unwrap_or_else(|| panic!("status names no {name}: {status:#}"))
    }

    /// The serial number that should be served, in hexadecimal as openssl prints it.
    pub(crate) fn serial(&self, name: &str) -> String {
        plain_serial(self.status(name)["generation"]["serial"].as_str().expect("a generation"))
    }

    /// The events of a certificate's journal, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let journal = fs::read_to_string(self.path(&format!("state/certs/{name}/journal.jsonl"))).unwrap_or_default();
        let kind = |line: &str| {
            let record: Value = serde_json::from_str(line).ok()?;
            record["event"]["kind"].as_str().map(str::to_owned)
        };
        journal.lines().filter_map(kind).collect()
    }

    /// The leaf that is published on this machine.
    pub(crate) fn leaf(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("live/{name}/cert.pem"))).expect("a published certificate")
    }

    /// The CA recalls `leaf`: its window is over. What everleaf saw of it is forgotten, so that it asks again at once.
    pub(crate) fn recall(&self, name: &str, leaf: &str) {
        self.pebble.set_window(leaf, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        self.forget_seen(name);
    }

    /// Forgets what was seen: it may be lost at the price of one more look.
    pub(crate) fn forget_seen(&self, name: &str) {
        fs::remove_file(self.path(&format!("state/certs/{name}/seen.json"))).expect("seen.json");
        fs::remove_file(self.path("state/index.json")).expect("index.json");
    }

    /// Writes an executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// `text` with what differs from run to run made plain: this scene's directory, the CA's address, its ports, times,
    /// process ids, serial numbers and digests. For [`snapshot`](super::snapshot).
    pub(crate) fn plain(&self, text: &str) -> String {
        let named = [
            (self.dir.path().display().to_string(), "/SCENE"),
            (self.pebble.dir().display().to_string(), "/PEBBLE"),
            (everleaf().to_owned(), "/usr/bin/everleaf"),
            (self.pebble.acme().to_string(), "CA:443"),
            (self.pebble.http01().to_string(), "HERE:80"),
        ];
        let text = named.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(&from, to));
        super::snapshot::without_chance(&text)
    }

    /// A text file's content; empty when it is not there.
    pub(crate) fn text(&self, part: &str) -> String {
        fs::read_to_string(self.path(part)).unwrap_or_default()
    }
}

/// The built program.
pub(crate) fn everleaf() -> &'static str {
    env!("CARGO_BIN_EXE_everleaf")
}

/// Waits for the end of a call that was begun.
pub(crate) fn ended(child: Child) -> Ran {
    Ran::new(&child.wait_with_output().expect("everleaf ends"))
}

/// A serial number without DER's leading zeros, in lower case.
pub(crate) fn plain_serial(serial: &str) -> String {
    serial.replace(':', "").to_lowercase().trim_start_matches('0').to_owned()
}

/// A self-signed pair where a server will look for its certificate.
pub(crate) fn left_behind(live: &Path) {
    fs::create_dir_all(live).expect("a directory");
    let (cert, key) = super::self_signed(&["shop.example.com"]);
    fs::write(live.join("fullchain.pem"), &cert).expect("a file");
    fs::write(live.join("privkey.pem"), &key).expect("a file");
    fs::write(live.join("bundle.pem"), format!("{key}{cert}")).expect("a file");
}
