//! Daemon, timer and hand are equal peers: whatever they do at once, and whatever becomes of one of them, no order is made twice,
//! nobody waits for the dead, and what readers read is whole.

use crate::daemon::{SOON, Watched};
use crate::rig::scene::{Scene, ended, everleaf};
use crate::rig::{require, snapshot, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A scene whose `pre` hook runs until it is let go, with further lines of the certificate and of the configuration.
struct Gate {
    scene: Scene,
}

impl Gate {
    fn new(more: &str) -> Self {
        let scene = Scene::easy();
        let (begun, go) = (scene.path("begun").display().to_string(), scene.path("go").display().to_string());
        // It ends by itself, should nobody let it go.
        let wait =
            format!("echo $$ >>{begun}\nfor turn in $(seq 900); do [ ! -e {go} ] || exit 0; sleep 0.1; done\nexit 1");
        let pre = scene.script("pre", &wait).display().to_string();
        scene.configure(&format!("{}{more}", scene.unproven(&format!("    hooks: {{ pre: [{pre}] }}\n"))));
        Self { scene }
    }

    fn await_hook(&self) {
        assert!(wait_until(SOON, || !self.scene.text("begun").is_empty()), "the hook is called");
    }

    fn open(&self) {
        fs::write(self.scene.path("go"), "").expect("a file");
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
}

/// How many requests were made of `shop`: those that lie there, and those in the journal.
fn requests(scene: &Scene) -> usize {
    let waiting = fs::read_dir(scene.path("state/certs/shop/requests"))
        .map_or(0, |dir| dir.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with("..")).count());
    waiting + scene.events("shop").iter().filter(|kind| *kind == "asked").count()
}

#[test]
fn twenty_at_once_of_every_kind_make_one_order() {
    let gate = Gate::new("");
    let scene = &gate.scene;
    let begin = |turn: usize| match turn % 4 {
        0 => scene.begin(&["run"]),
        1 => scene.begin(&["renew", "shop"]),
        2 => scene.begin(&["renew", "shop", "--force", "--yes"]),
        _ => scene.begin(&["daemon"]),
    };
    let children: Vec<(usize, Child)> = (0..20).map(|turn| (turn, begin(turn))).collect();
    gate.await_hook();
    assert!(wait_until(SOON, || requests(scene) >= 10), "all ten have asked: {}", requests(scene));
    gate.open();
    let (daemons, others): (Vec<_>, Vec<_>) = children.into_iter().partition(|(turn, _)| turn % 4 == 3);
    for (_, child) in others {
        ended(child).exits(0);
    }
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1), "{:?}", scene.events("shop"));
    // One of the daemons is the daemon; the others have said so and ended.
    let mut daemons: Vec<Child> = daemons.into_iter().map(|(_, child)| child).collect();
    let mut running =
        || daemons.iter_mut().filter_map(|it| it.try_wait().expect("it can be asked").is_none().then_some(())).count();
    assert!(wait_until(SOON, || running() == 1), "one daemon");
    for mut child in daemons {
        if child.try_wait().expect("it can be asked").is_none() {
            signal(&child, Signal::SIGTERM);
            ended(child).exits(0);
        } else {
            ended(child).exits(1);
        }
    }
    scene.everleaf(&["run"]).exits(0);
    assert_eq!((scene.pebble.orders(), requests(scene) >= 10), (1, true));
    assert_eq!(fs::read_dir(scene.path("state/certs/shop/requests")).map_or(0, Iterator::count), 0, "none is left");
}

#[test]
fn who_forces_while_a_run_works_gets_what_that_brings_and_who_forces_later_another() {
    let gate = Gate::new("");
    let scene = &gate.scene;
    let run = scene.begin(&["run"]);
    gate.await_hook();
    let forced: Vec<Child> = (0..3).map(|_| scene.begin(&["renew", "shop", "--force", "--yes"])).collect();
    assert!(wait_until(SOON, || requests(scene) == 3), "all have asked");
    gate.open();
    for child in forced {
        ended(child).exits(0);
    }
    ended(run).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1), "{:?}", scene.events("shop"));
    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (2, 2));
}

#[test]
fn twenty_forces_at_a_ca_that_refuses_are_one_order_not_twenty() {
    let scene = Scene::new(crate::rig::PebbleOptions {
        validation: crate::rig::Validation::Prompt,
        serve_http01: true,
        ..crate::rig::PebbleOptions::default()
    });
    // Nobody answers the challenge: every order fails, and says so only after a while.
    let webroot = scene.path("webroot");
    fs::create_dir(&webroot).expect("a directory");
    let yaml = scene
        .unproven("")
        .replace(&scene.solver(), &format!("solver: {{ http-01: {{ webroot: {} }} }}", webroot.display()));
    scene.configure(&yaml);
    let children: Vec<Child> = (0..20).map(|_| scene.begin(&["renew", "shop", "--force"])).collect();
    let exits: Vec<i32> = children.into_iter().map(|child| ended(child).exit).collect();
    assert!(exits.iter().all(|exit| *exit != 0), "{exits:?}");
    // Who asks after the first has failed is entitled to a try of their own; at once that is not twenty.
    assert!((1..=4).contains(&scene.pebble.orders()), "{} orders", scene.pebble.orders());
}

