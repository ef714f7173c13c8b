//! A CA's limits: what is counted, on disk, before an order; and what a loop under an error that never ends may cost.

use super::plain::plain;
use crate::rig::scene::{Ran, Scene};
use crate::rig::{Answer, Asked, Fault, FaultyCa, Kind, PebbleOptions, Times, snapshot};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How often a loop calls everleaf.
fn rounds(few: usize) -> usize {
    if std::env::var_os("EVERLEAF_FULL").is_some() { 100 } else { few }
}

/// What every configuration here begins with, with limits on orders at Pebble.
fn limited(scene: &Scene, budget: &str) -> String {
    scene.preamble().replace("profile: tlsserver }", &format!("profile: tlsserver, budget: {{ {budget} }} }}"))
}

/// Certificates that nothing serves: name, the one host, and the kind of key, which is edited to have a new one ordered.
fn certificates(scene: &Scene, names: &[(&str, &str, &str)]) -> String {
    let one = |(name, host, key): &(&str, &str, &str)| {
        format!(
            "  - {{ name: {name}, names: [{host}], key: {key}, issuer: pebble, {}, nodes: [local], confirm: none }}\n",
            scene.solver()
        )
    };
    format!("certificates:\n{}", names.iter().map(one).collect::<String>())
}

/// The orders in an issuer's journal.
fn counted(scene: &Scene, issuer: &str) -> Vec<Value> {
    let records = scene.text(&format!("state/issuers/{issuer}/journal.jsonl"));
    let events = records.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["event"].clone());
    events.filter(|event| event["kind"] == "order_counted").collect()
}

