//! Decisions as stories: what is known, what is decided, and the typed reason for it.

use super::event::{Alert, Entry};
use super::order::Phase;
use super::sightings::{AriSeen, EndpointSeen, TimerSeen, endpoint_id};
use super::*;
use crate::config::spec::{
    Access, Budget, CertHooks, Certificate, Confirm, Endpoint, Expect, Handshakes, Hook, Http01, Issuer, KeyAlgorithm,
    Limits, Node, NodeKind, Paths, Reload, Rollout, Roots, Solver, Spec, StartTls, Target, Usage,
};
use crate::ports::{About, Observation, Proof, Published, RenewalInfo, Shown};
use crate::types::{
    Attempt, CertName, Class, Epoch, Failure, GenId, Identifier, KeyFamily, KeyId, NodeName, RequestId, Serial,
    Timestamp, Vantage, Window, sha256,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

mod disk;
mod docket;
mod limits;
mod nodes;
mod pruning;
mod waves;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// How long certificates live in these stories.
const LIFE: u64 = 90 * DAY;

/// One certificate `shop` on the nodes `edge1` and `edge2`, each with an endpoint.
struct Story {
    spec: Spec,
    facts: Facts,
    shared: Shared,
    now: Timestamp,
    horizon: Horizon,
}

fn node(number: u8) -> NodeName {
    format!("edge{number}").parse().expect("name")
}

fn name() -> CertName {
    "shop".parse().expect("name")
}

fn key() -> KeyId {
    sha256(&[b"key"])
}

fn request(octet: u8) -> RequestId {
    RequestId::from_random([octet; 16])
}

/// An answer to a challenge for the one name.
fn proof() -> Proof {
    let solver = Solver::Http01(Http01::Webroot("/webroot".into()));
    let identifier: Identifier = "shop.example.org".parse().expect("name");
    let (url, token) = ("https://ca.example/challenge".to_owned(), "token".to_owned());
    Proof { identifier, solver, url, token, key_authorization: "token.thumb".into() }
}

fn lost() -> Failure {
    Failure::new(Class::Retry, "net:timeout", "the CA", "no answer")
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        target: Target::Address(SocketAddr::from(([10, 0, 0, number], 443))),
        sni: "shop.example.org".parse().expect("name"),
        node: Some(node(number)),
        starttls: StartTls::No,
        expect: Expect::Leaf,
        from: Vantage::Here,
    }
}

fn edge(number: u8) -> Node {
    let hook =
        Hook { argv: vec!["x".into()], shell: false, timeout: Duration::from_secs(1), certbot: false, unit: None };
    Node { name: node(number), kind: NodeKind::Exec(hook), live: "/live".into(), check: None, reload: Reload::Hook }
}

fn certificate() -> Certificate {
    let names: Vec<Identifier> = vec!["shop.example.org".parse().expect("name")];
    Certificate {
        name: name(),
        was: None,
        endpoints: vec![endpoint(1), endpoint(2)],
        solvers: [(names[0].clone(), Solver::Http01(Http01::Webroot("/webroot".into())))].into(),
        names,
        issuer: "ca".parse().expect("name"),
        profile: None,
        key: KeyAlgorithm::EcdsaP256,
        reuse_key: false,
        usage: Usage::Server,
        nodes: vec![node(1), node(2)],
        confirm: Confirm::Handshakes(Handshakes {
            count: 8,
            over: Duration::from_secs(3),
            drain: Duration::from_secs(60),
            every: Duration::from_secs(6 * HOUR),
        }),
        rollout: Rollout {
            canaries: Vec::new(),
            parallel: 4,
            pause: Duration::ZERO,
            max_failures: None,
            roll_back: true,
        },
        access: Access { owner: None, group: None, key_mode: 0o600, cert_mode: 0o644, dir_mode: 0o755 },
        files: Vec::new(),
        hooks: CertHooks::default(),
        placeholder: false,
        notify: Vec::new(),
    }
}

pub(super) fn spec() -> Spec {
    let issuer = Issuer {
        name: "ca".parse().expect("name"),
        directory: "https://ca.example/dir".into(),
        roots: Roots::System,
        ca_bundle: None,
        contact: Vec::new(),
        agree_to_terms: true,
        profile: None,
        external_account: None,
        budget: Budget::default(),
        parallel: 4,
        dry_run: None,
    };
    Spec {
        paths: Paths { state: "/s".into(), live: "/l".into(), run: "/r".into() },
        resolvers: Vec::new(),
        http_port: 80,
        tls_port: 443,
        every: None,
        issuers: [(issuer.name.clone(), issuer)].into(),
        nodes: [(node(1), edge(1)), (node(2), edge(2))].into(),
        groups: BTreeMap::new(),
        certificates: [(name(), certificate())].into(),
        notifiers: BTreeMap::new(),
        ping: None,
        metrics: None,
        limits: Limits::default(),
    }
}

