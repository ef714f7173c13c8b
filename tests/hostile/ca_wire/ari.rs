//! Renewal information that is no use, or worse: it costs no run more than ten seconds and no renewal its last call.

use super::{Fault, FaultyCa, Kind, Times, always, on_stages};
use crate::rig::scene::Scene;
use crate::rig::{Answer, PebbleOptions, Validation, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// ARI's own budget, and what a busy machine adds.
const BUDGET: Duration = Duration::from_secs(10 + 12);

/// A certificate that is live, and a CA whose renewal information misbehaves.
struct Stage {
    scene: Scene,
    ca: FaultyCa,
}

/// A profile of `validity` seconds, and no shortened limits: it is ARI's own budget that is seen.
fn stage(validity: u64) -> Stage {
    let scene = Scene::new(PebbleOptions {
        validation: Validation::Never,
        serve_http01: false,
        retry_after: (0, 0),
        profiles: [("tlsserver".to_owned(), validity)].into(),
        ..PebbleOptions::default()
    });
    let ca = FaultyCa::before(&scene.pebble);
    scene.configure(&ca.serves(&scene.pebble, &scene.unproven("")));
    Stage { scene, ca }
}

impl Stage {
    /// When it is renewed next, and why.
    fn renewal(&self) -> (jiff::Timestamp, String) {
        let renewal = &self.scene.status("shop")["renewal"];
        (instant(&renewal["at"]), renewal["why"].as_str().expect("a reason").to_owned())
    }

    /// The last instant at which it may begin, of a certificate that lives for twenty days or more.
    fn last_call(&self) -> jiff::Timestamp {
        let validity = &self.scene.status("shop")["generation"]["validity"];
        let (start, end) = (instant(&validity["start"]), instant(&validity["end"]));
        end - end.duration_since(start) / 20
    }
}

fn instant(value: &Value) -> jiff::Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no instant: {value}"))
}

struct Case {
    name: &'static str,
    faults: Box<dyn Fn(&FaultyCa) + Send + Sync>,
    /// The most requests for it.
    asks: usize,
    /// What the schedule goes by instead.
    why: &'static str,
}

fn case(name: &'static str, fault: Fault) -> Case {
    Case { name, faults: Box::new(always(Kind::RenewalInfo, fault)), asks: 1, why: "no ARI window" }
}

fn answer(body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(200, body).with("Content-Type", "application/json").with("Retry-After", "21600")
}

fn window(start: &str, end: &str) -> Answer {
    answer(
        json!({"suggestedWindow": {"start": start, "end": end}, "explanationURL": "https://ca.test/\u{1b}[31m"})
            .to_string(),
    )
}

fn useless() -> Vec<Case> {
    let ahead = || window("2126-01-01T00:00:00Z", "2126-01-02T00:00:00Z");
    let paced = |name, retry_after: &str| Case {
        why: "last call",
        ..case(name, Fault::Answer(ahead().with("Retry-After", retry_after)))
    };
    let no_endpoint = |ca: &FaultyCa| {
        let fault = Fault::change(|_, answer| {
            answer.json(|it| drop(it.as_object_mut().and_then(|it| it.remove("renewalInfo"))))
        });
        ca.on(Kind::Directory, Times::ALWAYS, fault);
    };
    vec![
        case("it hangs", Fault::Silence),
        case("it trickles", Fault::Trickle),
        case("it hangs up", Fault::Close),
        case("64 MB", Fault::Flood { octets: 64 << 20, told: false }),
        case("404", Fault::Answer(Answer::problem(404, "malformed", "no such certificate"))),
        case("500", Fault::Answer(Answer::html(500, "Oops"))),
        case("503 for a day", Fault::Answer(Answer::html(503, "Later").with("Retry-After", "86400"))),
        case("a web page", Fault::Answer(Answer::html(200, "Log in"))),
        case("half an object", Fault::Answer(answer("{\"suggestedWindow\": {"))),
        case("no window", Fault::Answer(answer("{}"))),
        case(
            "a window that ends before it begins",
            Fault::Answer(window("2026-12-02T00:00:00Z", "2026-12-01T00:00:00Z")),
        ),
        case("a window of no width", Fault::Answer(window("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"))),
        case("dates that are none", Fault::Answer(window("tomorrow", "next week"))),
        Case { faults: Box::new(no_endpoint), asks: 0, ..case("no endpoint", Fault::Close) },
        Case { why: "last call", ..case("a window a century ahead", Fault::Answer(ahead())) },
        Case { why: "last call", ..case("no Retry-After", Fault::Answer(ahead().without("Retry-After"))) },
        paced("Retry-After of a century", "3153600000"),
        paced("a negative Retry-After", "-1"),
        paced("a Retry-After nobody can read", "when it suits you"),
    ]
}

