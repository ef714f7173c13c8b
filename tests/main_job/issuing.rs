//! From nothing to an accepted generation, and how a renewal comes about.

use crate::rig::scene::Scene;
use serde_json::Value;

fn number(certificate: &Value) -> u64 {
    let id = certificate["generation"]["id"].as_str().expect("a generation");
    id.split('-').next().and_then(|number| number.parse().ok()).expect("NUMBER-DIGEST")
}

#[test]
fn a_certificate_is_issued_judged_and_published() {
    let scene = Scene::with_listener();
    let ran = scene.run(&scene.unproven("")).exits(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "cron mails whatever is said");
    let shop = scene.status("shop");
    assert_eq!((&shop["stage"], &shop["outcome"]), (&"unproven".into(), &"installed".into()), "{shop:#}");
    for file in ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "bundle.pem"] {
        assert!(scene.path("live/shop").join(file).exists(), "{file}");
    }
    assert_eq!(scene.pebble.issued(), 1);
}

#[test]
fn nothing_is_done_twice() {
    let scene = Scene::with_listener();
    let yaml = scene.unproven("");
    scene.run(&yaml).exits(0);
    let journal = scene.events("shop");
    scene.everleaf(&["run", "--detailed-exitcode"]).exits(0);
    scene.everleaf(&["renew", "shop"]).exits(0);
    assert_eq!(scene.status("shop")["outcome"], "nothing_due");
    assert_eq!(scene.pebble.orders(), 1);
    // What was asked is written down; nothing else happened.
    let later: Vec<String> = scene.events("shop").split_off(journal.len());
    assert!(later.iter().all(|kind| kind.starts_with("ask")), "{later:?}");
}

#[test]
fn what_changed_can_be_told_by_the_exit_code() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    scene.everleaf(&["run", "--detailed-exitcode"]).exits(10);
    scene.everleaf(&["run", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_window_in_the_past_renews_once() {
    let scene = Scene::with_listener();
    let yaml = scene.unproven("");
    scene.run(&yaml).exits(0);
    let (first, leaf) = (scene.status("shop"), scene.leaf("shop"));
    let key = scene.text("live/shop/privkey.pem");
    scene.recall("shop", &leaf);
    scene.run(&yaml).exits(0);
    assert_eq!(number(&scene.status("shop")), number(&first) + 1);
    assert_ne!(scene.text("live/shop/privkey.pem"), key, "a new key each time by default");
    assert_ne!(scene.leaf("shop"), leaf);
    scene.run(&yaml).exits(0);
    assert_eq!(scene.pebble.issued(), 2);
}

#[test]
fn an_edited_specification_orders_anew_and_a_force_fires_once() {
    let scene = Scene::with_listener();
    let yaml = scene.unproven("");
    scene.run(&yaml).exits(0);
    let edited = yaml.replace("www.shop", "api.shop");
    scene.run(&edited).exits(0);
    let names = scene.status("shop")["names"].to_string();
    assert!(names.contains("api.shop.example.com"), "{names}");
    assert_eq!(scene.pebble.issued(), 2);

    scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    scene.run(&edited).exits(0);
    scene.everleaf(&["renew", "shop"]).exits(0);
    assert_eq!(scene.pebble.issued(), 3);
}
