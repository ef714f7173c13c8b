//! Hooks around an order, and a process that is killed in its middle.

use crate::proving::{by_dns, dns_hook};
use crate::rig::scene::{Scene, ended};
use crate::rig::{PebbleOptions, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;
use std::time::Duration;

/// Long enough for whatever a test waits for.
const SOON: Duration = Duration::from_secs(60);

fn hooks(scene: &Scene) -> String {
    let noted = scene.path("noted").display().to_string();
    let note = scene.script("note", &format!("echo \"$EVERLEAF_EVENT $EVERLEAF_NAME\" >>{noted}"));
    let note = note.display();
    format!("    hooks: {{ pre: [{note}], post: [{note}] }}\n")
}

fn killed(child: Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGKILL).expect("it runs");
    assert_eq!(ended(child).exit, -1, "killed, not ended");
}

#[test]
fn pre_runs_before_an_order_and_post_after_it_each_once() {
    let scene = Scene::with_listener();
    let yaml = scene.unproven(&hooks(&scene));
    scene.run(&yaml).exits(0);
    assert_eq!(scene.text("noted"), "pre shop\npost shop\n");
    scene.run(&yaml).exits(0);
    assert_eq!(scene.text("noted"), "pre shop\npost shop\n", "nothing due, nothing run");
}

#[test]
fn a_pre_hook_that_fails_keeps_the_order_from_being_opened() {
    let scene = Scene::with_listener();
    let yaml = scene.unproven("    hooks: { pre: [\"false\"] }\n");
    let ran = scene.run(&yaml);
    assert_ne!(ran.exit, 0, "{ran:?}");
    assert!(ran.err.contains("pre"), "{}", ran.err);
    assert_eq!(scene.pebble.orders(), 0);
}

#[test]
fn killed_while_the_order_is_open_the_next_run_resumes_it_and_post_runs() {
    let scene = Scene::new(PebbleOptions::default());
    let blocked = scene.path("blocked").display().to_string();
    // The first call never ends; what everleaf leaves behind when it is killed ends by itself.
    let hook = dns_hook(&scene, &format!("[ -e {blocked} ] || {{ touch {blocked}; exec sleep 60; }}"));
    scene.configure(&by_dns(&scene, "shop.example.com", &hook, &hooks(&scene)));
    let child = scene.begin(&["run"]);
    assert!(wait_until(SOON, || scene.path("blocked").exists()), "the hook is called");
    killed(child);
    assert_eq!(scene.text("noted"), "pre shop\n");
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 0));

    scene.everleaf(&["run"]).exits(0);
    assert_eq!((scene.pebble.orders(), scene.pebble.issued()), (1, 1), "the order is resumed by its URL");
    assert!(scene.text("noted").ends_with("post shop\n"), "{}", scene.text("noted"));
    let events = scene.events("shop");
    assert!(events.contains(&"challenges_down".to_owned()), "{events:?}");
    assert_eq!(scene.status("shop")["stage"], "unproven");
}

#[test]
fn killed_in_a_post_hook_the_next_run_runs_it_again() {
    let scene = Scene::with_listener();
    let (begun, done) = (scene.path("begun").display().to_string(), scene.path("done").display().to_string());
    let post =
        scene.script("post", &format!("[ -e {begun} ] || {{ touch {begun}; exec sleep 60; }}\necho post >>{done}"));
    scene.configure(&scene.unproven(&format!("    hooks: {{ pre: [\"true\"], post: [{}] }}\n", post.display())));
    let child = scene.begin(&["run"]);
    assert!(wait_until(SOON, || scene.path("begun").exists()), "the hook is called");
    killed(child);
    assert_eq!(scene.text("done"), "");
    scene.everleaf(&["run"]).exits(0);
    assert_eq!(scene.text("done"), "post\n");
    assert_eq!(scene.pebble.orders(), 1);
}
