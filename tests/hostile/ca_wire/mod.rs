//! A CA that misbehaves on the wire: what comes of it, how much is asked of the CA meanwhile, and what people read.
//!
//! Each case begins with a certificate that is live and a configuration that wants another one, meets one fault, and is then
//! let go on.

mod ari;
mod connections;
mod http2;
mod limits;
mod nonces;
mod replies;
mod shapes;

use crate::rig::scene::{Ran, Scene};
use crate::rig::{Fault, FaultyCa, Kind, PebbleOptions, Times, Validation, run, snapshot};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Waits of everleaf's own in these tests, so that a silent CA costs a second or two.
const LIMITS: &str = "limits: { connect: 1s, request: 2s }\n";
/// With these limits no case takes longer, on a busy machine: directory, ARI and one step, each until its time limit.
const WITHIN: Duration = Duration::from_secs(40);
/// 10 + 3 × names of an order (two names here).
const REQUESTS: usize = 16;
/// Where the certificate lies that must not be touched.
const LIVE: [&str; 3] = ["live/shop/fullchain.pem", "live/shop/privkey.pem", "live/shop/bundle.pem"];

/// What the run after the fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It needs nothing: the run with the fault came to its end.
    Renewed,
    /// Asked for by a person, it goes on and ends with the new certificate.
    GoesOn,
    /// It keeps to what the CA asked for: nothing is asked of the CA before, not even with `--force`.
    Waits,
}

/// One fault, and what is to come of it.
pub(super) struct Case {
    name: &'static str,
    faults: Box<dyn Fn(&FaultyCa) + Send + Sync>,
    exit: i32,
    /// What the message must name.
    says: &'static [&'static str],
    /// The most requests it may take.
    requests: usize,
    then: Then,
    /// How many certificates it costs.
    certificates: usize,
    /// What `why` must name, where it is more than fits on the line of a log.
    shows: &'static [&'static str],
    /// What may not be asked for at all.
    never: &'static [Kind],
    /// Waits of everleaf's own.
    limits: &'static str,
    /// How names are proved where it is not by a listener: by files in this directory of the scene.
    webroot: Option<&'static str>,
    /// Whether the reason given differs from time to time: what the network tells first is a race.
    races: bool,
}

impl Case {
    /// A passing failure: state is kept, and the next run goes on.
    pub(super) fn passing(
        name: &'static str,
        says: &'static [&'static str],
        faults: impl Fn(&FaultyCa) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            faults: Box::new(faults),
            exit: 75,
            says,
            requests: REQUESTS,
            then: Then::GoesOn,
            certificates: 1,
            shows: &[],
            never: &[],
            limits: LIMITS,
            webroot: None,
            races: false,
        }
    }

    /// With so many requests at most.
    pub(super) fn asks(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    /// With so many certificates.
    pub(super) fn costs(self, certificates: usize) -> Self {
        Self { certificates, ..self }
    }

    /// With all this in `why`.
    pub(super) fn shows(self, shows: &'static [&'static str]) -> Self {
        Self { shows, ..self }
    }

    /// Nothing of this kind is asked for.
    pub(super) fn never(self, never: &'static [Kind]) -> Self {
        Self { never, ..self }
    }

    /// With these waits of everleaf's own.
    pub(super) fn limits(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    /// With files in this directory of the scene as proofs, where nothing may be written.
    pub(super) fn webroot(self, webroot: &'static str) -> Self {
        Self { webroot: Some(webroot), ..self }
    }

    /// With a reason that differs from time to time.
    pub(super) fn races(self) -> Self {
        Self { races: true, ..self }
    }

    /// With another exit code.
    pub(super) fn exits(self, exit: i32) -> Self {
        Self { exit, ..self }
    }

    /// A person is needed.
    pub(super) fn operator(
        name: &'static str,
        says: &'static [&'static str],
        faults: impl Fn(&FaultyCa) + Send + Sync + 'static,
    ) -> Self {
        Self { exit: 1, ..Self::passing(name, says, faults) }
    }

    /// Not even noticed.
    pub(super) fn harmless(name: &'static str, faults: impl Fn(&FaultyCa) + Send + Sync + 'static) -> Self {
        Self { exit: 0, then: Then::Renewed, ..Self::passing(name, &[], faults) }
    }

    /// The CA named a time.
    fn limit(
        name: &'static str,
        says: &'static [&'static str],
        faults: impl Fn(&FaultyCa) + Send + Sync + 'static,
    ) -> Self {
        Self { exit: 21, then: Then::Waits, ..Self::passing(name, says, faults) }
    }
}