#[test]
fn a_daemon_goes_on_at_once_when_who_holds_the_lock_is_killed() {
    let gate = Gate::new("");
    let scene = &gate.scene;
    let run = scene.begin(&["run"]);
    gate.await_hook();
    let daemon = Watched::start(scene);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(scene.text("begun").lines().count(), 1, "the lock holds");
    gate.open();
    signal(&run, Signal::SIGKILL);
    let killed = Instant::now();
    assert!(wait_until(SOON, || scene.pebble.issued() == 1), "{:?}", daemon.told());
    assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", killed.elapsed());
    daemon.stop().exits(0);
    ended(run);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1));
}

#[test]
fn a_holder_that_is_stopped_for_hours_is_told_of_and_then_does_no_harm() {
    let gate = Gate::new("limits: { run: 5s }\n");
    let scene = &gate.scene;
    let run = scene.begin(&["run"]);
    gate.await_hook();
    signal(&run, Signal::SIGSTOP);
    // At first it may just be at work.
    let polite = scene.everleaf(&["run"]).exits(0);
    assert_eq!(polite.err.lines().count(), 1, "{}", polite.err);
    std::thread::sleep(Duration::from_secs(6));
    let alarmed = scene.everleaf(&["run"]).exits(75);
    let pid = run.id().to_string();
    let words = scene.plain(&alarmed.err.replace(&format!("kill {pid}"), "kill PID"));
    let since = regex::Regex::new(r"since \d+s").expect("valid");
    snapshot("hostile/messages/stuck-holder", &since.replace_all(&words, "since SPAN"));
    // A daemon tells of it too, once.
    let mut daemon = Watched::start(scene);
    std::thread::sleep(Duration::from_secs(5));
    daemon.signal(Signal::SIGTERM);
    let told = daemon.ended().exits(0);
    assert_eq!(told.err.matches("longer than a run may take").count(), 1, "{}", told.err);

    // Woken up, its time is over: it begins nothing, and its hook ends with it.
    let hooks = scene.text("begun");
    signal(&run, Signal::SIGCONT);
    let woken = Instant::now();
    let ran = ended(run);
    assert!(woken.elapsed() < Duration::from_secs(30), "{:?}: {ran:?}", woken.elapsed());
    let hook = format!("/proc/{}", hooks.trim());
    assert!(wait_until(SOON, || !Path::new(&hook).exists()), "the hook ended with it");
    assert_eq!(scene.pebble.orders(), 0);
    gate.open();
    scene.everleaf(&["run"]).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1));
}

#[test]
fn stopped_anywhere_in_an_order_it_goes_on_as_if_nothing_had_been() {
    let scene = Scene::with_listener();
    scene.configure(&format!("{}limits: {{ run: 5s }}\n", scene.unproven("")));
    scene.everleaf(&["run"]).exits(0);
    for (turn, delay) in [40, 120, 250, 450].into_iter().enumerate() {
        let renewal = scene.begin(&["renew", "shop", "--force"]);
        std::thread::sleep(Duration::from_millis(delay));
        signal(&renewal, Signal::SIGSTOP);
        // Longer than its deadline, once; peers come by meanwhile and do not wait for it.
        std::thread::sleep(Duration::from_secs(if turn == 1 { 6 } else { 1 }));
        let passing = scene.everleaf(&["run"]);
        assert!([0, 75].contains(&passing.exit), "{passing:?}");
        signal(&renewal, Signal::SIGCONT);
        ended(renewal);
        scene.everleaf(&["run"]).exits(0);
        let expected = turn + 2;
        // A reply that was on its way when the deadline passed is lost, and costs an order that nobody uses.
        let lost = scene.events("shop").iter().filter(|kind| *kind == "order_abandoned").count();
        assert_eq!(scene.pebble.issued(), expected, "stopped after {delay} ms: {:?}", scene.events("shop"));
        assert!(
            lost <= 1 && scene.pebble.orders() <= expected + lost,
            "{}: {:?}",
            scene.pebble.orders(),
            scene.events("shop")
        );
        assert_eq!(scene.status("shop")["order"], Value::Null);
    }
}

