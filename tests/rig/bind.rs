//! BIND as an authoritative server, with zones that a TSIG key may update.

use super::process::{Daemon, free_port, require, run, scratch};
use super::relay::Relay;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a BIND of the rig is to serve.
#[derive(Debug, Clone)]
pub(crate) struct BindOptions {
    /// Where it listens, UDP and TCP.
    pub(crate) address: SocketAddr,
    /// Its zones: name and records, in master-file form behind a SOA and `$TTL`, which are added.
    pub(crate) zones: Vec<(String, String)>,
}

/// A running `named`.
pub(crate) struct Bind {
    daemon: Daemon,
    address: SocketAddr,
    relay: Relay,
    dir: tempfile::TempDir,
}

impl Bind {
    /// Starts it and waits until every zone is loaded (BIND opens its port before that).
    pub(crate) fn start(options: &BindOptions) -> Self {
        let dir = scratch("bind");
        fs::write(dir.path().join("update.key"), KEY).expect("a file");
        // named listens only on addresses that an interface has, and of 127/8 that is 127.0.0.1.
        let itself = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        fs::write(dir.path().join("named.conf"), configuration(options, itself, dir.path())).expect("a file");
        // AppArmor's profile for named goes by its path and keeps it out of temporary directories.
        let program = dir.path().join("named");
        fs::copy(require("named"), &program).expect("a copy of named");
        let mut command = Command::new(program);
        command.args(["-g", "-n", "1", "-c"]).arg(dir.path().join("named.conf"));
        let mut daemon = Daemon::spawn("named", &command, dir.path());
        daemon.await_port(itself);
        let loaded = |(zone, _): &(String, String)| ask(itself, zone, "SOA").contains("hostmaster");
        daemon.await_ready(|| options.zones.iter().all(loaded));
        Self { daemon, address: options.address, relay: Relay::start(options.address, itself), dir }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that may update its zones: for `nsupdate -k`.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.dir.path().join("update.key")
    }

    /// Runs `nsupdate` with `lines` (`update add … TXT …`) against this server.
    pub(crate) fn update(&self, lines: &str) {
        let script = format!("server {} {}\n{lines}\nsend\n", self.address.ip(), self.address.port());
        run(Command::new(require("nsupdate")).arg("-k").arg(self.key_file()), Some(&script));
    }

    /// The values of `name`'s TXT records as this server has them.
    pub(crate) fn txt(&self, name: &str) -> Vec<String> {
        let mut values: Vec<String> =
            ask(self.address, name, "TXT").lines().map(|line| line.trim_matches('"').to_owned()).collect();
        values.retain(|value| !value.is_empty());
        values.sort();
        values
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.daemon.stop();
    }
}

const KEY: &str = "key \"everleaf-tests\" {\n    algorithm hmac-sha256;\n    \
                   secret \"ZXZlcmxlYWYtdGVzdHMtb25seS1vbi1sb29wYmFjay4=\";\n};\n";

fn configuration(options: &BindOptions, itself: SocketAddr, dir: &Path) -> String {
    let here = dir.display();
    let (ip, port) = (itself.ip(), itself.port());
    let mut text = format!(
        "include \"{here}/update.key\";\noptions {{\n    directory \"{here}\";\n    pid-file none;\n    \
         session-keyfile none;\n    listen-on port {port} {{ {ip}; }};\n    listen-on-v6 {{ none; }};\n    \
         recursion no;\n    dnssec-validation no;\n    notify no;\n}};\ncontrols {{ }};\n"
    );
    for (zone, records) in &options.zones {
        let file = dir.join(format!("{zone}.zone"));
        let soa = format!("$TTL 60\n@ IN SOA ns1.{zone}. hostmaster.{zone}. 1 3600 600 86400 60\n{records}\n");
        fs::write(&file, soa).expect("a file");
        let _ = writeln!(
            text,
            "zone \"{zone}\" {{ type primary; file \"{}\"; allow-update {{ key everleaf-tests; }}; }};",
            file.display()
        );
    }
    text
}

/// What `dig` answers, short; empty when nothing came.
fn ask(address: SocketAddr, name: &str, kind: &str) -> String {
    let mut dig = Command::new(require("dig"));
    dig.args([&format!("@{}", address.ip()), "-p", &address.port().to_string(), name, kind]);
    let shown = dig.args(["+short", "+norecurse", "+time=1", "+tries=1"]).output().expect("dig");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}
