//! What terminates TLS: nginx, HAProxy, Apache, `openssl s_server`.

use super::process::{Daemon, require, run, scratch, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an old worker may hold a listener after a reload before the test goes on.
const SETTLE: Duration = Duration::from_secs(10);

/// nginx's stream module, where Debian has it.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// An nginx of its own, master and workers.
pub(crate) struct Nginx {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx with `http` as the content of its `http { … }` block; `ready` is one of its listeners.
    pub(crate) fn start(http: &str, ready: SocketAddr) -> Self {
        Self::with_main("", http, ready)
    }

    /// The same with `main` beside that block: a `stream { … }`, for which the module is loaded.
    pub(crate) fn with_main(main: &str, http: &str, ready: SocketAddr) -> Self {
        let dir = scratch("nginx");
        let here = dir.path().display();
        // Its temporary paths are compiled in and belong to the system's nginx.
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|it| format!("{it}_temp_path {here}/{it};\n"))
            .concat();
        // Root's workers are nobody otherwise, who cannot read what a test made.
        let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
        let modules = if main.is_empty() { String::new() } else { format!("load_module {STREAM};\n") };
        let text = format!(
            "{modules}{user}daemon off;\nworker_processes 1;\npid {here}/nginx.pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 256; }}\nhttp {{\naccess_log {here}/access.log;\n{temporary}{http}\n}}\n{main}\n"
        );
        fs::write(dir.path().join("nginx.conf"), text).expect("a file");
        let [program, args @ ..] = &arguments(dir.path())[..] else { unreachable!("a program and its arguments") };
        let mut daemon = Daemon::spawn("nginx", Command::new(program).args(args), dir.path());
        daemon.await_port(ready);
        let pid_file = dir.path().join("nginx.pid");
        daemon.await_ready(|| fs::metadata(&pid_file).is_ok_and(|it| it.len() > 0));
        Self { daemon, dir }
    }

    /// A `server { … }` block that terminates TLS at `address` with these files.
    pub(crate) fn tls(address: SocketAddr, fullchain: &Path, key: &Path) -> String {
        format!(
            "server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {}; return 200 ok; }}\n",
            fullchain.display(),
            key.display()
        )
    }

    /// The command that judges its configuration: for a node's `check:`.
    pub(crate) fn check_command(&self) -> Vec<String> {
        arguments(self.dir.path()).into_iter().chain(["-t".to_owned(), "-q".to_owned()]).collect()
    }

    /// The command that asks for a reload: for a node's `reload:`. It answers before the reload is done.
    pub(crate) fn reload_command(&self) -> Vec<String> {
        arguments(self.dir.path()).into_iter().chain(["-s".to_owned(), "reload".to_owned()]).collect()
    }

    /// Reloads and waits until the old workers are gone.
    pub(crate) fn reload(&self) {
        let done = || self.daemon.log().matches("gracefully shutting down").count();
        let before = done();
        self.daemon.signal(Signal::SIGHUP);
        assert!(wait_until(SETTLE, || done() > before), "nginx did not reload:\n{}", self.daemon.log());
    }

    /// Where its master's pid stands.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.path().join("nginx.pid")
    }

    /// How many requests it has been asked that begin with `text` (such as `GET /.well-known/`).
    pub(crate) fn requests(&self, text: &str) -> usize {
        fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default().matches(&format!("\"{text}")).count()
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

fn arguments(dir: &Path) -> Vec<String> {
    let program = require("nginx").display().to_string();
    let (prefix, config) = (dir.display().to_string(), dir.join("nginx.conf").display().to_string());
    // `-e` because the compiled-in error log is opened before the configuration is read.
    [program, "-p".into(), prefix, "-e".into(), "stderr".into(), "-c".into(), config].into()
}

/// A HAProxy of its own, master and worker.
pub(crate) struct HaProxy {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl HaProxy {
    /// Starts HAProxy with `sections` (frontends, backends) behind a short `global` and `defaults`, and `global` lines
    /// added to the former; `ready` is one of its listeners.
    pub(crate) fn start(global: &str, sections: &str, ready: SocketAddr) -> Self {
        let dir = scratch("haproxy");
        let here = dir.path().display();
        let text = format!(
            "global\n    log stderr format raw daemon\n    stats socket {here}/admin.sock mode 600 level admin\n\
             {global}\ndefaults\n    mode http\n    log global\n    timeout connect 5s\n    timeout client 10s\n\
             timeout server 10s\n\n{sections}\n"
        );
        let config = dir.path().join("haproxy.cfg");
        fs::write(&config, text).expect("a file");
        let mut command = Command::new(require("haproxy"));
        command.args(["-W", "-S"]).arg(dir.path().join("master.sock")).arg("-f").arg(&config);
        command.arg("-p").arg(dir.path().join("haproxy.pid"));
        let mut daemon = Daemon::spawn("haproxy", &command, dir.path());
        daemon.await_port(ready);
        Self { daemon, dir }
    }

    /// The command that judges its configuration.
    pub(crate) fn check_command(&self) -> Vec<String> {
        let program = require("haproxy").display().to_string();
        vec![program, "-c".into(), "-q".into(), "-f".into(), self.dir.path().join("haproxy.cfg").display().to_string()]
    }

    /// Where its master's pid stands: USR2 there is a reload.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Reloads and waits until the new worker runs.
    pub(crate) fn reload(&self) {
        let done = || self.daemon.log().matches("New worker").count();
        let before = done();
        self.daemon.signal(Signal::SIGUSR2);
        assert!(wait_until(SETTLE, || done() > before), "HAProxy did not reload:\n{}", self.daemon.log());
    }

    /// Its runtime API.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
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

/// An Apache of its own.
pub(crate) struct Apache {
    _daemon: Daemon,
    _dir: tempfile::TempDir,
}

impl Apache {
    /// Starts Apache with `hosts`, which listen where they say; `ready` is one of their listeners.
    pub(crate) fn start(hosts: &str, ready: SocketAddr) -> Self {
        let dir = scratch("apache");
        let here = dir.path().display();
        let modules = ["mpm_event", "authz_core", "socache_shmcb", "status", "ssl"]
            .map(|it| format!("LoadModule {it}_module /usr/lib/apache2/modules/mod_{it}.so\n"));
        // It does not serve as root.
        let text = format!(
            "ServerRoot {here}\nDefaultRuntimeDir {here}\nPidFile {here}/pid\nServerName a.test\nUser nobody\nGroup nogroup\n\
             {}ErrorLog /dev/stderr\nSSLSessionCache shmcb:{here}/cache(512000)\n{hosts}\n",
            modules.concat()
        );
        let config = dir.path().join("apache.conf");
        fs::write(&config, text).expect("a file");
        let mut command = Command::new(require("apache2"));
        command.arg("-DFOREGROUND").arg("-f").arg(&config);
        let mut daemon = Daemon::spawn("apache2", &command, dir.path());
        daemon.await_port(ready);
        Self { _daemon: daemon, _dir: dir }
    }

    /// A virtual host that terminates TLS at `address` with these files, and answers 200; `more` goes into it.
    pub(crate) fn tls(address: SocketAddr, fullchain: &Path, key: &Path, more: &str) -> String {
        format!(
            "Listen {address}\n<VirtualHost {address}>\nSSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}\n\
             <Location />\nSetHandler server-status\n</Location>\n{more}\n</VirtualHost>\n",
            fullchain.display(),
            key.display()
        )
    }
}

/// `openssl s_server`: serves exactly what it is given, right or wrong.
pub(crate) struct SServer {
    daemon: Daemon,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl SServer {
    /// Serves `cert` (PEM) with `chain` (PEM, may be empty) and `key` at `address`, and a page over HTTP; `more` are further
    /// arguments.
    pub(crate) fn start(address: SocketAddr, cert: &str, chain: &str, key: &str, more: &[&str]) -> Self {
        Self::bare(address, cert, chain, key, &[&["-www"], more].concat())
    }

    /// The same without HTTP.
    pub(crate) fn bare(address: SocketAddr, cert: &str, chain: &str, key: &str, more: &[&str]) -> Self {
        let dir = scratch("s_server");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let mut command = Command::new(require("openssl"));
        command.args(["s_server", "-accept", &address.to_string(), "-quiet"]);
        command.arg("-cert").arg(file("cert.pem", cert)).arg("-key").arg(file("key.pem", key));
        if !chain.is_empty() {
            // Without -no_build… openssl would put a chain of its own together from what it was given.
            command.arg("-cert_chain").arg(file("chain.pem", chain));
        }
        command.args(more);
        let mut daemon = Daemon::spawn("s_server", &command, dir.path());
        daemon.await_port(address);
        Self { daemon, address, dir }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A command line run to its end, for what the edges above hand out.
pub(crate) fn run_command(command: &[String]) -> String {
    let [program, args @ ..] = command else { panic!("an empty command") };
    run(Command::new(program).args(args), None)
}
