//! Secrets stay where they belong: a life of a certificate with everything that could go wrong, watched by strace, and all that
//! was said, stored, handed over and shown is searched for keys, MAC keys, tokens and passwords in every form.

mod needles;
mod trace;

use crate::rig::scene::{Scene, everleaf};
use crate::rig::{PebbleOptions, Validation, free_port, host, require};
use needles::Needles;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use trace::Call;

/// Handed out by the CA: base64url, as Pebble wants it.
const MAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const HOOK_TOKEN: &str = "T0TAUE8DK-s3cret-c4pability";
const HOOK_KEY: &str = "a-shared-key-for-the-hmac-7191";
const PING_TOKEN: &str = "5a1c7ee0-dead-man-0f5-5witch";
const PROXY_PASSWORD: &str = "pr0xy-pa55word-tr0ub4dor";
const TRACED: &str = "trace=execve,openat,mkdir,mkdirat,write,pwrite64,writev,fchmod,fchmodat,chmod,fchown,fchownat,chown,prctl,\
                      setrlimit,prlimit64,setsid";

/// Everything that happened.
struct Watched {
    scene: Scene,
    needles: Needles,
    /// What was printed, by what was called.
    said: BTreeMap<String, Vec<u8>>,
    calls: Vec<Call>,
}

/// A receiver of webhooks and pings that refuses everything and repeats what it was asked, as careless ones do.
fn receiver() -> SocketAddr {
    let at = SocketAddr::from((host(), free_port()));
    let listener = TcpListener::bind(at).expect("a free port");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut octets = [0; 4096];
            let count = stream.read(&mut octets).unwrap_or(0);
            let head = String::from_utf8_lossy(&octets[..count]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let body = format!("no such hook: {path} at http://{at}{path}");
            let _ = write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    at
}

fn secret_file(scene: &Scene, name: &str, text: &str) -> PathBuf {
    let path = scene.path(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("a file");
    file.write_all(text.as_bytes()).expect("it is written");
    path
}

fn configuration(scene: &Scene, receiver: SocketAddr) -> String {
    let file = |name: &str, text: &str| secret_file(scene, name, text).display().to_string();
    let (eab, url) =
        (file("secret-eab", MAC_KEY), file("secret-url", &format!("http://{receiver}/services/{HOOK_TOKEN}")));
    let (hmac, ping) = (file("secret-hmac", HOOK_KEY), file("secret-ping", &format!("http://{receiver}/{PING_TOKEN}")));
    // A hook that says all it knows, about itself and about who called it.
    let nosy = "env; cat; cat /proc/self/cmdline /proc/$PPID/cmdline; cat /proc/$PPID/limits; umask";
    let tell = scene.script("tell", &format!("{{ {nosy}; }} >>{0}/told 2>&1", scene.path("").display()));
    let reload = scene.script("reload", &format!("{nosy}; [ ! -e {}/broken ]", scene.path("").display()));
    let deploy = scene.script("deploy", &format!("{{ {nosy}; }} >>{}/deployed 2>&1", scene.path("").display()));
    let extra = scene.path("extra");
    fs::create_dir(&extra).expect("a directory");
    let more = format!(
        "    hooks: {{ deploy: [{}] }}\n    files:\n      - {{ path: {}/shop.pem, content: bundle }}\n",
        deploy.display(),
        extra.display()
    );
    let yaml = scene
        .unproven(&more)
        .replace("agree_to_terms: true", &format!("agree_to_terms: true, eab: {{ kid: kid-1, hmac_file: {eab} }}"));
    format!(
        "{}metrics: {}/metrics.prom\nping: {{ url_file: {ping} }}\nnotifiers:\n  people: {{ exec: [{}] }}\n  chat: {{ webhook: {{ url_file: {url}, hmac_file: {hmac} }} }}\n",
        yaml.replace(
            "certificates:",
            &format!("nodes:\n  local: {{ reload: {{ exec: [{}] }} }}\ncertificates:", reload.display())
        ),
        scene.path("").display(),
        tell.display()
    )
}

impl Watched {
    fn new(umask: &str) -> Self {
        let keys = BTreeMap::from([("kid-1".to_owned(), MAC_KEY.to_owned())]);
        let options = PebbleOptions {
            validation: Validation::Never,
            serve_http01: false,
            external_account_keys: keys,
            ..PebbleOptions::default()
        };
        let scene = Scene::new(options);
        scene.configure(&configuration(&scene, receiver()));
        let mut needles = Needles::default();
        for (name, word) in [
            ("the MAC key", MAC_KEY),
            ("the webhook's token", HOOK_TOKEN),
            ("the webhook's key", HOOK_KEY),
            ("the ping's token", PING_TOKEN),
            ("the proxy's password", PROXY_PASSWORD),
        ] {
            needles.add_word(name, word);
        }
        let mut watched = Self { scene, needles, said: BTreeMap::new(), calls: Vec::new() };
        watched.live(umask);
        watched
    }

    /// Issued with a failing reload, mended, renewed by force, and in vain; and asked about in every way.
    fn live(&mut self, umask: &str) {
        fs::write(self.scene.path("broken"), "").expect("a file");
        self.call(umask, &["-vvv", "run"], 20);
        fs::remove_file(self.scene.path("broken")).expect("removed");
        self.call(umask, &["-vvv", "run", "--json"], 0);
        self.call(umask, &["-vvv", "renew", "shop", "--force", "--new-key"], 0);
        self.scene.pebble.stop();
        let failed = self.call(umask, &["-vvv", "--log-format", "json", "renew", "shop", "--force", "--new-key"], -1);
        assert!(failed == 10 || failed == 20 || failed == 75, "the CA is gone: {failed}");
        for asked in [
            &["status"][..],
            &["status", "--json"],
            &["why", "shop"],
            &["why", "shop", "--json"],
            &["plan"],
            &["check"],
            &["account", "show"],
            &["config", "check"],
            &["-vvv", "status"],
        ] {
            self.call(umask, asked, -1);
        }
        self.learn_keys();
    }

    /// Calls everleaf under strace; `exit` is what it must end with, -1 for anything but a crash.
    fn call(&mut self, umask: &str, arguments: &[&str], exit: i32) -> i32 {
        let log = self.scene.path(&format!("trace-{}", self.said.len()));
        let mut command = Command::new(require("timeout"));
        command.args(["--signal=KILL", "240", "sh", "-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]);
        command
            .args(["strace", "-f", "-qq", "-v", "-y", "-s", "99999", "-e", "signal=none", "-e", TRACED, "-o"])
            .arg(&log);
        self.scene.finish(command.arg(everleaf()), arguments);
        let proxy = format!("http://user:{PROXY_PASSWORD}@{}:1", host());
        let output = command
            .env("HTTPS_PROXY", &proxy)
            .env("https_proxy", proxy)
            .stdout(Stdio::piped())
            .output()
            .expect("strace starts");
        let ended = output.status.code().unwrap_or(-1);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            if exit < 0 { (0..70).contains(&ended) || ended > 70 && ended < 100 } else { ended == exit },
            "{arguments:?}: {ended}\n{err}"
        );
        self.calls.extend(trace::calls(&String::from_utf8_lossy(&fs::read(&log).expect("a log"))));
        fs::remove_file(log).expect("removed: it holds what was written to key files");
        self.said.insert(arguments.join(" ") + " (output)", output.stdout);
        self.said.insert(arguments.join(" ") + " (messages)", output.stderr);
        // Keys may be discarded later: each is learned while it is there.
        self.learn_keys();
        ended
    }

    fn learn_keys(&mut self) {
        for path in files(&self.scene.path("state")) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let shown = path.display().to_string();
            if text.starts_with("-----BEGIN PRIVATE KEY") {
                self.needles.add_key(&shown, &text);
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("credentials")) {
                let json: serde_json::Value = serde_json::from_str(&text).expect("credentials");
                self.needles.add_key(&shown, json["key_pkcs8"].as_str().expect("a key"));
            }
        }
    }

    fn dir(&self) -> PathBuf {
        self.scene.path("")
    }

    /// What everleaf itself called, and not what its hooks did.
    fn own(&self) -> impl Iterator<Item = &Call> {
        let program = everleaf();
        let own = move |call: &&Call| call.name == "execve" && call.line.contains(&format!("execve(\"{program}\""));
        let pids: Vec<u32> = self.calls.iter().filter(own).map(|call| call.pid).collect();
        self.calls.iter().filter(move |call| pids.contains(&call.pid))
    }
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn secrets_stay_where_they_belong() {
    let watched = Watched::new("022");
    no_secret_is_said_stored_or_handed_over(&watched);
    no_core_file_can_hold_a_key(&watched);
}

#[test]
fn every_file_is_private_from_its_first_instant_whatever_the_umask() {
    for umask in if std::env::var_os("EVERLEAF_FULL").is_some() { &["000", "077"][..] } else { &["000"] } {
        files_are_private_from_their_first_instant(&Watched::new(umask));
    }
}

fn no_secret_is_said_stored_or_handed_over(watched: &Watched) {
    assert!(watched.needles.count() >= 5 + 3, "account key and two keys at least: {}", watched.needles.count());
    for (what, text) in &watched.said {
        assert_eq!(watched.needles.found_in(text), [] as [&str; 0], "in {what}:\n{}", String::from_utf8_lossy(text));
    }
    let all: Vec<u8> = watched.said.values().flatten().copied().collect();
    let all = String::from_utf8_lossy(&all);
    // It was really said: a search in silence finds nothing.
    for word in ["EVERLEAF_NAME=shop", "acme", "notifier", "404"] {
        assert!(all.contains(word), "nothing was said of {word}: {all}");
    }

    let started: Vec<&Call> = watched.calls.iter().filter(|call| call.name == "execve").collect();
    let program = format!("execve(\"{}\"", everleaf());
    let hooks: Vec<&&Call> = started
        .iter()
        .filter(|call| !call.line.starts_with(&program) && !call.line.starts_with("execve(\"/usr/bin/strace"))
        .collect();
    assert!(
        hooks.iter().any(|call| call.line.contains("EVERLEAF_EVENT")) && hooks.len() > 5,
        "{} programs were started",
        hooks.len()
    );
    for call in hooks {
        assert_eq!(watched.needles.found_in(call.line.as_bytes()), [] as [&str; 0], "{}", call.line);
    }
    for call in started.iter().filter(|call| call.line.starts_with(&program)) {
        let arguments = call.line.split("[\"").nth(1).unwrap_or_default();
        assert_eq!(watched.needles.found_in(arguments.as_bytes()), [] as [&str; 0], "{arguments}");
    }

    for path in files(&watched.dir()) {
        let holds = watched.needles.found_in(&fs::read(&path).expect("a file"));
        if holds.is_empty() {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_key = ["privkey.pem", "bundle.pem", "shop.pem"].contains(&name.as_str())
            || name.starts_with("credentials")
            || name.starts_with("secret-")
            || path.parent().is_some_and(|dir| dir.ends_with("keys"));
        assert!(is_key, "{} holds {holds:?}", path.display());
        let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{} holds {holds:?} and has the mode {mode:04o}", path.display());
    }
    for readable in ["run/status.json", "metrics.prom", "told", "deployed"] {
        assert!(watched.dir().join(readable).is_file(), "{readable} is searched");
    }
}

fn files_are_private_from_their_first_instant(watched: &Watched) {
    let root = watched.dir();
    let mut created = 0;
    for call in watched.own().filter(|call| call.creates_below(&root)) {
        created += 1;
        assert_eq!(call.mode(), Some(0o600), "created open to others: {}", call.line);
        let file = call.file().unwrap_or_default();
        assert!(
            call.line.contains("O_NOFOLLOW") || file.ends_with("journal.jsonl"),
            "a link would be followed: {}",
            call.line
        );
    }
    assert!(created > 30, "only {created} files were seen made");
    for call in watched.own().filter(|call| call.name.starts_with("mkdir") && call.line.contains('"')) {
        let outside = ["live", "run"].iter().any(|name| call.line.contains(&root.join(name).display().to_string()));
        let mode = call.mode().unwrap_or(0o777);
        assert!(mode == 0o700 || outside && mode & 0o022 == 0, "a directory open to others: {}", call.line);
    }
    // The mode of a file is final before the first byte of a key is in it, and its owner is set before that.
    let mut written: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let mut keys = 0;
    for (number, call) in watched.own().enumerate() {
        let Some(file) = call.file().filter(|file| Path::new(file).starts_with(&root)) else { continue };
        match call.name.as_str() {
            "write" | "pwrite64" | "writev"
                if call.line.contains("BEGIN PRIVATE KEY") || call.line.contains("key_pkcs8") =>
            {
                keys += usize::from(written.insert((call.pid, file), number).is_none());
            }
            "openat" => drop(written.remove(&(call.pid, file))),
            "fchmod" | "fchown" | "chmod" | "chown" => {
                assert!(!written.contains_key(&(call.pid, file)), "changed after the key was in it: {}", call.line);
            }
            _ => {}
        }
    }
    assert!(keys > 5, "only {keys} key files were seen written");
    let mode = |part: &str| fs::metadata(root.join(part)).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("run/status.json"), 0o644, "readers need no rights, and it holds no secret");
    for path in files(&root.join("state")) {
        let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

fn no_core_file_can_hold_a_key(watched: &Watched) {
    let own: Vec<&Call> = watched.own().collect();
    let starts: Vec<usize> = (0..own.len()).filter(|at| own[*at].name == "execve").collect();
    for (begin, end) in starts.iter().zip(starts.iter().skip(1).chain([&own.len()])) {
        let life = &own[*begin..*end];
        let position =
            |words: [&str; 2]| life.iter().position(|call| words.iter().all(|word| call.line.contains(word)));
        let secret =
            position(["openat(", "secret-"]).or_else(|| position(["openat(", "credentials"])).unwrap_or(life.len());
        let undumpable =
            position(["prctl(PR_SET_DUMPABLE", "SUID_DUMP_DISABLE"]).expect("nobody else may look into it");
        let coreless = position(["RLIMIT_CORE", "rlim_cur=0"]).expect("it leaves no core file");
        assert!(undumpable < secret && coreless < secret, "before the first secret is read");
    }
    let said: Vec<u8> = watched.said.values().flatten().copied().collect();
    let limits = String::from_utf8_lossy(&said).into_owned() + &watched.scene.text("deployed");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let core: Vec<String> = limits.lines().filter(|line| line.contains("Max core file size")).map(words).collect();
    assert!(!core.is_empty(), "a hook looked at the limits of who called it");
    assert!(core.iter().all(|line| line.contains("Max core file size 0 0 bytes")), "{core:?}");
}
