//! Nonces that are refused, missing, or handed out twice.

use super::{Case, always, play};
use crate::rig::scene::{Ran, Scene};
use crate::rig::{Answer, Fault, FaultyCa, Kind, PebbleOptions, Times, Validation};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// How often one request is sent at most.
const SENDS: usize = 64;

/// Replies with the nonce of an earlier one: `pick` chooses among those seen.
fn nonce_again(times: Times, pick: fn(&[String]) -> Option<&String>) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| {
        let seen: Mutex<Vec<String>> = Mutex::default();
        let fault = Fault::change(move |_, answer| {
            let Some(nonce) = answer.header("Replay-Nonce").map(str::to_owned) else { return answer };
            let mut seen = seen.lock().expect("no panic");
            seen.push(nonce);
            match pick(&seen) {
                Some(old) => answer.with("Replay-Nonce", old.clone()),
                None => answer,
            }
        });
        ca.on(Kind::Any, times, fault);
    }
}

#[test]
fn nonces_that_are_no_use() {
    let refused = || Answer::problem(400, "badNonce", "JWS has an invalid anti-replay nonce");
    let storm = |kind| always(kind, Fault::Answer(refused()));
    play(
        "nonces",
        &[
            Case::passing("a storm of badNonce at the order", &["/order-plz", "nonce"], storm(Kind::NewOrder))
                .asks(SENDS + 8),
            Case::passing("a storm that gives no nonce", &["/order-plz", "nonce"], {
                always(Kind::NewOrder, Fault::Answer(refused().without("Replay-Nonce")))
            })
            .asks(2 * SENDS + 8),
            // Two names, then one alone in each of two more tries.
            Case::passing("a storm at the challenges", &["/chalZ/", "nonce"], storm(Kind::Challenge))
                .asks(4 * SENDS + 24),
            Case::harmless("a few nonces handed out again", {
                nonce_again(Times::of(4), |seen| seen.iter().rev().nth(1))
            })
            .asks(24),
            Case::passing("one nonce for ever", &["nonce"], nonce_again(Times::ALWAYS, <[String]>::first))
                .asks(4 * SENDS + 24),
        ],
    );
}

/// As many certificates of one name each, before a Pebble that refuses this per cent of nonces.
fn scene(count: usize, bad_nonces: u32) -> (Scene, String) {
    let scene = Scene::new(PebbleOptions {
        bad_nonces,
        validation: Validation::Never,
        serve_http01: false,
        retry_after: (0, 0),
        ..PebbleOptions::default()
    });
    // Pebble 2.10 can come to a standstill from sixteen orders at once.
    let mut yaml = scene.preamble().replace("profile: tlsserver }", "profile: tlsserver, parallel: 2 }");
    yaml.push_str("certificates:\n");
    for number in 0..count {
        let _ = write!(
            yaml,
            "  - name: c{number}\n    names: [c{number}.example.com]\n    issuer: pebble\n    {}\n    \
             nodes: [local]\n    confirm: none\n",
            scene.solver()
        );
    }
    (scene, yaml)
}

fn published(scene: &Scene, count: usize) -> usize {
    (0..count).filter(|number| scene.path(&format!("live/c{number}/fullchain.pem")).exists()).count()
}

#[test]
fn one_nonce_in_twenty_refused_costs_no_certificate() {
    let count = if std::env::var_os("EVERLEAF_FULL").is_some() { 500 } else { 50 };
    let (scene, yaml) = scene(count, 5);
    let Ran { exit, err, .. } = scene.run(&yaml);
    let issued = (published(&scene, count), scene.pebble.orders(), scene.pebble.issued());
    assert_eq!((exit, issued), (0, (count, count, count)), "published, orders, certificates: {err}");
}

#[test]
fn with_most_nonces_refused_it_still_gets_there() {
    for (bad, count) in [(50, 6), (90, 2)] {
        let (scene, yaml) = scene(count, bad);
        let ca = FaultyCa::before(&scene.pebble);
        scene.configure(&ca.serves(&scene.pebble, &yaml));
        let mut runs = Vec::new();
        for arguments in [&["run"][..], &["renew", "--all"], &["renew", "--all"]] {
            runs.push(scene.everleaf(arguments));
            if runs.last().is_some_and(|ran| ran.exit == 0) {
                break;
            }
        }
        assert_eq!(published(&scene, count), count, "{bad} % refused: {runs:#?}");
        assert_eq!(scene.pebble.issued(), count, "{bad} %: no certificate is issued twice");
        let mut sent: BTreeMap<(Kind, String), usize> = BTreeMap::new();
        // Every certificate has a newOrder of its own at the same URL, and an order is looked at more than once.
        let once = |kind| !matches!(kind, Kind::NewOrder | Kind::Order | Kind::NewNonce | Kind::Directory);
        for asked in ca.asked().into_iter().filter(|asked| once(asked.kind)) {
            *sent.entry((asked.kind, asked.path)).or_default() += 1;
        }
        let most = sent.iter().max_by_key(|(_, count)| **count).expect("requests");
        assert!(*most.1 <= SENDS * runs.len(), "{bad} %: {most:?} in {} runs", runs.len());
        assert!(
            ca.count(Kind::NewNonce) <= 4 * count + 4,
            "the error's own nonce is used: {:?}",
            ca.count(Kind::NewNonce)
        );
    }
}