#[test]
fn useless_renewal_information_costs_little_and_moves_nothing_past_the_last_call() {
    let ready = || {
        let stage = stage(45 * 86_400);
        stage.scene.everleaf(&["run"]).exits(0);
        stage
    };
    on_stages(&useless(), ready, |stage, case| {
        let Stage { scene, ca } = stage;
        let live = scene.leaf("shop");
        ca.heal();
        scene.forget_seen("shop");
        (case.faults)(ca);
        let begun = Instant::now();
        let ran = scene.everleaf(&["run"]);
        let took = begun.elapsed();
        let (at, why) = stage.renewal();
        let what = format!("{}: exit {} after {took:?}, renewed at {at} ({why}): {}", case.name, ran.exit, ran.err);
        assert_eq!((ran.exit, scene.leaf("shop")), (0, live), "{what}");
        assert!(took < BUDGET, "{what}");
        assert!(ca.count(Kind::RenewalInfo) <= case.asks && ca.count(Kind::NewOrder) == 0, "{what}: {:?}", ca.asked());
        assert!(why.contains(case.why) && at <= stage.last_call(), "{what}");
        // The next run asks for nothing: the pace is kept.
        ca.forget();
        scene.everleaf(&["run"]).exits(0);
        assert_eq!(ca.count(Kind::Any), 0, "{what}");
    });
}

#[test]
fn a_window_that_is_always_over_renews_once_and_not_for_ever() {
    let long_ago = Fault::Answer(window("1926-01-01T00:00:00Z", "1926-01-02T00:00:00Z"));
    let just_now = Fault::change(|_, _| {
        let now = jiff::Timestamp::now();
        window(&now.to_string(), &(now + jiff::SignedDuration::from_millis(1)).to_string())
    });
    let day = Fault::change(|_, _| {
        let now = jiff::Timestamp::now();
        window(&now.to_string(), &(now + jiff::SignedDuration::from_hours(20)).to_string())
    });
    for always in [long_ago, just_now, day] {
        let Stage { scene, ca } = stage(45 * 86_400);
        scene.everleaf(&["run"]).exits(0);
        ca.on(Kind::RenewalInfo, Times::ALWAYS, always.clone());
        for run in 0..3 {
            scene.forget_seen("shop");
            scene.everleaf(&["run"]).exits(0);
            assert_eq!(scene.pebble.orders(), 2, "run {run} with {always:?}");
        }
    }
}

#[test]
fn a_window_a_century_ahead_is_not_waited_for_past_the_last_call() {
    // A sixth of so short a life is left at its last call.
    const LIFE: Duration = Duration::from_secs(18);
    let Stage { scene, ca } = stage(LIFE.as_secs());
    ca.on(Kind::RenewalInfo, Times::ALWAYS, Fault::Answer(window("2126-01-01T00:00:00Z", "2126-01-02T00:00:00Z")));
    scene.everleaf(&["run"]).exits(0);
    let first = scene.leaf("shop");
    let end = instant(&scene.status("shop")["generation"]["validity"]["end"]);
    let last_call = end - jiff::SignedDuration::try_from(LIFE / 6).expect("a span");
    let mut runs = 1;
    let renewed = || {
        let began = jiff::Timestamp::now();
        // A short life is soon in danger: the exit code is not what is looked at here.
        let ran = scene.everleaf(&["run"]);
        runs += 1;
        let renewed = scene.leaf("shop") != first;
        assert!(renewed || began <= last_call, "a run after the last call renews: {} {}", ran.exit, ran.err);
        // The life is shorter than the time between runs, and each run replaces it once at most.
        assert!(scene.pebble.orders() <= runs, "{} orders in {runs} runs", scene.pebble.orders());
        renewed
    };
    assert!(wait_until(Duration::from_secs(120), renewed), "it is renewed at last");
}
