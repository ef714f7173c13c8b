//! A soak: many certificates that live for a minute, behind one real nginx, while every few seconds whoever works on them is killed.
//! Then all are live, and hardly an order was wasted.
//!
//! `EVERLEAF_SOAK_SECS` says how long they are killed; `EVERLEAF_FULL` means 200 names for ten minutes.

use crate::rig::scene::{Scene, everleaf, plain_serial};
use crate::rig::{Answer, Fault, FaultyCa, Kind, Times};
use crate::rig::{Nginx, PebbleOptions, Validation, free_port, host, openssl_serial, require, wait_until};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How much of it is done.
struct Scale {
    names: usize,
    /// How long a certificate lives, in seconds.
    life: u64,
    /// How long whoever works is killed.
    killing: Duration,
}

impl Scale {
    fn wanted() -> Self {
        let full = std::env::var_os("EVERLEAF_FULL").is_some();
        let (names, life, secs) = if full { (200, 180, 600) } else { (40, 50, 30) };
        let asked = std::env::var("EVERLEAF_SOAK_SECS").ok().map(|secs| secs.parse().expect("a number of seconds"));
        Self { names, life, killing: Duration::from_secs(asked.unwrap_or(secs)) }
    }
}

/// Everything that is kept alive.
struct Farm {
    scene: Scene,
    ca: FaultyCa,
    nginx: Nginx,
    at: SocketAddr,
    scale: Scale,
}

impl Farm {
    fn new(scale: Scale) -> Self {
        let port = free_port();
        let scene = Scene::new(PebbleOptions {
            validation: Validation::Never,
            serve_http01: false,
            http_port: Some(port),
            profiles: [("tlsserver".to_owned(), scale.life)].into(),
            ..PebbleOptions::default()
        });
        let at = SocketAddr::from((host(), free_port()));
        let webroot = scene.path("webroot");
        fs::create_dir(&webroot).expect("a directory");
        let mut http = "server_names_hash_max_size 8192;\nserver_names_hash_bucket_size 128;\n".to_owned();
        let _ = writeln!(http, "server {{ listen {}; root {}; }}", scene.pebble.http01(), webroot.display());
        // What nginx starts with: one pair for all of them.
        let first = scene.path("live/name0");
        crate::rig::scene::left_behind(&first);
        for name in names(&scale) {
            let live = scene.path(&format!("live/{name}"));
            if live != first {
                fs::create_dir_all(&live).expect("a directory");
                for file in ["fullchain.pem", "privkey.pem"] {
                    fs::copy(first.join(file), live.join(file)).expect("a copy");
                }
            }
            let (cert, key) = (live.join("fullchain.pem"), live.join("privkey.pem"));
            let _ = writeln!(
                http,
                "server {{ listen {at} ssl; server_name {name}.example.com; ssl_certificate {}; ssl_certificate_key {}; return 200 ok; }}",
                cert.display(),
                key.display()
            );
        }
        let nginx = Nginx::start(&http, at);
        let ca = FaultyCa::before(&scene.pebble);
        ca.on(Kind::RenewalInfo, Times::ALWAYS, windows(scale.life));
        let farm = Self { scene, ca, nginx, at, scale };
        farm.configure(&webroot);
        farm
    }

    fn configure(&self, webroot: &std::path::Path) {
        let words = |command: Vec<String>| serde_json::to_string(&command).expect("JSON is YAML");
        // Pebble stops answering when many orders are open at once.
        let preamble = self.scene.preamble().replace("profile: tlsserver", "profile: tlsserver, parallel: 3");
        let mut yaml = format!(
            "{preamble}nodes: {{ local: {{ check: {}, reload: {{ exec: {} }} }} }}\ncertificates:\n",
            words(self.nginx.check_command()),
            words(self.nginx.reload_command()),
        );
        for name in names(&self.scale) {
            let _ = writeln!(
                yaml,
                "  - {{ name: {name}, names: [{name}.example.com], issuer: pebble, nodes: [local], \
                 solver: {{ http-01: {{ webroot: {} }} }}, confirm: {{ handshakes: 2, over: 100ms, drain: 3s }}, \
                 endpoints: [{{ address: \"{}\", sni: {name}.example.com, node: local }}] }}",
                webroot.display(),
                self.at,
            );
        }
        self.scene.configure(&self.ca.serves(&self.scene.pebble, &yaml));
        self.scene.everleaf(&["config", "check"]).exits(0);
    }