impl Story {
    fn begins() -> Self {
        let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
        let now = Timestamp::from_secs(1_800_000_000);
        Self { spec: spec(), facts: Facts::default(), shared: Shared::default(), now, horizon }
    }

    /// The story of a certificate that has just gone live as its first generation.
    fn live() -> Self {
        let mut story = Self::begins();
        story.issues(1);
        story.rolls_out(&[1, 2]);
        story.decides();
        story
    }

    fn certificate(&mut self) -> &mut Certificate {
        self.spec.certificates.get_mut(&name()).expect("it is configured")
    }

    /// Time passes, and the CA is asked for its window again: it says what it said before.
    fn later(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        let Some(generation) = self.facts.ledger.newest_accepted().map(|held| held.about.generation) else { return };
        let before = self.facts.seen.ari.take().filter(|seen| seen.generation == generation);
        let info = before.and_then(|seen| seen.info);
        let wait = 6 * HOUR * 1000;
        self.facts.seen.ari = Some(AriSeen { generation, at: self.now, info, failure: None, failures: 0, wait });
    }

    fn plan(&self) -> Plan {
        plan(&self.spec, &name(), &self.facts, &self.shared, self.now, self.horizon)
    }

    /// What is to be done, with the reason; ARI requests and drift looks aside, unless nothing else is planned.
    fn does(&self) -> Vec<(&'static str, Reason)> {
        let idle = |why: &Reason| matches!(why, Reason::AriDue | Reason::DriftLook { .. });
        self.plan().steps.into_iter().filter(|step| !idle(&step.why)).map(|it| (it.effect.name(), it.why)).collect()
    }

    fn waits_for(&self, reason: impl Fn(&Reason) -> bool) -> Option<Timestamp> {
        self.plan().wakes.iter().find(|wake| reason(&wake.why)).map(|wake| wake.at)
    }

    fn happens(&mut self, event: Event) {
        let entry = Entry { seq: self.facts.ledger.seq.next(), at: self.now, event };
        self.facts.ledger.apply(&entry).expect("a story is legal");
    }

    /// Records decisions until only effects are left.
    fn decides(&mut self) {
        for _ in 0..16 {
            let record = self.plan().steps.into_iter().find_map(|step| match step.effect {
                Effect::Record(event) => Some(event),
                _ => None,
            });
            let Some(event) = record else { return };
            self.happens(event);
        }
        panic!("decisions do not come to an end: {:?}", self.does());
    }

    fn about(&self, number: u32) -> About {
        let leaf = sha256(&[&number.to_be_bytes()]);
        let start = self.now - Duration::from_secs(HOUR);
        let certificate = &self.spec.certificates[&name()];
        About {
            generation: GenId::new(number, &leaf),
            leaf,
            serial: Serial::from_der_content(&number.to_be_bytes()),
            key: key(),
            family: KeyFamily::Ecdsa,
            validity: Window { start, end: start + Duration::from_secs(LIFE) },
            names: certificate.names.clone(),
            ari: Some(format!("ari.{number}")),
            issued_by: "CA".into(),
            issuer: certificate.issuer.clone(),
            directory: "https://ca.example/dir".into(),
            rehearsal: false,
            account: "account".into(),
            spec_digest: certificate.digest(&self.spec.issuers[&certificate.issuer]),
            accepted: None,
        }
    }

    /// An order is intended, as the plan has it.
    fn intends(&mut self) -> Attempt {
        self.happens(Event::KeyMade { key: key(), algorithm: KeyAlgorithm::EcdsaP256 });
        let intent = self.plan().steps.into_iter().find_map(|step| match step.effect {
            Effect::OpenOrder { intent, attempt, .. } => Some((*intent, attempt)),
            _ => None,
        });
        let (intent, attempt) = intent.expect("an order is due");
        self.happens(intent);
        attempt
    }

    fn opens(&mut self, ready: bool) -> Attempt {
        let attempt = self.intends();
        let url = format!("https://ca.example/order/{attempt}");
        self.happens(Event::OrderOpened { attempt, url, account: "account".into(), expires: None, ready });
        attempt
    }

