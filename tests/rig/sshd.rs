//! An sshd of its own, with keys and a client configuration of its own.

use super::process::{Daemon, free_port, host, require, run, scratch};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a login without a terminal finds programs.
const PROGRAMS: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// A running sshd that lets the test's own key in, as the test's own user.
pub(crate) struct Sshd {
    daemon: Daemon,
    address: SocketAddr,
    dir: tempfile::TempDir,
    /// The host's name in the client configuration.
    alias: &'static str,
}

impl Sshd {
    /// Starts it at a free port, as the host `edge`.
    pub(crate) fn start() -> Self {
        Self::named("edge", host(), PROGRAMS)
    }

    /// A machine of that name on which a login without a terminal finds `everleaf` in the directory `programs`.
    pub(crate) fn with_programs(alias: &'static str, programs: &Path) -> Self {
        Self::named(alias, host(), &format!("{}:/usr/bin:/bin", programs.display()))
    }

    /// A machine on which a login without a terminal finds what is in the directory `programs`, and nothing else.
    pub(crate) fn with_only(programs: &Path) -> Self {
        Self::named("edge", host(), &programs.display().to_string())
    }

    /// A machine of that name with an address of its own.
    pub(crate) fn at(alias: &'static str, ip: Ipv4Addr) -> Self {
        Self::named(alias, ip, PROGRAMS)
    }

    /// Starts it at a free port of `ip`, as the host `alias`, where a login without a terminal has this `PATH`.
    fn named(alias: &'static str, ip: Ipv4Addr, path: &str) -> Self {
        let dir = scratch("sshd");
        let address = SocketAddr::from((ip, free_port()));
        for key in ["host_key", "user_key"] {
            let mut keygen = Command::new(require("ssh-keygen"));
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key)), None);
        }
        let public = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a public key");
        fs::write(dir.path().join("authorized_keys"), public("user_key.pub")).expect("a file");
        let known = format!("[{}]:{} {}", address.ip(), address.port(), public("host_key.pub"));
        fs::write(dir.path().join("known_hosts"), known).expect("a file");
        fs::write(dir.path().join("sshd_config"), server_config(dir.path(), address, path)).expect("a file");
        fs::write(dir.path().join("ssh_config"), client_config(dir.path(), address, alias)).expect("a file");
        if nix::unistd::geteuid().is_root() {
            // Compiled into Debian's sshd as its empty directory; usually made by the unit that starts it.
            fs::create_dir_all("/run/sshd").expect("sshd's privilege separation directory");
        }
        Self { daemon: spawn(dir.path(), address), address, dir, alias }
    }

    /// Starts it again at the same place, with the same keys.
    pub(crate) fn restart(&mut self) {
        self.daemon.stop();
        self.daemon = spawn(self.dir.path(), self.address);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its directory: keys, `known_hosts`, `authorized_keys`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client configuration (`ssh -F FILE edge`) in which this server is the host `edge`, or has the name it was given.
    pub(crate) fn client_config(&self) -> PathBuf {
        self.dir.path().join("ssh_config")
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends all connections it has.
    pub(crate) fn hang_up(&self) {
        end_sessions(self.daemon.pid());
    }

    /// Ends it with all connections it has: a client may keep one open for its next command.
    pub(crate) fn stop(&mut self) {
        end_sessions(self.daemon.pid());
        self.daemon.stop();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end_sessions(self.daemon.pid());
    }
}

/// Ends what an sshd started for its connections.
fn end_sessions(daemon: u32) {
    let parent = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1).map(str::to_owned)
    };
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let pids = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for pid in pids.filter(|pid| pid.bytes().all(|it| it.is_ascii_digit())) {
        if parent(&pid) == Some(daemon.to_string()) {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).is_err();
        }
    }
}

/// Writes into `dir` a program `ssh` that knows just these machines, and is the system's otherwise.
pub(crate) fn ssh_to(dir: &Path, machines: &[&Sshd]) {
    use std::os::unix::fs::PermissionsExt as _;
    let config = dir.join("ssh_config");
    let hosts = machines.iter().map(|it| fs::read_to_string(it.client_config()).expect("its configuration"));
    fs::write(&config, hosts.collect::<String>()).expect("a file");
    let script = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", require("ssh").display(), config.display());
    fs::write(dir.join("ssh"), script).expect("a file");
    fs::set_permissions(dir.join("ssh"), fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn spawn(dir: &Path, address: SocketAddr) -> Daemon {
    // An absolute path: sshd starts itself again for each connection.
    let mut command = Command::new(require("sshd"));
    command.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
    let mut daemon = Daemon::spawn("sshd", &command, dir);
    daemon.await_port(address);
    daemon
}

/// A home of its own: what the shell of whoever runs the tests reads at each login is none of theirs.
fn server_config(dir: &Path, address: SocketAddr, path: &str) -> String {
    let here = dir.display();
    format!(
        "ListenAddress {}\nPort {}\nHostKey {here}/host_key\nAuthorizedKeysFile {here}/authorized_keys\n\
         PidFile {here}/sshd.pid\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nMaxStartups 100\nSetEnv HOME={here} PATH={path}\n",
        address.ip(),
        address.port()
    )
}

fn client_config(dir: &Path, address: SocketAddr, alias: &str) -> String {
    let here = dir.display();
    format!(
        "Host {alias}\n    HostName {}\n    Port {}\n    IdentityFile {here}/user_key\n    IdentitiesOnly yes\n    \
         UserKnownHostsFile {here}/known_hosts\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    \
         BatchMode yes\n    ConnectTimeout 5\n",
        address.ip(),
        address.port()
    )
}
