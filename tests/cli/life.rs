//! One certificate's life by hand and by cron, against a real CA.

use crate::desk::{Desk, mode};
use crate::rig::{Pebble, PebbleOptions, Validation, wait_until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn configured(desk: &Desk, pebble: &Pebble, reload: &str) {
    let (directory, bundle, roots) = (pebble.directory(), pebble.tls_root_file(), pebble.issuing_root_file());
    let webroot = desk.path("webroot");
    fs::create_dir_all(&webroot).expect("made");
    desk.configure(&format!(
        "resolvers: ['{}']
metrics: {}
issuers:
  ca:
    directory: {directory}
    ca_bundle: {}
    roots: {}
    profile: default
    agree_to_terms: true
    dry_run: {{ directory: '{directory}', ca_bundle: {}, roots: {} }}
nodes:
  edge: {{ type: local, live: {}, check: ['true'], reload: {reload} }}
certificates:
  - {{ name: shop, names: [shop.example.com], issuer: ca, solver: {{ http-01: {{ webroot: {} }} }}, nodes: [edge], confirm: none }}
",
        pebble.challenges.dns,
        desk.path("everleaf.prom").display(),
        bundle.display(),
        roots.display(),
        bundle.display(),
        roots.display(),
        desk.path("live").display(),
        webroot.display(),
    ));
}

fn outcome(document: &Value) -> (&str, &str) {
    let shop = &document["certificates"][0];
    (shop["outcome"].as_str().expect("a word"), shop["stage"].as_str().expect("a word"))
}

fn all_text(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).expect("read").flatten() {
        if entry.path().is_file() {
            text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).expect("read")));
        }
    }
    text
}

