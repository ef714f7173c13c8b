//! The gate on the real path: what a CA hands out is judged before anything is published.

use crate::rig::scene::Scene;
use crate::rig::{Fault, FaultyCa, Kind, Times};

#[test]
fn a_certificate_for_other_names_and_another_key_is_refused_whole() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    let shop = ca.serves(&scene.pebble, &scene.unproven(""));
    scene.run(&shop).exits(0);
    hands_out(&ca, scene.text("live/shop/fullchain.pem"));
    let mail = format!(
        "{shop}  - name: mail\n    names: [mail.example.com]\n    issuer: pebble\n    {}\n    nodes: [local]\n    confirm: none\n",
        scene.solver()
    );
    let ran = scene.run(&mail).exits(1);
    for word in ["mail", "key", "mail.example.com", "shop.example.com"] {
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
    assert!(!scene.path("live/mail").exists(), "nothing is published");
    assert_eq!(scene.pebble.orders(), 2);
    let status = scene.status("mail");
    assert!(status["next"]["held"] == true, "it waits: {status:#}");

    // The next run holds, although the CA would behave again; a person may ask.
    ca.heal();
    scene.everleaf(&["run"]).exits(1);
    assert_eq!(scene.pebble.orders(), 2);
    scene.everleaf(&["renew", "mail"]).exits(0);
    assert_eq!(scene.pebble.orders(), 3);
    assert_eq!(scene.status("mail")["stage"], "unproven");
}

#[test]
fn the_old_certificate_again_is_refused_and_the_live_one_stays() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    scene.run(&ca.serves(&scene.pebble, &scene.unproven(""))).exits(0);
    let live = ["fullchain.pem", "privkey.pem", "bundle.pem"].map(|file| scene.text(&format!("live/shop/{file}")));
    hands_out(&ca, live[0].clone());
    let ran = scene.everleaf(&["renew", "shop", "--force"]).exits(1);
    assert!(ran.err.contains("key") && ran.err.contains("serial"), "every violation is named: {}", ran.err);
    let after = ["fullchain.pem", "privkey.pem", "bundle.pem"].map(|file| scene.text(&format!("live/shop/{file}")));
    assert_eq!(after, live, "byte for byte");
}

/// From now on every certificate is `chain`.
fn hands_out(ca: &FaultyCa, chain: String) {
    ca.on(Kind::Certificate, Times::ALWAYS, Fault::change(move |_, answer| answer.body(chain.clone())));
}