    /// Starts everleaf; what it says goes to a log.
    fn begin(&self, what: &str) -> Guarded {
        let log = fs::File::options().create(true).append(true).open(self.log(what)).expect("a log");
        let mut command = Command::new(require("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(everleaf());
        self.scene.finish(&mut command, &["-v", what]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("everleaf starts");
        Guarded(child)
    }

    fn log(&self, what: &str) -> PathBuf {
        self.scene.path(&format!("{what}.log"))
    }

    /// The names that are live just now, with what is served.
    fn live(&self) -> BTreeSet<String> {
        let ran = self.scene.everleaf(&["status", "--json"]);
        let status: Value = serde_json::from_str(&ran.out).unwrap_or_default();
        let certificates = status["certificates"].as_array().into_iter().flatten();
        let live = certificates.filter(|it| it["stage"] == "live").filter_map(|it| it["name"].as_str());
        live.map(str::to_owned).collect()
    }

    /// Whether nginx serves what `name` should have, and that has not ended.
    fn serves(&self, name: &str) -> bool {
        let Ok(cert) = fs::read_to_string(self.scene.path(&format!("live/{name}/cert.pem"))) else { return false };
        let mut x509 = Command::new(require("openssl"));
        x509.args(["x509", "-noout", "-serial", "-checkend", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = x509.spawn().expect("openssl");
        std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), cert.as_bytes()).expect("openssl reads");
        let output = child.wait_with_output().expect("openssl ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let published = text.lines().find_map(|line| line.strip_prefix("serial=")).map(plain_serial);
        let served = openssl_serial(self.at, &format!("{name}.example.com")).map(|serial| plain_serial(&serial));
        output.status.success() && published.is_some() && published == served
    }

    /// What each order was made for.
    fn orders(&self) -> String {
        let of = |name: String| {
            let journal = self.scene.text(&format!("state/certs/{name}/journal.jsonl"));
            let records = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = |record: Value| {
                let (at, event) = (record["at"].as_str()?, &record["event"]);
                match event["kind"].as_str()? {
                    "order_intended" => Some(format!("{name} {at} orders: {}", event["why"])),
                    "chain_staged" => Some(format!("{name} {at} lives {}", event["about"]["validity"])),
                    "order_abandoned" | "order_failed" => Some(format!("{name} {at} {event}")),
                    _ => None,
                }
            };
            records.filter_map(line).map(|line| line + "\n").collect::<String>()
        };
        names(&self.scale).map(of).collect()
    }

    /// How many orders were needed, by the dates of the certificates themselves: the first of each, and one more for each whose
    /// life was half over when its successor was ordered, which is the earliest that a schedule asks for.
    fn needed(&self) -> usize {
        let needed = |name: String| {
            let journal = self.scene.text(&format!("state/certs/{name}/journal.jsonl"));
            let records: Vec<Value> = journal.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let mut half: Option<jiff::Timestamp> = None;
            let mut needed = 0;
            let mut open = false;
            for record in &records {
                let at = record["at"].as_str().map(|at| at.parse::<jiff::Timestamp>().expect("a time"));
                match record["event"]["kind"].as_str() {
                    Some("order_intended") if !open && half.is_none_or(|half| at >= Some(half)) => {
                        (needed, open) = (needed + 1, true);
                    }
                    Some("chain_staged") => {
                        let window = &record["event"]["about"]["validity"];
                        let time =
                            |key: &str| window[key].as_str().map(|at| at.parse::<jiff::Timestamp>().expect("a time"));
                        let (start, end) = (time("start").expect("dates"), time("end").expect("dates"));
                        half = Some(start + (end.duration_since(start) / 2));
                    }
                    Some("accepted") => open = false,
                    _ => {}
                }
            }
            needed
        };
        names(&self.scale).map(needed).sum()
    }
}

/// A window for every other certificate, at half its life, which stands once it was told; for the others there is none.
fn windows(life: u64) -> Fault {
    let told: Mutex<HashMap<String, String>> = Mutex::default();
    Fault::change(move |asked, answer| {
        if asked.path.bytes().fold(0, u8::wrapping_add) % 2 == 0 {
            return Answer::new(404, "");
        }
        let mut told = told.lock().expect("no panic");
        let window = told.entry(asked.path.clone()).or_insert_with(|| {
            let now = jiff::Timestamp::now();
            let at = |percent: u64| now + Duration::from_millis(life * 10 * percent);
            format!(r#"{{"suggestedWindow":{{"start":"{}","end":"{}"}}}}"#, at(50), at(60))
        });
        Answer { status: 200, ..answer }.body(window.clone())
    })
}

fn names(scale: &Scale) -> impl Iterator<Item = String> + use<> {
    (0..scale.names).map(|number| format!("name{number}"))
}

/// A process that is killed when the test is done with it.
struct Guarded(Child);

impl Guarded {
    fn kill(mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

#[test]
fn killed_every_few_seconds_everything_stays_alive_and_hardly_an_order_is_wasted() {
    let farm = Farm::new(Scale::wanted());
    let begun = Instant::now();
    let mut kills = 0;
    let mut daemon = farm.begin("daemon");
    while begun.elapsed() < farm.scale.killing {
        // Sometimes the daemon, sometimes the run beside it, never at the same point of their work.
        std::thread::sleep(Duration::from_millis(2_500 + 370 * (kills % 7)));
        if kills % 3 == 2 {
            let run = farm.begin("run");
            std::thread::sleep(Duration::from_millis(150 + 130 * (kills % 5)));
            run.kill();
        } else {
            daemon.kill();
            daemon = farm.begin("daemon");
        }
        kills += 1;
    }
    // Left in peace, everything is live: each name was seen so since, and is served as it was published.
    let mut seen = BTreeSet::new();
    let all: BTreeSet<String> = names(&farm.scale).collect();
    let patience = Duration::from_secs(farm.scale.life * 2 + 60);
    let peace = Instant::now();
    let alive = wait_until(patience, || {
        seen.extend(farm.live());
        std::thread::sleep(Duration::from_millis(200));
        seen.len() == all.len()
    });
    let missing: Vec<&String> = all.difference(&seen).collect();
    let why = missing.first().map(|name| farm.scene.everleaf(&["why", name]).out);
    assert!(alive, "not live after {patience:?}: {missing:?}\n{why:?}\n{}", farm.scene.text("daemon.log"));
    // It may be renewed while it is looked at.
    for name in &all {
        let served = wait_until(patience, || farm.serves(name));
        assert!(served, "{name} is not served as it was published:\n{}", farm.scene.everleaf(&["why", name]).out);
    }
    daemon.kill();
    let (orders, issued, needed) = (farm.scene.pebble.orders(), farm.scene.pebble.issued(), farm.needed());
    let tally = format!(
        "{} names of {} s, {kills} kills in {:?}, live {:?} after: {orders} orders, {issued} certificates, {needed} needed",
        farm.scale.names,
        farm.scale.life,
        farm.scale.killing,
        peace.elapsed()
    );
    assert!(needed >= farm.scale.names * 3 / 2, "hardly anything was renewed: {tally}");
    assert!(orders * 100 <= needed * 105, "{tally}:\n{}", farm.orders());
}
