//! From nothing to an accepted generation, and how a renewal comes about.

use crate::scene::{Scene, of};
use everleaf::core::{Ask, Stage};

fn unproven(scene: &Scene) -> String {
    let certificate =
        "certificates:\n  - name: shop\n    names: [shop.example.com, www.shop.example.com]\n    issuer: pebble\n";
    format!("{}{certificate}    {}\n    nodes: [local]\n    confirm: none\n", scene.preamble(), scene.solver())
}

#[test]
fn a_certificate_is_issued_judged_and_published() {
    let scene = Scene::with_listener();
    let yaml = unproven(&scene);
    let report = scene.burst(&yaml);
    let shop = of(&report, "shop");
    assert_eq!(shop.standing.stage, Stage::Unproven, "{:#?}", shop.standing);
    assert_eq!(shop.broken, None);
    for file in ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "bundle.pem"] {
        assert!(scene.path("live/shop").join(file).exists(), "{file}");
    }
    assert_eq!(scene.pebble.issued(), 1);
}

#[test]
fn nothing_is_done_twice() {
    let scene = Scene::with_listener();
    let yaml = unproven(&scene);
    scene.burst(&yaml);
    let again = scene.burst(&yaml);
    assert!(!of(&again, "shop").changed);
    assert_eq!(scene.pebble.orders(), 1);
}

#[test]
fn a_window_in_the_past_renews_once() {
    let scene = Scene::with_listener();
    let yaml = unproven(&scene);
    let first = of(&scene.burst(&yaml), "shop").facts.ledger.newest_accepted().expect("issued").about.clone();
    let leaf = std::fs::read_to_string(scene.path("live/shop/cert.pem")).expect("a certificate");
    scene.pebble.set_window(&leaf, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    scene.forget_seen("shop");
    let report = scene.burst(&yaml);
    let second = of(&report, "shop").facts.ledger.newest_accepted().expect("issued").about.clone();
    assert_eq!(second.generation.number(), first.generation.number() + 1);
    assert_ne!(second.key, first.key, "a new key each time by default");
    scene.burst(&yaml);
    assert_eq!(scene.pebble.issued(), 2);
}

#[test]
fn an_edited_specification_orders_anew_and_a_force_fires_once() {
    let scene = Scene::with_listener();
    let yaml = unproven(&scene);
    scene.burst(&yaml);
    let edited = yaml.replace("www.shop", "api.shop");
    let report = scene.burst(&edited);
    let names = &of(&report, "shop").facts.ledger.newest_accepted().expect("issued").about.names;
    assert!(names.iter().any(|name| name.to_string() == "api.shop.example.com"), "{names:?}");

    scene.ask(&edited, "shop", &Ask::Renew { force: true, new_key: false, yes: false });
    scene.burst(&edited);
    scene.burst(&edited);
    assert_eq!(scene.pebble.issued(), 3);
}