    /// From an order that is due to its accepted certificate.
    fn downloads(&mut self, number: u32) -> Attempt {
        let attempt = self.opens(true);
        for event in [Event::CsrIntended { attempt }, Event::CsrSubmitted { attempt }, Event::OrderValid { attempt }] {
            self.happens(event);
        }
        let about = self.about(number);
        self.happens(Event::ChainStaged { attempt, about });
        attempt
    }

    fn issues(&mut self, number: u32) -> GenId {
        self.downloads(number);
        let generation = self.about(number).generation;
        let epoch = self.facts.ledger.epoch.next();
        self.happens(Event::Accepted { generation, epoch, notes: Vec::new() });
        generation
    }

    fn aim(&self, number: u8) -> (Epoch, GenId) {
        let want = self.facts.ledger.want.as_ref().expect("something is wanted");
        (want.on(&node(number)).epoch, want.on(&node(number)).generation)
    }

    fn deploys(&mut self, number: u8) {
        let (epoch, generation) = self.aim(number);
        let node = node(number);
        self.happens(Event::Deployed { node, epoch, generation, notes: Vec::new(), placement: None });
    }

    fn reloads(&mut self, number: u8) {
        let verb = rollout::verb(&self.spec.nodes[&node(number)]);
        self.happens(Event::Reloaded { node: node(number), epoch: self.aim(number).0, verb });
    }

    fn shows(&mut self, number: u8, shown: Shown) {
        let certificate = &self.spec.certificates[&name()];
        let endpoint = certificate.endpoints[usize::from(number) - 1].clone();
        let leaf = self.facts.ledger.generations[&self.aim(number).1].about.leaf;
        let started = self.facts.ledger.seq;
        let observation = Observation { address: None, shown, matched: 0, notes: Vec::new() };
        let observations = vec![observation];
        let seen = EndpointSeen { started, at: self.now, leaf, whole: true, proof: None, before: None, observations };
        self.facts.seen.saw_endpoint(endpoint_id(&endpoint), seen);
    }

    fn lies_there(&mut self, number: u8, generation: GenId) {
        self.finds(number, Some(Published { generation: Some(generation), epoch: None, intact: true }));
    }

    fn finds(&mut self, number: u8, published: Option<Published>) {
        let started = self.facts.ledger.seq;
        let seen = sightings::NodeSeen { started, at: self.now, published, failure: None };
        self.facts.seen.nodes.insert(node(number), seen);
    }

    fn rolls_out(&mut self, numbers: &[u8]) {
        for number in numbers {
            self.deploys(*number);
            self.reloads(*number);
            self.shows(*number, Shown::Wanted);
        }
    }

    fn suggests(&mut self, from: i64, to: i64) -> Window {
        let generation = self.facts.ledger.newest_accepted().expect("issued").about.generation;
        let at = |secs: i64| Timestamp::from_secs(self.now.as_secs() + secs);
        let window = Window::new(at(from), at(to)).expect("a window");
        let retry_after = Duration::from_secs(6 * HOUR);
        let info = Some(RenewalInfo { window, retry_after, explanation: None });
        let (at, wait) = (self.now, 6 * HOUR * 1000);
        self.facts.seen.ari = Some(AriSeen { generation, at, info, failure: None, failures: 0, wait });
        window
    }

    fn asks(&mut self, octet: u8, ask: Ask) {
        self.happens(Event::Asked { id: request(octet), ask, by: "ops".into() });
    }

    fn old_leaf(&self) -> Shown {
        let not_after = self.now + Duration::from_secs(DAY);
        Shown::Other { leaf: sha256(&[&1u32.to_be_bytes()]), serial: Serial::from_der_content(&[1]), not_after }
    }

    fn broken() -> Shown {
        Shown::HandshakeFailed { failure: Failure::new(Class::Retry, "tls_handshake_failed", "edge", "alert") }
    }
}