/// A machine with a certificate that is live, a configuration that wants another, and a CA that misbehaves from there.
struct Stage {
    scene: Scene,
    ca: FaultyCa,
    /// How many cases were played: each wants another key than the one before.
    turn: Cell<usize>,
}

impl Stage {
    fn new() -> Self {
        let scene = Scene::new(PebbleOptions {
            validation: Validation::Never,
            serve_http01: false,
            retry_after: (0, 0),
            ..PebbleOptions::default()
        });
        let ca = FaultyCa::before(&scene.pebble);
        let stage = Self { scene, ca, turn: Cell::new(0) };
        stage.wants(LIMITS, None);
        stage.scene.everleaf(&["run"]).exits(0);
        stage
    }

    /// From now on a certificate is wanted that is not there.
    fn wants(&self, limits: &str, webroot: Option<&str>) {
        let key = ["ecdsa-p256", "ecdsa-p384"][self.turn.get() % 2];
        self.turn.set(self.turn.get() + 1);
        let mut yaml = format!("{}{limits}", self.scene.unproven(&format!("    key: {key}\n")));
        if let Some(webroot) = webroot.map(|webroot| self.scene.path(webroot)) {
            // What an earlier case was proved with may be there.
            let _ = std::fs::remove_dir_all(&webroot);
            std::fs::create_dir_all(&webroot).expect("a directory");
            let solver = format!("solver: {{ http-01: {{ webroot: {} }} }}", webroot.display());
            yaml = yaml.replace(&self.scene.solver(), &solver);
        }
        self.scene.configure(&self.ca.serves(&self.scene.pebble, &yaml));
    }

    /// Keeps what there is, to bring it back with [`Stage::restore`].
    fn save(&self) {
        let _ = std::fs::remove_dir_all(self.scene.path("saved"));
        self.copy("saved", &["state", "live", "run"]);
    }

    fn restore(&self) {
        for part in ["state", "live", "run"] {
            std::fs::remove_dir_all(self.scene.path(part)).expect("a directory");
        }
        self.copy(".", &["saved/state", "saved/live", "saved/run"]);
    }

    fn copy(&self, to: &str, parts: &[&str]) {
        let to = self.scene.path(to);
        std::fs::create_dir_all(&to).expect("a directory");
        let mut copy = Command::new("cp");
        copy.arg("-a").args(parts.iter().map(|part| self.scene.path(part))).arg(to);
        run(&mut copy, None);
    }

    fn live(&self) -> [String; 3] {
        LIVE.map(|file| self.scene.text(file))
    }

    /// `everleaf run`, and how long it took.
    fn timed(&self, arguments: &[&str]) -> (Ran, Duration) {
        let begun = Instant::now();
        (self.scene.everleaf(arguments), begun.elapsed())
    }

    /// How many orders and certificates there were at the CA.
    fn spent(&self) -> (usize, usize) {
        (self.scene.pebble.orders(), self.scene.pebble.issued())
    }

    /// How often a new account was asked for.
    fn registered(&self) -> usize {
        let asked = self.ca.asked();
        asked.iter().filter(|it| it.kind == Kind::NewAccount && it.payload["onlyReturnExisting"] != true).count()
    }

    /// Words for a snapshot: which authorization comes first is Pebble's choice, and how long its URLs and serial numbers are.
    fn plain(&self, text: &str) -> String {
        const CHANCES: [(&str, &str); 3] = [
            (r"line \d+ column \d+", "line N column M"),
            (r"certZ/[0-9a-f]+", "certZ/DIGEST"),
            (r"www\.shop\.example\.com", "shop.example.com"),
        ];
        CHANCES.iter().fold(self.scene.plain(&self.ca.plain(text)), |text, (chance, plain)| {
            regex::Regex::new(chance).expect("a valid expression").replace_all(&text, *plain).into_owned()
        })
    }

