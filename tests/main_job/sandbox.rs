//! The shipped unit's sandbox, made without systemd: a file system that is read-only but for what the unit lists, its
//! capabilities and no others. A whole issuance with publish and reload must pass in it, and a write elsewhere must not.

use crate::rig::scene::{Scene, everleaf, left_behind, plain_serial};
use crate::rig::{Daemon, free_port, host, openssl_serial, repository, require};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Reads a unit's settings: `Key=Value`, a key may be repeated.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn shipped() -> Self {
        let text = fs::read_to_string(repository().join("examples/systemd/everleaf.service")).expect("the unit");
        let lines = text.lines().filter(|line| !line.starts_with(['#', ';', '[']));
        Self(lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// All words of a setting.
    fn words(&self, key: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(name, _)| name == key);
        values.flat_map(|(_, value)| value.split_whitespace()).collect()
    }

    fn one(&self, key: &str) -> &str {
        let [word] = self.words(key)[..] else { panic!("{key} is set to one word in the unit") };
        word
    }

    /// What may be written to.
    fn writable(&self) -> Vec<String> {
        let mut paths =
            vec![format!("/var/lib/{}", self.one("StateDirectory")), format!("/run/{}", self.one("RuntimeDirectory"))];
        paths.extend(self.words("ReadWritePaths").iter().map(|path| path.trim_start_matches('-').to_owned()));
        paths
    }

    /// As `setpriv` writes them.
    fn capabilities(&self) -> String {
        let kept = self.words("CapabilityBoundingSet");
        let kept = kept.iter().map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
        format!("-all{}", kept.collect::<String>())
    }
}

/// The sandbox around a machine whose root is a directory of the scene.
struct Sandbox {
    scene: Scene,
    unit: Unit,
    root: PathBuf,
}

/// Makes everything read-only but the paths given, with a `/tmp` of its own, and runs the rest of its arguments.
const ENTER: &str = r#"
set -eu
umask "$1"; capabilities=$2; checkout=$3; count=$4; shift 4
writable=
while [ "$count" -gt 0 ]; do
    mount --bind "$1" "$1"
    writable="$writable $1"
    count=$((count - 1)); shift
done
cut -d' ' -f5 /proc/self/mountinfo | while read -r place; do
    case $place in /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) continue ;; esac
    case "$writable " in *" $place "*) continue ;; esac
    mount -o remount,bind,ro "$place"
