//! Many at once: daemon, timer and hand are equal peers, and one lock stands between them.

use crate::rig::scene::{Scene, ended};
use crate::rig::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// Long enough for whatever a test waits for.
const SOON: Duration = Duration::from_secs(60);

/// Somebody at work on `shop`: its `pre` hook runs until it is let go.
struct Holder {
    scene: Scene,
    child: Child,
}

impl Holder {
    fn new() -> Self {
        let scene = Scene::easy();
        let (begun, go) = (scene.path("begun").display().to_string(), scene.path("go").display().to_string());
        // It ends by itself, should nobody let it go.
        let wait =
            format!("touch {begun}\nfor turn in $(seq 600); do [ ! -e {go} ] || exit 0; sleep 0.1; done\nexit 1");
        let pre = scene.script("pre", &wait).display().to_string();
        scene.configure(&scene.unproven(&format!("    hooks: {{ pre: [{pre}] }}\n")));
        let child = scene.begin(&["run"]);
        assert!(wait_until(SOON, || scene.path("begun").exists()), "the hook is called");
        Self { scene, child }
    }

    fn let_go(&self) {
        fs::write(self.scene.path("go"), "").expect("a file");
    }

    fn kill(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), Signal::SIGKILL).expect("it runs");
    }
}

#[test]
fn twenty_at_once_open_one_order() {
    let scene = Scene::with_listener();
    scene.configure(&scene.unproven(""));
    let begin =
        |turn: usize| if turn.is_multiple_of(2) { scene.begin(&["run"]) } else { scene.begin(&["renew", "shop"]) };
    let children: Vec<Child> = (0..20).map(begin).collect();
    for child in children {
        ended(child).exits(0);
    }
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1));
    scene.everleaf(&["run"]).exits(0);
    assert_eq!(scene.status("shop")["stage"], "unproven");
    assert_eq!(scene.pebble.orders(), 1);
}

#[test]
fn a_run_that_meets_a_lock_says_so_in_one_line_and_is_content() {
    let holder = Holder::new();
    let ran = holder.scene.everleaf(&["run"]).exits(0);
    let pid = holder.child.id().to_string();
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.contains("shop") && ran.err.contains(&pid), "who is at work on what: {}", ran.err);
    holder.let_go();
    ended(holder.child).exits(0);
    assert_eq!(holder.scene.pebble.orders(), 1);
}

#[test]
fn who_does_not_wait_is_told_to_come_back() {
    let holder = Holder::new();
    let begun = Instant::now();
    let ran = holder.scene.everleaf(&["renew", "shop", "--no-wait"]).exits(75);
    assert!(ran.err.contains("shop"), "{}", ran.err);
    assert!(begun.elapsed() < Duration::from_secs(20), "it did not wait");
    holder.let_go();
    ended(holder.child).exits(0);
    // The request was kept, and done by whoever was at work.
    holder.scene.everleaf(&["run"]).exits(0);
    let requests = fs::read_dir(holder.scene.path("state/certs/shop/requests"));
    assert_eq!(requests.map_or(0, Iterator::count), 0, "no request is left");
    assert_eq!(holder.scene.pebble.orders(), 1);
}

#[test]
fn a_renewal_by_hand_follows_whoever_is_at_work() {
    let holder = Holder::new();
    let follower = holder.scene.begin(&["-v", "renew", "shop"]);
    std::thread::sleep(Duration::from_secs(1));
    holder.let_go();
    ended(holder.child).exits(0);
    let shown = ended(follower).exits(0);
    assert!(shown.err.contains("shop"), "it shows what the holder does: {}", shown.err);
    assert_eq!((holder.scene.pebble.orders(), holder.scene.pebble.issued()), (1, 1));
}

#[test]
fn when_the_holder_is_killed_the_next_goes_on_at_once() {
    let holder = Holder::new();
    let follower = holder.scene.begin(&["renew", "shop"]);
    std::thread::sleep(Duration::from_millis(500));
    // Its hook lives on for a while, and must not keep the lock.
    holder.kill();
    holder.let_go();
    let killed = Instant::now();
    ended(follower).exits(0);
    assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", killed.elapsed());
    ended(holder.child);
    assert_eq!((holder.scene.pebble.orders(), holder.scene.pebble.issued()), (1, 1));
}