    /// Plays one case, and answers what people read.
    fn play(&self, case: &Case) -> String {
        self.ca.heal();
        self.wants(case.limits, case.webroot);
        if case.then == Then::Waits {
            self.save();
        }
        let (before, spent) = (self.live(), self.spent());
        (case.faults)(&self.ca);
        let (ran, took) = self.timed(&["run"]);
        let said = self.plain(&ran.err);
        let asked: Vec<Kind> = self.ca.asked().iter().map(|asked| asked.kind).collect();
        let what = format!("{}: exit {} after {took:?}, asked {asked:?}\n{said}", case.name, ran.exit);
        assert_eq!(ran.exit, case.exit, "{what}");
        assert!(took < WITHIN, "{what}");
        assert!(asked.len() <= case.requests, "at most {} requests: {what}", case.requests);
        assert!(!asked.iter().any(|kind| case.never.contains(kind)), "none of {:?}: {what}", case.never);
        let registered = self.registered();
        assert!(said.len() < 5_000 && !said.contains('\u{1b}'), "{what}");
        for word in case.says {
            assert!(said.contains(word), "{word:?} is not said: {what}");
        }
        if case.then != Then::Renewed {
            assert_eq!(self.live(), before, "the live certificate stays as it is: {what}");
        }
        let shown = if case.shows.is_empty() { String::new() } else { self.scene.everleaf(&["why", "shop"]).out };
        for word in case.shows {
            assert!(shown.contains(word), "{word:?} is not shown: {what}\n{shown}");
        }
        if let Some(webroot) = case.webroot {
            let written = std::fs::read_dir(self.scene.path(webroot)).expect("a directory").count();
            assert_eq!(written, 0, "nothing is put up: {what}");
        }
        self.goes_on(case, &what);
        assert_eq!(registered + self.registered(), 0, "one account: {what}");
        if case.then != Then::Waits {
            let (orders, issued) = self.spent();
            assert_eq!(issued - spent.1, case.certificates, "so many certificates: {what}");
            assert!(orders - spent.0 <= 2, "one unused order at most: {what}");
        }
        said
    }

    /// The CA is healthy again.
    fn goes_on(&self, case: &Case, what: &str) {
        let before = self.live();
        self.ca.heal();
        match case.then {
            Then::Renewed => {}
            Then::GoesOn => {
                let ran = self.scene.everleaf(&["renew", "shop"]);
                assert_eq!(ran.exit, 0, "{}\nthe next run:\n{}", what, self.plain(&ran.err));
                assert_ne!(self.live(), before, "the next run renews: {what}");
            }
            Then::Waits => {
                for again in [&["run"][..], &["renew", "shop"], &["renew", "shop", "--force", "--yes"]] {
                    let (ran, took) = self.timed(again);
                    let said = self.plain(&ran.err);
                    assert_eq!(ran.exit, 21, "{again:?}: {said}");
                    assert!(said.contains("not tried again before TIME"), "{again:?}: {said}");
                    assert_eq!(self.ca.count(Kind::Any), 0, "{again:?} asks nothing: {:?}", self.ca.asked());
                    assert!(took < WITHIN, "{again:?} sleeps for nobody: {took:?}");
                }
                assert_eq!(self.live(), before, "{what}");
                self.restore();
                // The key that is there is the one before the last again.
                self.turn.set(self.turn.get() + 1);
            }
        }
    }
}

/// How many stages there are at once: most of their time is spent waiting.
const STAGES: usize = 4;

/// Plays the cases, and compares what people read with `messages/ca/PLACE.txt`.
pub(super) fn play(place: &str, cases: &[Case]) {
    let read = on_stages(cases, Stage::new, |stage, case| match stage.play(case) {
        said if said.is_empty() => String::new(),
        said if case.races => {
            let (begin, rest) = said.split_once("came: ").unwrap_or((&said, ""));
            let end = rest.split_once("; ").map_or(rest, |(_, end)| end);
            format!("# {} (exit {})\n{begin}came: WHY; {end}\n", case.name, case.exit)
        }
        said => format!("# {} (exit {})\n{}\n", case.name, case.exit, shortened(&said)),
    });
    snapshot(&format!("hostile/messages/ca/{place}"), &read.concat());
}

/// Plays each case on one of a few stages, and answers what came of them, in their order.
fn on_stages<S, C: Sync, R: Send>(
    cases: &[C],
    stage: impl Fn() -> S + Sync,
    play: impl Fn(&S, &C) -> R + Sync,
) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..STAGES.min(cases.len()) {
            scope.spawn(|| {
                let stage = stage();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    let came_of_it = play(&stage, case);
                    done.lock().expect("no panic").insert(at, came_of_it);
                }
            });
        }
    });
    done.into_inner().expect("no panic").into_values().collect()
}

/// What is thousands of characters long is not worth reading twice.
fn shortened(said: &str) -> String {
    const ENOUGH: usize = 1_500;
    match said.char_indices().nth(300) {
        Some((begin, _)) if said.len() > ENOUGH => {
            let end = said.len() - 200;
            let end = (end..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
            format!("{} (and so on) {}", &said[..begin], &said[end..])
        }
        _ => said.to_owned(),
    }
}

/// Each request of this kind meets this fault.
pub(super) fn always(kind: Kind, fault: Fault) -> impl Fn(&FaultyCa) + Send + Sync {
    move |ca| ca.on(kind, Times::ALWAYS, fault.clone())
}