done
# A checkout that lies in /tmp itself is carried over into the /tmp of the sandbox's own.
case $checkout in /tmp/*) mount --rbind "$checkout" /mnt ;; esac
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
case $checkout in /tmp/*) mkdir -p "$checkout"; mount --rbind /mnt "$checkout" ;; esac
exec setpriv --no-new-privs "--bounding-set=$capabilities" -- "$@"
"#;

impl Sandbox {
    fn new() -> Self {
        // Not in /tmp, of which the sandbox has its own.
        let scene = Scene::below(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let unit = Unit::shipped();
        for (key, value) in [("ProtectSystem", "strict"), ("PrivateTmp", "yes"), ("NoNewPrivileges", "yes")] {
            assert_eq!(unit.one(key), value, "what is tested is what the unit says");
        }
        let root = scene.path("root");
        let sandbox = Self { scene, unit, root };
        for path in sandbox.unit.writable() {
            let at = sandbox.at(&path);
            // A pid file is written by its server; everything else is a directory.
            if Path::new(&path).extension().is_some_and(|it| it == "pid") {
                fs::create_dir_all(at.parent().expect("a parent")).expect("mkdir");
                fs::write(&at, "").expect("a file");
            } else {
                fs::create_dir_all(&at).expect("mkdir");
            }
        }
        private(&sandbox.at("/var/lib/everleaf"));
        sandbox
    }

    /// Where a path of the machine lies.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a command in the sandbox.
    fn inside(&self, arguments: &[&str]) -> Output {
        let writable = self.unit.writable();
        let mut command = Command::new(require("unshare"));
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", ENTER, "sandbox"]);
        command.arg(self.unit.one("UMask")).arg(self.unit.capabilities()).arg(repository());
        command.arg(writable.len().to_string());
        command.args(writable.iter().map(|path| self.at(path))).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().expect("unshare")
    }
}

fn private(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("chmod");
}

/// nginx as Debian has it, below the machine's root.
fn nginx(sandbox: &Sandbox, at: SocketAddr) -> (Daemon, PathBuf) {
    let live = sandbox.at("/etc/everleaf/live/shop");
    left_behind(&live);
    let (pid, log) = (sandbox.at("/run/nginx.pid"), sandbox.at("/var/log/nginx"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|it| format!("{it}_temp_path {}/{it};\n", log.display()))
        .concat();
    let text = format!(
        "daemon off;\nuser root;\npid {};\nerror_log {log}/error.log;\nworker_processes 1;\nevents {{ }}\nhttp {{\n\
         access_log {log}/access.log;\n{temporary}server {{ listen {at} ssl; ssl_certificate {live}/fullchain.pem;\n\
         ssl_certificate_key {live}/privkey.pem; return 200 ok; }} }}\n",
        pid.display(),
        log = log.display(),
        live = live.display(),
    );
    let config = sandbox.at("/etc/nginx.conf");
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(require("nginx"));
    command.arg("-e").arg(log.join("error.log")).arg("-c").arg(&config);
    let mut daemon = Daemon::spawn("nginx", &command, &log);
    daemon.await_port(at);
    (daemon, config)
}

/// The configuration with the unit's own paths, and nginx as Debian's administrators reload it without systemd.
fn configure(sandbox: &Sandbox, at: SocketAddr, config: &Path) {
    let scene = &sandbox.scene;
    for (name, pem) in [("tls.pem", scene.pebble.tls_root().to_owned()), ("root.pem", scene.pebble.issuing_root(0))] {
        fs::write(sandbox.at("/etc/everleaf").join(name), pem).expect("a file");
    }
    let etc = sandbox.at("/etc/everleaf");
    let text = format!(
        "version: 1\npaths: {{ state: {state}, live: {etc}/live, run: {run} }}\nresolvers: [\"{dns}\"]\nhttp_port: {port}\n\
         issuers:\n  pebble: {{ directory: \"{directory}\", ca_bundle: {etc}/tls.pem, roots: {etc}/root.pem, \
         agree_to_terms: true, profile: tlsserver }}\n\
         nodes:\n  local: {{ check: [nginx, -e, {log}/error.log, -t, -q, -c, {config}], reload: {{ signal: HUP, pid_file: {pid} }} }}\n\
         certificates:\n  - name: shop\n    names: [shop.example.com]\n    issuer: pebble\n    {solver}\n    nodes: [local]\n    \
         endpoints: [{{ address: \"{at}\", node: local }}]\n    confirm: {{ handshakes: 2, over: 1s, drain: 4s }}\n",
        state = sandbox.at("/var/lib/everleaf").display(),
        etc = etc.display(),
        run = sandbox.at("/run/everleaf").display(),
        dns = scene.pebble.challenges.dns,
        port = scene.pebble.http01().port(),
        directory = scene.pebble.directory(),
        log = sandbox.at("/var/log/nginx").display(),
        config = config.display(),
        pid = sandbox.at("/run/nginx.pid").display(),
        solver = scene.solver(),
    );
    fs::write(etc.join("everleaf.yaml"), text).expect("a file");
}

#[test]
fn the_shipped_unit_lets_a_whole_run_pass_and_nothing_else() {
    let sandbox = Sandbox::new();
    let at = SocketAddr::from((host(), free_port()));
    let (_nginx, nginx_config) = nginx(&sandbox, at);
    configure(&sandbox, at, &nginx_config);
    let yaml = sandbox.at("/etc/everleaf/everleaf.yaml").display().to_string();
    let words = sandbox.unit.0.iter().find(|(key, _)| key == "ExecStart").expect("ExecStart").1.clone();
    let words: Vec<&str> = words.split_whitespace().skip(1).collect();
    let ran = sandbox.inside(&[&[everleaf(), "--config", &yaml], &words[..]].concat());
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{err}");
    assert_eq!(err, "", "no complaint about the sandbox");
    let leaf = fs::read_to_string(sandbox.at("/etc/everleaf/live/shop/cert.pem")).expect("published");
    let mut x509 = Command::new(require("openssl"));
    let published = crate::rig::run(x509.args(["x509", "-noout", "-serial"]), Some(&leaf));
    let published = plain_serial(published.trim().trim_start_matches("serial="));
    let served = openssl_serial(at, "shop.example.com").map(|serial| plain_serial(&serial));
    assert_eq!(served, Some(published), "reloaded from inside, seen from outside");

    // Without these two, what passed has shown nothing.
    let outside = sandbox.at("/etc/everleaf/elsewhere").display().to_string();
    let wrote = sandbox.inside(&["sh", "-c", "echo x >\"$0\"", &outside]);
    assert!(!wrote.status.success() && !Path::new(&outside).exists(), "a place that is not listed is read-only");
    let shown = sandbox.inside(&["grep", "-E", "^(CapBnd|NoNewPrivs):", "/proc/self/status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("NoNewPrivs:\t1"), "{shown}");
    assert!(!shown.contains("CapBnd:\t000001ff"), "all capabilities are left: {shown}");
}