#[test]
fn limits_are_kept_by_registered_domain_and_survive_whatever_happens_to_files_and_names() {
    let scene = Scene::easy();
    let [first, second, third] = ["ecdsa-p256", "ecdsa-p384", "rsa-2048"];
    let names = |a: &'static str, other: &'static str| {
        let [b, c] = ["b.example.co.uk", "deep.c.example.co.uk"];
        [("a", "a.example.co.uk", a), ("b", b, first), ("c", c, first), ("other", "www.other.co.uk", other)]
    };
    let budget = "per_set: { count: 3, per: 7d }, per_domain: { count: 4, per: 7d }";
    let yaml = |names: &[(&str, &str, &str)]| format!("{}{}", limited(&scene, budget), certificates(&scene, names));
    scene.run(&yaml(&names(first, first))).exits(0);
    assert_eq!(counted(&scene, "pebble").len(), 4);
    scene.run(&yaml(&names(second, first))).exits(0);
    assert_eq!(scene.pebble.orders(), 5, "the fourth below example.co.uk");

    let held = scene.run(&yaml(&names(third, second))).exits(21);
    assert_eq!(scene.pebble.orders(), 6, "names below other.co.uk have a budget of their own");
    snapshot("hostile/messages/budgets/domain-full", &plain(&scene, &held.err));

    fs::remove_dir_all(scene.path("state/issuers")).expect("the issuers' journals");
    scene.everleaf(&["renew", "a"]).exits(21);
    let text = scene.text("state/issuers/pebble/journal.jsonl");
    assert!(text.contains("recounted"), "what a lost journal told is told by the certificates': {text}");
    // Its own journal lost too, there are its generations; and without an order in a day there is no new one anyway.
    fs::remove_dir_all(scene.path("state/issuers")).expect("the issuers' journals");
    for name in ["a", "b", "c"] {
        fs::remove_file(scene.path(&format!("state/certs/{name}/journal.jsonl"))).expect("a journal");
    }
    scene.everleaf(&["renew", "a"]);
    let recounted = scene.text("state/issuers/pebble/journal.jsonl");
    let of_a = recounted.matches(r#""certificate":"a""#).count();
    assert!(of_a >= 2, "generations have their dates: {recounted}");
    assert_eq!(scene.pebble.orders(), 6);

    // Another name for the same names, and one that was forgotten and comes back, are held as the old ones were.
    scene.run(&yaml(&[("other", "www.other.co.uk", second)]));
    for gone in ["a", "b", "c"] {
        scene.everleaf(&["forget", gone, "--yes"]).exits(0);
    }
    let anew = [("a3", "a.example.co.uk", first), ("b", "b.example.co.uk", first), ("new", "n.example.co.uk", first)];
    scene.run(&yaml(&anew)).exits(21);
    let status = scene.status("new");
    assert!(status["hold"]["why"].as_str().is_some_and(|why| why.contains("example.co.uk")), "{status:#}");
    assert_eq!(scene.pebble.orders(), 6, "a budget is the CA's: it is not forgotten with a certificate");

    let told = scene.everleaf(&["renew", "new", "--force"]).exits(0);
    assert_eq!(scene.pebble.orders(), 7, "a person may");
    snapshot("hostile/messages/budgets/force-costs", &plain(&scene, &told.err));
}

#[test]
fn two_issuers_of_one_directory_share_its_limits_on_names() {
    let scene = Scene::easy();
    let first = limited(&scene, "per_set: { count: 1, per: 7d }");
    let issuer = first.lines().find(|line| line.contains("pebble: {")).expect("an issuer");
    let both = format!("{issuer}\n{}", issuer.replace("pebble: {", "again: {"));
    let yaml = |certificates: &str| format!("{}certificates:\n{certificates}", first.replace(issuer, &both));
    let one = |name: &str, issuer: &str| {
        let solver = scene.solver();
        format!(
            "  - {{ name: {name}, names: [b.example.org, a.example.org], issuer: {issuer}, {solver}, nodes: [local], confirm: none }}\n"
        )
    };
    scene.run(&yaml(&one("x", "pebble"))).exits(0);
    scene.run(&yaml(&(one("x", "pebble") + &one("y", "again")))).exits(21);
    assert_eq!(scene.pebble.orders(), 1);
    // An issuer that is given another name keeps what it spent.
    let renamed = first.replace("pebble: {", "renamed: {");
    scene.run(&format!("{renamed}certificates:\n{}", one("z", "renamed"))).exits(21);
    assert_eq!(scene.pebble.orders(), 1);
}

#[test]
fn a_renewal_inside_its_window_is_exempt_and_one_outside_is_not() {
    let scene = Scene::easy();
    let yaml = limited(&scene, "per_set: { count: 1, per: 7d }")
        + &certificates(&scene, &[("shop", "shop.example.com", "ecdsa-p256")]);
    scene.run(&yaml).exits(0);
    let now = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    scene.pebble.set_window(&scene.leaf("shop"), &(now - hour).to_string(), &(now + hour).to_string());
    scene.forget_seen("shop");
    scene.everleaf(&["run"]).exits(0);
    let exempt: Vec<bool> = counted(&scene, "pebble").iter().map(|it| it["exempt"] == true).collect();
    assert_eq!((exempt.as_slice(), scene.pebble.issued()), ([false, true].as_slice(), 2));
    scene.run(&yaml.replace("ecdsa-p256", "ecdsa-p384")).exits(21);
    assert_eq!(scene.pebble.orders(), 2);
}

/// An error that no number of tries passes.
struct Permanent {
    name: &'static str,
    scene: fn() -> Scene,
    faults: fn(&FaultyCa),
    yaml: fn(&Scene) -> String,
    /// The orders that a loop of runs places, newOrder requests that are refused included.
    orders: usize,
}

const PERMANENT: [Permanent; 7] = [
    Permanent {
        name: "never-validated",
        scene: || {
            let scene = Scene::with_listener();
            scene.pebble.challenges.set_servfail("www.shop.example.com");
            scene
        },
        faults: |_| {},
        yaml: |scene| scene.unproven(""),
        orders: 1,
    },
    Permanent {
        name: "refused-by-policy",
        scene: || Scene::new(PebbleOptions { blocklist: vec!["shop.example.com".into()], ..PebbleOptions::default() }),
        faults: |_| {},
        yaml: |scene| scene.unproven(""),
        orders: 1,
    },
    Permanent {
        name: "order-invalid",
        scene: Scene::easy,
        faults: |ca| {
            let invalid = |_: &Asked, answer: Answer| answer.json(|order| order["status"] = json!("invalid"));
            ca.on(Kind::Order, Times::ALWAYS, Fault::change(invalid));
        },
        yaml: |scene| scene.unproven(""),
        orders: 1,
    },
    Permanent {
        name: "finalize-fails",
        scene: Scene::easy,
        faults: |ca| {
            let no = Answer::problem(403, "caa", "CAA record for shop.example.com prevents issuance");
            ca.on(Kind::Finalize, Times::ALWAYS, Fault::Answer(no));
        },
        yaml: |scene| scene.unproven(""),
        orders: 1,
    },
    Permanent {
        name: "replies-lost",
        scene: Scene::easy,
        faults: |ca| ca.on(Kind::NewOrder, Times::ALWAYS, Fault::LoseReply),
        yaml: |scene| scene.unproven(""),
        orders: 2,
    },
    Permanent {
        name: "gate-rejects",
        scene: Scene::easy,
        faults: |_| {},
        yaml: |scene| {
            let (good, other) = (scene.pebble.issuing_root_file(), scene.pebble.tls_root_file());
            let roots = |path: &Path| format!("roots: {}", path.display());
            scene.unproven("").replace(&roots(&good), &roots(&other))
        },
        orders: 1,
    },
    Permanent {
        name: "pre-fails",
        scene: Scene::easy,
        faults: |_| {},
        yaml: |scene| {
            let hook = scene.script("pre", "echo the disk array is rebuilding; exit 1");
            scene.unproven(&format!("    hooks: {{ pre: [{}] }}\n", hook.display()))
        },
        orders: 0,
    },
];

#[test]
fn a_loop_under_a_permanent_error_is_cheap_and_says_until_when() {
    for case in &PERMANENT {
        let scene = (case.scene)();
        let ca = FaultyCa::before(&scene.pebble);
        (case.faults)(&ca);
        let first = scene.run(&ca.serves(&scene.pebble, &(case.yaml)(&scene)));
        let codes: Vec<i32> = (0..rounds(10)).map(|_| scene.everleaf(&["run"]).exit).collect();
        assert!(codes.iter().all(|code| *code == first.exit), "{}: {} then {codes:?}", case.name, first.exit);
        assert!(ca.count(Kind::NewOrder) <= case.orders, "{}: {:?}", case.name, ca.asked());
        let held = scene.everleaf(&["run"]);
        assert_eq!(held.err.lines().count(), 1, "{}: {}", case.name, held.err);
        let why = scene.everleaf(&["why", "shop"]).exits(0).out;
        let to_type =
            why.lines().skip_while(|line| *line != "What to type").skip(1).take_while(|line| !line.is_empty());
        let mut said = format!("$ everleaf run\n{}$ everleaf run\n{}", first.err, held.err);
        said.extend(["to type:\n"].into_iter().chain(to_type.flat_map(|line| [line, "\n"])));

        // By hand it is tried at once, but not without end.
        for command in [&["renew", "shop"][..], &["renew", "shop", "--force", "--yes"]] {
            let ran: Vec<Ran> = (0..rounds(6)).map(|_| scene.everleaf(command)).collect();
            assert!(ran.iter().all(|ran| ran.exit != 0), "{}: {ran:#?}", case.name);
            let last = ran.last().map(|ran| ran.err.as_str()).unwrap_or_default();
            let _ = write!(said, "$ everleaf {} # for the {}th time\n{last}", command.join(" "), ran.len());
        }
        assert!(scene.pebble.orders() <= 5, "{}: {} orders", case.name, scene.pebble.orders());
        if std::env::var_os("EVERLEAF_FULL").is_none() {
            snapshot(&format!("hostile/messages/budgets/{}", case.name), &plain(&scene, &ca.plain(&said)));
        }
    }
}