#[test]
fn from_nothing_to_installed_renewed_rolled_back_and_forgotten() {
    let pebble = Pebble::start(PebbleOptions { validation: Validation::Never, ..PebbleOptions::default() });
    let desk = Desk::new("");
    configured(&desk, &pebble, "none");

    let rehearsed = desk.run(&["renew", "shop", "--dry-run"]);
    assert_eq!(rehearsed.code, 0, "{rehearsed:?}");
    assert!(rehearsed.out.contains("accepted by the gate") && rehearsed.out.contains("Not exercised"), "{rehearsed:?}");
    assert!(
        !desk.path("live/shop").exists() && !desk.path("run/status.json").exists(),
        "a rehearsal publishes nothing"
    );

    assert!(desk.run(&["plan"]).out.contains("there is no certificate yet"));
    let first = desk.run(&["run", "--detailed-exitcode", "--json"]);
    assert_eq!((first.code, first.err.as_str()), (10, ""), "{first:?}");
    assert_eq!(outcome(&first.json()), ("installed", "unproven"));
    assert_eq!(mode(&desk.path("live/shop/privkey.pem")) & 0o007, 0);
    assert!(!all_text(&desk.path("run")).contains("PRIVATE") && !all_text(&desk.path("run")).contains("hmac"));

    let second = desk.run(&["run", "--detailed-exitcode", "--json"]);
    assert_eq!((second.code, outcome(&second.json())), (0, ("nothing_due", "unproven")));
    let orders = pebble.orders();

    let forced = desk.run(&["renew", "shop", "--force", "--json"]);
    assert_eq!((forced.code, outcome(&forced.json())), (0, ("installed", "unproven")));
    assert!(forced.err.contains("shop: one more order"), "its cost is said before: {forced:?}");
    assert_eq!(pebble.orders(), orders + 1);

    let newest = forced.json()["certificates"][0]["generation"]["id"].clone();
    let back = desk.run(&["rollback", "shop", "--json"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_ne!(back.json()["certificates"][0]["generation"]["id"], newest);
    assert!(back.json()["certificates"][0]["renewal"].is_object(), "a rollback still says when it is renewed");
    let unknown = desk.run(&["rollback", "shop", "--to", "0099-aaaaaaaa"]);
    assert!(unknown.code == 1 && unknown.err.contains("refused"), "{unknown:?}");
    assert_eq!(desk.run(&["deploy", "shop"]).code, 0);
    assert_eq!(pebble.orders(), orders + 1, "neither asks the CA");

    let account = desk.run(&["account", "show", "--json"]).json();
    assert_eq!(account["accounts"][0]["thumbprint"].as_str().map(str::len), Some(43));
    let story = desk.run(&["why", "shop"]).out;
    assert!(story.contains("installed, unproven") && story.lines().all(|line| line.chars().count() <= 80), "{story}");

    desk.configure("");
    assert_eq!(desk.run(&["run"]).code, 0);
    assert!(desk.path("live/shop").exists(), "what is published stays until it is forgotten");
    assert_eq!(desk.run(&["forget", "shop"]).code, 64, "nobody can be asked");
    assert_eq!(desk.run(&["forget", "shop", "--yes"]).code, 0);
    assert!(!desk.path("live/shop").exists() && !desk.path("state/certs/shop").exists());
    assert_eq!(desk.run(&["status", "--json"]).json()["certificates"], serde_json::json!([]));
}

#[test]
fn a_reload_that_fails_exits_20_with_one_clear_line_and_is_mended_by_a_plain_run() {
    let pebble = Pebble::start(PebbleOptions { validation: Validation::Never, ..PebbleOptions::default() });
    let desk = Desk::new("");
    configured(&desk, &pebble, "{ exec: ['false'] }");
    let failed = desk.run(&["run"]);
    assert_eq!((failed.code, failed.out.as_str()), (20, ""), "{failed:?}");
    assert_eq!(failed.err.lines().count(), 1, "{}", failed.err);
    assert!(failed.err.starts_with("everleaf: shop: ") && failed.err.contains("edge"), "{}", failed.err);
    let check = desk.run(&["check"]);
    assert!(check.code == 1 && check.out.starts_with("EVERLEAF WARNING - shop: "), "{check:?}");
    let story = desk.run(&["why", "shop"]).out;
    assert!(story.contains("What stands in the way") && story.contains("everleaf deploy shop --to edge"), "{story}");
    let orders = pebble.orders();
    configured(&desk, &pebble, "none");
    let mended = desk.run(&["run"]);
    assert_eq!((mended.code, mended.err.as_str()), (0, ""), "{mended:?}");
    assert_eq!(pebble.orders(), orders, "a failed reload never causes an order");
}

#[test]
fn a_ca_that_is_away_exits_75_and_tries_again_later() {
    let mut pebble = Pebble::start(PebbleOptions { validation: Validation::Never, ..PebbleOptions::default() });
    let desk = Desk::new("");
    configured(&desk, &pebble, "none");
    pebble.stop();
    let away = desk.run(&["run", "--json"]);
    assert_eq!((away.code, outcome(&away.json()).0), (75, "temporary"), "{away:?}");
    assert!(away.err.starts_with("everleaf: shop: "), "{}", away.err);
    let again = desk.run(&["run"]);
    assert_eq!(again.code, 75, "its trouble is not forgotten by a run that does not try: {again:?}");
}

#[test]
fn a_second_everleaf_leaves_follows_or_gives_up_as_asked() {
    let pebble = Pebble::start(PebbleOptions { validation: Validation::Never, ..PebbleOptions::default() });
    let desk = Desk::new("");
    configured(&desk, &pebble, "{ exec: [sleep, '6'] }");
    let mut holder = desk.command(&["run"]).spawn().expect("it runs");
    let published = || desk.path("live/shop/fullchain.pem").exists();
    assert!(wait_until(Duration::from_secs(30), published), "the holder publishes");

    let passing = desk.run(&["run"]);
    assert_eq!(passing.code, 0, "{passing:?}");
    assert_eq!(passing.err.lines().count(), 1, "{}", passing.err);
    assert!(passing.err.contains("is at work on it since"), "{}", passing.err);

    let impatient = desk.run(&["deploy", "shop", "--no-wait"]);
    assert!(impatient.code == 75 && impatient.err.contains("the request is kept"), "{impatient:?}");
    assert!(holder.try_wait().expect("asked").is_none(), "the holder was still at work");

    let patient = desk.run(&["renew", "shop", "-v"]);
    assert_eq!(patient.code, 0, "{patient:?}");
    assert!(patient.err.contains("reloaded"), "what the holder did is shown: {}", patient.err);
    assert!(holder.wait().expect("it ends").success());
    let kept = fs::read_dir(desk.path("state/certs/shop/requests")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "every request was settled");
    assert_eq!(pebble.orders(), 1);
}