fn names(done: &[(&'static str, Reason)]) -> Vec<&'static str> {
    done.iter().map(|(name, _)| *name).collect()
}

#[test]
fn from_nothing_to_live() {
    let mut story = Story::begins();
    assert_eq!(story.does(), [("make_key", Reason::First)]);
    story.happens(Event::KeyMade { key: key(), algorithm: KeyAlgorithm::EcdsaP256 });
    assert_eq!(story.does(), [("open_order", Reason::First)]);
    let generation = story.issues(1);
    let epoch = Epoch(1);
    let due = |number| ("deploy", Reason::NotDeployed { node: node(number), epoch });
    assert_eq!(story.does(), [due(1), due(2)]);
    story.deploys(1);
    assert_eq!(story.does(), [("reload", Reason::NotReloaded { node: node(1) }), due(2)]);
    story.reloads(1);
    story.rolls_out(&[2]);
    assert_eq!(names(&story.does()), ["look", "record"], "edge1 is to be looked at, edge2 is confirmed");
    story.shows(1, Shown::Wanted);
    story.decides();
    let live = story.facts.ledger.live.clone().expect("live");
    assert_eq!((live.epoch, live.generation), (epoch, generation));
    assert_eq!(story.does(), []);
}

#[test]
fn a_look_begun_before_the_reload_confirms_nothing() {
    let mut story = Story::live();
    story.asks(1, Ask::Deploy { node: Some(node(1)) });
    story.decides();
    story.deploys(1);
    story.shows(1, Shown::Wanted);
    story.reloads(1);
    assert_eq!(names(&story.does()), ["look"], "what was seen before the reload is no proof");
}

#[test]
fn a_dead_node_keeps_nothing_from_being_renewed() {
    let mut story = Story::begins();
    story.issues(1);
    story.rolls_out(&[1]);
    let down = Failure::new(Class::Retry, "node:unreachable", "edge2", "no route");
    story.happens(Event::DeployFailed { node: node(2), epoch: Epoch(1), failure: down });
    story.decides();
    story.later(60 * DAY);
    assert!(story.does().contains(&("make_key", Reason::Fallback)), "{:?}", story.does());
}

#[test]
fn the_cas_window_decides_and_last_call_ends_it() {
    let mut story = Story::live();
    let window = story.suggests(10 * 86_400, 11 * 86_400);
    let at = story.waits_for(|why| *why == Reason::Drawn { window }).expect("a drawn instant");
    assert!(window.contains(at));
    story.later(at.since(story.now).as_secs() + 1);
    assert_eq!(story.does(), [("make_key", Reason::Drawn { window })]);

    let mut story = Story::live();
    story.suggests(200 * 86_400, 201 * 86_400);
    story.later(LIFE - 4 * DAY);
    assert!(story.does().contains(&("make_key", Reason::LastCall)), "no window moves a renewal past the last call");

    let mut story = Story::live();
    let window = story.suggests(-86_400, -3_600);
    assert_eq!(story.does(), [("make_key", Reason::Recalled { window })]);
}

#[test]
fn a_run_looks_ahead_as_far_as_the_next_one() {
    let mut story = Story::live();
    story.horizon.span = Duration::from_secs(12 * HOUR);
    let window = story.suggests(3_600, 7_200);
    let at = schedule::drawn(&story.shared.seed, &name(), window);
    assert_eq!(story.does(), [("arm", Reason::ArmTimer { at })]);
    story.facts.seen.timer = Some(TimerSeen { at, tried: story.now, failure: None });
    assert_eq!(story.does(), [], "the timer will wake it");
    story.facts.seen.timer = Some(TimerSeen { at, tried: story.now, failure: Some(lost()) });
    assert_eq!(story.does(), [("make_key", Reason::NoTimer { at, failure: "no answer".into() })]);
    story.horizon.span = Duration::from_secs(7_000);
    assert_eq!(story.does(), [], "the next run still comes before the window's end");
    story.horizon.span = Duration::from_secs(12 * HOUR);
    story.later(3_601);
    assert_eq!(story.does(), [("make_key", Reason::AheadInWindow { at })]);
}

#[test]
fn a_lost_reply_is_tried_again_once_at_once_and_then_with_patience() {
    let mut story = Story::begins();
    story.intends();
    // A crash: nothing is in flight, and the intent is open.
    assert_eq!(story.does(), [("record", Reason::ReplyLost)]);
    story.decides();
    assert_eq!(names(&story.does()), ["open_order"]);
    story.intends();
    story.decides();
    assert_eq!(names(&story.does()), Vec::<&str>::new());
    assert!(story.waits_for(|why| matches!(why, Reason::Held { what: "issuing", .. })).is_some());
}

#[test]
fn a_rejected_chain_holds_for_a_day_and_a_person_goes_past_it() {
    let mut story = Story::live();
    story.later(61 * DAY);
    let attempt = story.opens(true);
    for event in [Event::CsrIntended { attempt }, Event::CsrSubmitted { attempt }, Event::OrderValid { attempt }] {
        story.happens(event);
    }
    let about = story.about(2);
    let generation = about.generation;
    story.happens(Event::ChainStaged { attempt, about });
    story.happens(Event::Rejected { generation, violations: Vec::new() });
    assert!(!names(&story.does()).contains(&"open_order"));
    assert_eq!(story.aim(1).1.number(), 1, "what is published stays");
    story.asks(1, Ask::Renew { force: false, new_key: false, yes: false });
    assert!(names(&story.does()).iter().any(|name| matches!(*name, "open_order" | "make_key")));
}

#[test]
fn a_force_fires_once_and_is_refused_where_deploying_helps() {
    let mut story = Story::live();
    let force = Ask::Renew { force: true, new_key: false, yes: false };
    story.asks(1, force.clone());
    assert_eq!(story.does(), [("make_key", Reason::Asked { id: request(1), by: "ops".into() })]);
    story.issues(2);
    assert!(story.facts.ledger.asks.is_empty() && story.facts.ledger.knows_request(&request(1)));
    story.asks(2, force);
    story.decides();
    assert!(story.facts.ledger.asks.is_empty(), "generation 2 is not live yet: refused");
    assert_eq!(names(&story.does()), ["deploy", "deploy"]);
}

#[test]
fn who_asked_for_an_order_whose_reply_was_lost_is_owed_another() {
    let mut story = Story::live();
    story.asks(1, Ask::Renew { force: true, new_key: false, yes: false });
    story.intends();
    story.decides();
    assert_eq!(story.does(), [("open_order", Reason::ReplyLost)]);
    story.intends();
    story.decides();
    assert_eq!(story.does(), [], "a second one in a row waits, and is owed still");
    story.later(HOUR);
    story.issues(2);
    story.rolls_out(&[1, 2]);
    story.decides();
    assert_eq!(story.does(), [], "what was owed is paid");
}

#[test]
fn a_rollback_stands_until_its_own_generation_ends() {
    let mut story = Story::live();
    story.later(61 * DAY);
    story.issues(2);
    story.rolls_out(&[1, 2]);
    story.decides();
    story.asks(1, Ask::Rollback { to: None, node: None });
    story.decides();
    assert_eq!(story.aim(1).1.number(), 1);
    story.rolls_out(&[1, 2]);
    story.decides();
    story.later(20 * DAY);
    assert_eq!(story.does(), [], "nothing undoes it");
    story.later(5 * DAY);
    assert_eq!(story.does(), [("make_key", Reason::LastCall)]);
}

#[test]
fn an_edit_abandons_the_open_order_without_a_failure() {
    let mut story = Story::begins();
    story.opens(false);
    let extra: Identifier = "www.shop.example.org".parse().expect("name");
    story.certificate().names.push(extra);
    assert_eq!(story.does(), [("record", Reason::OrderOutdated)]);
    story.decides();
    assert_eq!(story.facts.ledger.issue.failures, 0);
    assert_eq!(names(&story.does()), ["open_order"]);
}

#[test]
fn challenges_of_a_certificate_that_is_gone_are_taken_down() {
    let mut story = Story::begins();
    let attempt = story.opens(false);
    let proofs = vec![proof()];
    story.happens(Event::ChallengesOffered { attempt, proofs: proofs.clone() });
    story.happens(Event::ChallengesIntended { attempt, proofs });
    assert!(matches!(story.facts.ledger.order.as_ref().map(|it| &it.phase), Some(Phase::PuttingUp { .. })));
    story.spec.certificates.clear();
    story.decides();
    assert_eq!(story.does(), [("take_down", Reason::LeftBehind)]);
    story.happens(Event::ChallengesDown { attempt });
    story.decides();
    assert_eq!(story.does(), []);
    assert!(story.facts.ledger.retired.is_some());
}

#[test]
fn a_snapshot_reads_back_as_what_it_was_taken_of() {
    let story = Story::live();
    let mut ledger = story.facts.ledger.clone();
    ledger.left_up.insert(Attempt(17), Vec::new());
    let told = ledger.told.entry("ops".parse().expect("name")).or_default();
    told.insert(Alert::Node(node(1)), story.now);
    let event = Event::Snapshot { ledger: Box::new(ledger.clone()) };
    let written = serde_json::to_string(&event).expect("it can be written");
    let event: Event = serde_json::from_str(&written).expect("it can be read");
    let mut replayed = Ledger::default();
    let later = story.now + Duration::from_secs(DAY);
    replayed.apply(&Entry { seq: ledger.seq, at: later, event }).expect("it can be replayed");
    assert_eq!(replayed, ledger);
}
