//! `everleaf daemon` as a supervisor sees it: what it says, when it ends, how it reads its configuration anew.

use crate::rig::scene::{Ran, Scene, ended, everleaf};
use crate::rig::{require, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for whatever a test waits for, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The watchdog of these tests.
const WATCHDOG: Duration = Duration::from_secs(2);

/// A daemon with a supervisor that writes down what it is told.
pub(crate) struct Watched {
    child: Option<Child>,
    told: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Watched {
    /// Starts `everleaf daemon` and waits until it is ready.
    pub(crate) fn start(scene: &Scene) -> Self {
        let watched = Self::begin(scene, &["daemon"]);
        watched.hears("READY=1");
        watched
    }

    pub(crate) fn begin(scene: &Scene, arguments: &[&str]) -> Self {
        let place = scene.path(&format!("notify-{}", fs::read_dir(scene.path("")).map_or(0, Iterator::count)));
        let socket = UnixDatagram::bind(&place).expect("a socket");
        let told: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(length) = socket.recv(&mut octets) {
                let text = String::from_utf8_lossy(&octets[..length]).into_owned();
                heard.lock().expect("no panic").push((Instant::now(), text));
            }
        });
        let mut command = Command::new(require("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(everleaf());
        scene.finish(&mut command, arguments);
        command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("everleaf starts");
        Self { child: Some(child), told }
    }

    pub(crate) fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("it was started");
        Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// What the supervisor was told, in order.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().expect("no panic").iter().map(|(_, text)| text.clone()).collect()
    }

    /// Waits until the supervisor was told `what`, once more than it was `before`.
    #[track_caller]
    pub(crate) fn hears_again(&self, what: &str, before: usize) {
        let heard = wait_until(SOON, || self.count(what) > before);
        assert!(heard, "{what} is not said: {:?}", self.told());
    }

    #[track_caller]
    pub(crate) fn hears(&self, what: &str) {
        self.hears_again(what, 0);
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.told().iter().filter(|text| text.lines().any(|line| line.contains(what))).count()
    }

    /// The longest silence of the watchdog up to now.
    fn silence(&self) -> Duration {
        let told = self.told.lock().expect("no panic");
        let beats: Vec<Instant> =
            told.iter().filter(|(_, text)| text == "WATCHDOG=1").map(|(at, _)| *at).chain([Instant::now()]).collect();
        beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
    }

    pub(crate) fn ended(&mut self) -> Ran {
        ended(self.child.take().expect("it was started"))
    }

    /// Ends it as systemd does, and waits for its end.
    pub(crate) fn stop(mut self) -> Ran {
        self.signal(Signal::SIGTERM);
        self.ended()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_daemon_says_how_it_is_and_renews_when_it_is_asked_to() {
    let scene = Scene::with_listener();
    scene.configure(&scene.unproven(""));
    let daemon = Watched::start(&scene);
    daemon.hears("STATUS=1 certificate: 1 installed, unproven");
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1));
    let status = scene.everleaf(&["status", "--json"]).exits(0).json();
    assert_eq!((status["run"]["daemon"].as_bool(), status["run"]["interval"].as_u64()), (Some(true), Some(3600)));
    scene.everleaf(&["check"]).exits(0);

    let first = scene.leaf("shop");
    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    assert_ne!(scene.leaf("shop"), first);
    assert_eq!(scene.pebble.orders(), 2);

    // It is alive all the time, and says so in time.
    std::thread::sleep(WATCHDOG);
    assert!(daemon.count("WATCHDOG=1") >= 2 && daemon.silence() < WATCHDOG, "{:?}", daemon.told());
    let ran = daemon.stop().exits(0);
    assert!(ran.err.contains("told to end"), "{}", ran.err);
}

#[test]
fn a_request_that_nobody_works_on_is_done_within_seconds() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let daemon = Watched::start(&scene);
    daemon.hears("1 installed, unproven");
    // Whoever asks dies before it gets to work: it is stopped right after it has dropped its request.
    let request = r#"{"id":"00000000000000000000000000000001","by":"a test","ask":{"ask":"renew","force":true,"new_key":false,"yes":false}}"#;
    drop_request(&scene, request);
    fs::remove_file(scene.path("state/index.json")).expect("the index");
    assert!(wait_until(SOON, || scene.pebble.issued() == 2), "{:?}", scene.events("shop"));
    daemon.stop().exits(0);
}

fn drop_request(scene: &Scene, request: &str) {
    let dir = scene.path("state/certs/shop/requests");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("00000000000000000000000000000001.json"), request).expect("a file");
}

/// A `pre` hook that says that it began and waits until it is let go, `seconds` at most.
fn slow_hook(scene: &Scene) -> String {
    let (begun, go) = (scene.path("begun").display().to_string(), scene.path("go").display().to_string());
    let wait = format!("echo $$ >{begun}\nfor turn in $(seq 600); do [ ! -e {go} ] || exit 0; sleep 0.1; done\nexit 1");
    scene.script("pre", &wait).display().to_string()
}

/// A daemon whose `pre` hook is under way.
fn at_work() -> (Scene, Watched) {
    let scene = Scene::easy();
    let pre = slow_hook(&scene);
    scene.configure(&scene.unproven(&format!("    hooks: {{ pre: [{pre}] }}\n")));
    let daemon = Watched::start(&scene);
    assert!(wait_until(SOON, || !scene.text("begun").is_empty()), "the hook is called");
    (scene, daemon)
}

