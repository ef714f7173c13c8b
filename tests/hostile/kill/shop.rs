//! One machine with a CA, nginx, and a certificate that is to be renewed; put back as it was before each blow.

use super::judge::Verdicts;
use crate::rig::scene::{Scene, everleaf, left_behind, plain_serial};
use crate::rig::{Nginx, PebbleOptions, free_port, hosts, openssl_serial, require, run};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What everleaf, its hooks and its web server write to; all of it is put back.
const KEPT: [&str; 5] = ["state", "run", "edges", "web", "extra"];

/// The certificate.
pub(crate) const NAME: &str = "shop";

/// What it covers.
pub(crate) const NAMES: [&str; 2] = ["shop.example.com", "www.shop.example.com"];

/// A shop with its web server, its CA and everleaf.
pub(crate) struct Shop {
    pub(crate) scene: Scene,
    pub(crate) nginx: Nginx,
    pub(crate) at: SocketAddr,
    /// What its certificates chain to.
    pub(crate) root: PathBuf,
    pub(crate) verdicts: Verdicts,
}

impl Shop {
    /// Everything stands and nothing is issued: nginx serves a pair that somebody left.
    pub(crate) fn new() -> Self {
        let port = free_port();
        let options = PebbleOptions { serve_http01: false, http_port: Some(port), ..PebbleOptions::default() };
        let scene = Scene::new(options);
        for part in ["web", "extra"] {
            fs::create_dir_all(scene.path(part)).expect("a directory");
        }
        let live = scene.path("edges/shop");
        left_behind(&live);
        let at = SocketAddr::from((hosts()[1], free_port()));
        let challenges = scene.pebble.http01();
        let web = format!("server {{ listen {challenges}; root {}; }}\n", scene.path("web").display());
        let tls = Nginx::tls(at, &live.join("fullchain.pem"), &live.join("privkey.pem"));
        let nginx = Nginx::start(&format!("{web}{tls}"), at);
        let root = scene.pebble.issuing_root_file();
        let shop = Self { scene, nginx, at, root, verdicts: Verdicts::default() };
        shop.scene.configure(&shop.yaml());
        shop.keep("bare");
        shop
    }

    /// The second generation is live, and somebody asked for another: the next run renews. The first is what it prunes.
    pub(crate) fn asked() -> Self {
        let shop = Self::new();
        shop.scene.everleaf(&["run"]).exits(0);
        shop.ask();
        shop.scene.everleaf(&["run"]).exits(0);
        shop.keep("live");
        shop.ask();
        shop.keep("asked");
        // An order replaces a certificate once; from now on the CA refuses that part of each, as it will at each blow.
        shop.scene.everleaf(&["run"]).exits(0);
        shop.put_back("asked");
        shop
    }

    /// Drops a request for a renewal and leaves it to whoever runs next: somebody else holds the lock.
    fn ask(&self) {
        let mut command = Command::new(require("flock"));
        command.arg(self.scene.path("run/locks/shop.lock")).arg(everleaf());
        self.scene.finish(&mut command, &["renew", "shop", "--force", "--no-wait"]);
        let asked = command.output().expect("flock");
        assert_eq!(asked.status.code(), Some(75), "{}", String::from_utf8_lossy(&asked.stderr));
    }

    /// One certificate with all that touches a disk: challenges in a webroot, an extra file, metrics, a hook after deploying.
    fn yaml(&self) -> String {
        let path = |part: &str| self.scene.path(part).display().to_string();
        let nodes = format!(
            "metrics: {}\nnodes:\n  local: {{ live: {}, check: {:?}, reload: {{ signal: HUP, pid_file: {} }} }}\n",
            path("extra/everleaf.prom"),
            path("edges"),
            self.nginx.check_command(),
            self.nginx.pid_file().display(),
        );
        let certificates = format!(
            "certificates:\n  - name: shop\n    names: [shop.example.com, www.shop.example.com]\n    issuer: pebble\n    \
             solver: {{ http-01: {{ webroot: {} }} }}\n    nodes: [local]\n    endpoints: [{{ address: \"{}\", node: local }}]\n    \
             confirm: {{ handshakes: 2, over: 0s, drain: 4s }}\n    \
             files: [{{ path: {}, content: bundle, mode: \"0640\" }}]\n    hooks: {{ deploy: [sh, -c, \"cat >{}\"] }}\n",
            path("web"),
            self.at,
            path("extra/bundle.pem"),
            path("extra/told"),
        );
        format!("{}{nodes}{certificates}", self.scene.preamble())
    }

    /// Everleaf as it is put under strace: itself, and no wrapper.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(everleaf());
        self.scene.finish(&mut command, arguments);
        // A hundred and fifty certificates of the system are read at each start otherwise.
        command.env("SSL_CERT_FILE", self.scene.pebble.tls_root_file());
        command
    }

    /// One ordinary run.
    pub(crate) fn run(&self) -> Output {
        self.command(&["run"]).output().expect("everleaf starts")
    }

    /// Remembers everything on the disk as `name`.
    pub(crate) fn keep(&self, name: &str) {
        let into = self.scene.path("kept").join(name);
        fs::create_dir_all(&into).expect("a directory");
        copy(&self.scene.path(""), &into);
    }

    /// Puts everything back as it was at [`Self::keep`], and has nginx read it.
    pub(crate) fn put_back(&self, name: &str) {
        copy(&self.scene.path("kept").join(name), &self.scene.path(""));
        self.nginx.reload();
    }

    /// A file that servers read.
    pub(crate) fn live(&self, file: &str) -> PathBuf {
        self.scene.path("edges/shop").join(file)
    }

    /// Something unfinished in the live directory, or an answer to a challenge that nobody asks for any more.
    pub(crate) fn left(&self) -> Option<PathBuf> {
        let temporary =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("..tmp"));
        let entries =
            |part: &str| fs::read_dir(self.scene.path(part)).into_iter().flatten().flatten().map(|it| it.path());
        entries("edges/shop").find(temporary).or_else(|| entries("web/.well-known/acme-challenge").next())
    }

    /// The serial number that nginx serves.
    pub(crate) fn served(&self) -> Option<String> {
        openssl_serial(self.at, "shop.example.com").map(|serial| plain_serial(&serial))
    }
}

/// Makes what is kept at `to` what it is at `from`.
fn copy(from: &Path, to: &Path) {
    for part in KEPT {
        let _ = fs::remove_dir_all(to.join(part));
    }
    let mut copy = Command::new(require("cp"));
    let there = KEPT.map(|part| from.join(part)).into_iter().filter(|path| path.exists());
    copy.arg("-a").args(there).arg(to);
    run(&mut copy, None);
}