#[test]
fn the_program_replaced_while_it_works_goes_on_and_is_never_started_half_written() {
    let gate = Gate::new("");
    let scene = &gate.scene;
    let bin = scene.path("bin");
    fs::create_dir(&bin).expect("a directory");
    let program = bin.join("everleaf");
    fs::copy(everleaf(), &program).expect("a copy");
    let begin = |arguments: &[&str]| {
        let mut command = Command::new(require("setpriv"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
        scene.finish(&mut command, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("everleaf starts")
    };
    let daemon = begin(&["daemon"]);
    gate.await_hook();
    let renewal = begin(&["renew", "shop"]);
    assert!(wait_until(SOON, || requests(scene) == 1), "it has asked");
    // What lies there now tells whoever starts it, and is not even a program.
    let marker = scene.path("started");
    let next = bin.join("everleaf.new");
    fs::write(&next, format!("#!/bin/sh\n: >{}\nexit 70\n", marker.display())).expect("a file");
    assert!(Command::new("chmod").arg("755").arg(&next).status().expect("chmod").success());
    fs::rename(&next, &program).expect("replaced");
    signal(&daemon, Signal::SIGHUP);
    gate.open();
    ended(renewal).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1));
    signal(&daemon, Signal::SIGTERM);
    ended(daemon).exits(0);
    assert!(!marker.exists(), "nobody starts the program anew");
}

#[test]
fn forgotten_beside_a_daemon_nothing_comes_back() {
    let scene = Scene::easy();
    let other = |name: &str| {
        let listen = scene.solver();
        format!(
            "  - {{ name: {name}, names: [{name}.example.com], issuer: pebble, nodes: [local], confirm: none, {listen} }}\n"
        )
    };
    scene.configure(&scene.unproven(&other("gone")));
    let daemon = Watched::start(&scene);
    daemon.hears("STATUS=2 certificates: ");
    assert!(
        wait_until(SOON, || scene.pebble.issued() == 2 && scene.path("live/gone/cert.pem").exists()),
        "{:?}",
        daemon.told()
    );
    scene.configure(&scene.unproven(""));
    daemon.signal(Signal::SIGHUP);
    daemon.hears_again("READY=1", 1);
    scene.everleaf(&["forget", "gone", "--yes"]).exits(0);
    scene.everleaf(&["renew", "shop"]).exits(0);
    std::thread::sleep(Duration::from_secs(3));
    for place in ["state/certs/gone", "live/gone"] {
        assert!(!scene.path(place).exists(), "{place}");
    }
    let known = scene.everleaf(&["status", "--json"]).exits(0).json();
    let names: Vec<&str> =
        known["certificates"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["shop"]);
    daemon.stop().exits(0);
}

#[test]
fn a_configuration_edited_while_a_run_works_means_the_next_one() {
    let gate = Gate::new("");
    let scene = &gate.scene;
    let before = fs::read_to_string(scene.config()).expect("the configuration");
    let run = scene.begin(&["run"]);
    gate.await_hook();
    scene.configure(&before.replace("www.shop.example.com", "new.shop.example.com"));
    gate.open();
    ended(run).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1), "it finished what it began");
    scene.everleaf(&["run"]).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (2, 2), "and the next run saw the edit");
    let names = scene.status("shop")["names"].to_string();
    assert!(names.contains("new.shop"), "{names}");
}

/// What people and timers do, all at once.
const COMMANDS: [&[&str]; 6] =
    [&["run"], &["renew", "shop"], &["deploy", "shop"], &["rollback", "shop"], &["run"], &["renew", "shop", "--force"]];

#[test]
fn all_at_once_beside_a_daemon_and_readers_never_meet_half_a_file() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let daemon = Watched::start(&scene);
    daemon.hears("1 installed, unproven");
    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    let over = Arc::new(AtomicBool::new(false));
    let files = [scene.path("run/status.json"), scene.path("state/index.json")];
    let (ends, read) = (Arc::clone(&over), files.clone());
    let reader = std::thread::spawn(move || {
        let mut looks = 0_u32;
        while !ends.load(Ordering::Relaxed) {
            for file in &read {
                let text = fs::read(file).expect("it is always there");
                serde_json::from_slice::<Value>(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
            looks += 1;
        }
        looks
    });
    for _ in 0..3 {
        let children: Vec<Child> = COMMANDS.iter().map(|arguments| scene.begin(arguments)).collect();
        for child in children {
            let ran = ended(child);
            assert_eq!(ran.exit, 0, "{ran:?}");
        }
    }
    over.store(true, Ordering::Relaxed);
    assert!(reader.join().expect("every file was whole") > 10);
    daemon.stop().exits(0);
    scene.everleaf(&["run"]).exits(0);
    scene.everleaf(&["check"]).exits(0);
    assert_eq!(scene.pebble.orders(), scene.pebble.issued());
    assert!(scene.pebble.orders() <= 2 + 3, "a force an order: {}", scene.pebble.orders());
}

#[test]
fn a_run_with_splay_waits_before_it_takes_any_lock() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    let begun = Instant::now();
    let waiting = scene.begin(&["-v", "run", "--splay", "4s"]);
    scene.everleaf(&["run"]).exits(0);
    let ran = ended(waiting).exits(0);
    assert!(begun.elapsed() < SOON && ran.err.starts_with("starting in "), "{}", ran.err);
    assert_eq!(scene.pebble.orders(), 1);
    let refused = scene.everleaf(&["run", "--splay", "2d"]).exits(64);
    assert_eq!(refused.err.trim(), "everleaf: --splay takes a day at most");
}