#[test]
fn told_to_end_it_finishes_what_is_under_way_and_begins_nothing() {
    let (scene, mut daemon) = at_work();
    daemon.signal(Signal::SIGTERM);
    daemon.hears("STOPPING=1");
    std::thread::sleep(WATCHDOG);
    assert!(daemon.silence() < WATCHDOG, "it is alive while it waits: {:?}", daemon.told());
    fs::write(scene.path("go"), "").expect("a file");
    daemon.ended().exits(0);
    assert!(scene.events("shop").contains(&"pre_done".to_owned()), "{:?}", scene.events("shop"));
    assert_eq!(scene.pebble.orders(), 0, "nothing new was begun");
    scene.everleaf(&["run"]).exits(0);
    assert_eq!(scene.pebble.orders(), 1);
}

#[test]
fn told_twice_to_end_it_ends_at_once_with_its_hooks() {
    let (scene, mut daemon) = at_work();
    let hook = format!("/proc/{}", scene.text("begun").trim());
    assert!(fs::exists(&hook).expect("/proc"), "the hook runs");
    daemon.signal(Signal::SIGINT);
    daemon.hears("STOPPING=1");
    let begun = Instant::now();
    daemon.signal(Signal::SIGTERM);
    daemon.ended().exits(75);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(wait_until(SOON, || !fs::exists(&hook).expect("/proc")), "the hook ended with it");
}

#[test]
fn a_broken_configuration_is_told_of_and_the_old_one_stays_in_force() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let mut daemon = Watched::start(&scene);
    daemon.hears("1 installed, unproven");
    scene.configure(&scene.unproven("    keey: ecdsa\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.hears("an earlier one is in force");
    assert_eq!((daemon.count("RELOADING=1"), daemon.count("READY=1")), (1, 2));
    assert_eq!(daemon.count("MONOTONIC_USEC="), 1);

    let other =
        "  - { name: other, names: [other.example.com], issuer: pebble, nodes: [local], confirm: none,\n      solver:";
    let solver = scene.solver();
    let listen = solver.strip_prefix("solver:").expect("a solver");
    scene.configure(&scene.unproven(&format!("{other}{listen} }}\n")));
    daemon.signal(Signal::SIGHUP);
    daemon.hears("STATUS=2 certificates: 1 installed, unproven, 1 with nothing due");
    assert_eq!(scene.pebble.orders(), 2);
    daemon.signal(Signal::SIGTERM);
    let ran = daemon.ended().exits(0);
    crate::rig::snapshot("hostile/messages/daemon-reload", &scene.plain(&ran.err));
}

#[test]
fn an_edit_during_work_waits_until_that_is_done() {
    let (scene, daemon) = at_work();
    scene.configure(&scene.unproven("    key: rsa-2048\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.hears_again("READY=1", 1);
    fs::write(scene.path("go"), "").expect("a file");
    daemon.hears("1 installed, unproven");
    let key = fs::read(scene.path("live/shop/privkey.pem")).expect("a key");
    assert!(key.len() > 1_000, "an RSA key, as was asked for meanwhile");
    assert_eq!(scene.pebble.orders(), 1);
    daemon.stop().exits(0);
}

#[test]
fn a_state_directory_has_one_daemon() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let mut daemon = Watched::start(&scene);
    let second = scene.everleaf(&["daemon"]).exits(1);
    crate::rig::snapshot("hostile/messages/daemon-second", &scene.plain(&second.err));
    daemon.signal(Signal::SIGKILL);
    daemon.ended();
    let third = Watched::start(&scene);
    third.hears("1 certificate:");
    third.stop().exits(0);
}

/// Has the daemon look at everything once more.
fn look_again(daemon: &Watched) {
    let before = daemon.count("STATUS=1 certificate");
    let passes = daemon.count("with nothing due") + daemon.count("tried again") + daemon.count("installed");
    daemon.signal(Signal::SIGHUP);
    let all = || daemon.count("with nothing due") + daemon.count("tried again") + daemon.count("installed");
    assert!(wait_until(SOON, || all() >= passes + 2), "{before}: {:?}", daemon.told());
}

#[test]
fn hundreds_of_passes_leave_nothing_behind() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let daemon = Watched::start(&scene);
    daemon.hears("1 installed, unproven");
    let used = || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("/proc").count();
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("/proc");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        (open, memory.trim().trim_end_matches(" kB").parse::<u64>().expect("a number"))
    };
    let (first, rest) = if std::env::var_os("EVERLEAF_FULL").is_some() { (100, 2_000) } else { (30, 200) };
    (0..first).for_each(|_| look_again(&daemon));
    let before = used();
    (0..rest).for_each(|_| look_again(&daemon));
    let after = used();
    assert!(after.0 <= before.0 + 1, "descriptors: {before:?}, {after:?}");
    assert!(after.1 <= before.1 + 4_096, "memory in kB: {before:?}, {after:?}");
    daemon.stop().exits(0);
}

#[test]
fn what_lasts_is_logged_once_and_nobody_need_read_it() {
    let scene = Scene::easy();
    let nowhere = crate::rig::free_port();
    let directory = format!("https://127.0.0.1:{nowhere}/dir");
    let yaml = scene.unproven("").replace(&scene.preamble(), &scene.preamble_at(&directory));
    scene.configure(&yaml);
    let mut daemon = Watched::start(&scene);
    daemon.hears("1 tried again later");
    (0..5).for_each(|_| look_again(&daemon));
    daemon.signal(Signal::SIGTERM);
    let ran = daemon.ended().exits(0);
    assert_eq!(ran.err.matches(&nowhere.to_string()).count(), 1, "{}", ran.err);

    // The same with a log that nobody reads any more.
    let mut daemon = Watched::begin(&scene, &["-v", "daemon"]);
    drop(daemon.child.as_mut().and_then(|child| child.stderr.take()));
    daemon.hears("1 tried again later");
    (0..3).for_each(|_| look_again(&daemon));
    daemon.stop().exits(0);
}
