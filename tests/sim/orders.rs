//! Single decisions about orders: a journal is told, and the plan is asked what comes next.

use crate::configured::configured;
use crate::scenario::Run;
use everleaf::config::spec::Spec;
use everleaf::core::shared::IssuerFacts;
use everleaf::core::{Ask, Docket, Effect, Entry, Event, Facts, Horizon, Plan, Shared, Slot, WakeKind, admit, plan};
use everleaf::ports::About;
use everleaf::types::{Attempt, CertName, Class, Failure, GenId, KeyFamily, KeyId, Timestamp, Window, sha256};
use std::time::Duration;

/// One certificate, its facts and the time.
struct Case {
    spec: Spec,
    name: CertName,
    facts: Facts,
    shared: Shared,
    now: Timestamp,
}

const ATTEMPT: Attempt = Attempt(1);
const DAY: Duration = Duration::from_secs(86_400);

impl Case {
    fn new() -> Self {
        let spec = configured(1, 1);
        let name = crate::world::name("c0");
        let issuers = spec.issuers.keys().map(|issuer| (issuer.clone(), IssuerFacts::default())).collect();
        let shared = Shared { issuers, ..Shared::default() };
        Self { spec, name, facts: Facts::default(), shared, now: Timestamp::from_secs(1_800_000_000) }
    }

    fn happened(&mut self, event: Event) {
        let seq = self.facts.ledger.seq.next();
        self.facts.ledger.apply(&Entry { seq, at: self.now, event }).expect("it can happen");
    }

    fn plan(&self) -> Plan {
        let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
        plan(&self.spec, &self.name, &self.facts, &self.shared, self.now, horizon)
    }

    /// What the issue track does next.
    fn next(&self) -> Option<Effect> {
        self.plan().steps.into_iter().find(|step| step.slot == Slot::Issue).map(|step| step.effect)
    }

    fn intended(&mut self) {
        let certificate = &self.spec.certificates[&self.name];
        let issuer = &self.spec.issuers[&certificate.issuer];
        let event = Event::OrderIntended {
            attempt: self.facts.ledger.attempts.next(),
            key: key(),
            issuer: issuer.name.clone(),
            directory: issuer.directory.clone(),
            spec_digest: certificate.digest(issuer),
            names: certificate.names.clone(),
            profile: None,
            replaces: None,
            asked: None,
            early_window: false,
            settings: Some(issuer.settings()),
            why: "a test".into(),
        };
        self.happened(event);
    }

    fn opened(&mut self, ready: bool) {
        self.intended();
        let attempt = self.facts.ledger.attempts;
        let (url, account) = ("https://ca.example/order/1".to_owned(), "https://ca.example/account/1".to_owned());
        self.happened(Event::OrderOpened { attempt, url, account, expires: None, ready });
    }

    /// A certificate that lives as long as `life`, staged and not yet judged.
    fn staged(&mut self, life: Duration) -> GenId {
        self.opened(true);
        let attempt = self.facts.ledger.attempts;
        self.happened(Event::OrderValid { attempt });
        let certificate = &self.spec.certificates[&self.name];
        let issuer = &self.spec.issuers[&certificate.issuer];
        let leaf = sha256(&[attempt.to_string().as_bytes()]);
        let generation = GenId::new(self.facts.ledger.last_number + 1, &leaf);
        let about = About {
            generation,
            leaf,
            serial: "0a".parse().expect("a serial number"),
            key: key(),
            family: KeyFamily::Ecdsa,
            validity: Window { start: self.now, end: self.now + life },
            names: certificate.names.clone(),
            ari: None,
            issued_by: "CN=CA".into(),
            issuer: issuer.name.clone(),
            directory: issuer.directory.clone(),
            rehearsal: false,
            account: "https://ca.example/account/1".into(),
            spec_digest: certificate.digest(issuer),
            accepted: None,
        };
        self.happened(Event::ChainStaged { attempt, about });
        generation
    }

    fn accepted(&mut self, life: Duration) {
        let generation = self.staged(life);
        let epoch = self.facts.ledger.epoch.next();
        self.happened(Event::Accepted { generation, epoch, notes: Vec::new() });
    }

    fn step_failed(&mut self, failure: Failure) {
        self.happened(Event::StepFailed { attempt: self.facts.ledger.attempts, failure });
    }

    fn gives_up(&self, code: &str) -> bool {
        matches!(self.next(), Some(Effect::Record(Event::OrderFailed { failure, .. })) if failure.code == code)
    }
}

fn key() -> KeyId {
    sha256(&[b"key"])
}

fn failure(class: Class, code: &str) -> Failure {
    Failure::new(class, code, "https://ca.example/order/1", "it broke")
}

#[test]
fn a_csr_that_fails_again_and_again_is_not_sent_every_few_seconds() {
    let mut case = Case::new();
    case.opened(true);
    let mut sent = 0;
    while matches!(case.next(), Some(Effect::SubmitCsr { .. })) {
        sent += 1;
        assert!(sent < 10, "it goes round in circles");
        case.happened(Event::CsrIntended { attempt: ATTEMPT });
        case.step_failed(failure(Class::Retry, "acme:http500"));
        // A one-shot run sits out what is a pause and ends at a hold.
        if let Some(pause) = case.plan().pause() {
            case.now = pause.at;
            assert!(matches!(case.next(), Some(Effect::LookAtOrder { .. })));
            case.happened(Event::OrderReady { attempt: ATTEMPT });
        }
    }
    assert_eq!(sent, 3);
    assert!(case.plan().wakes.iter().any(|wake| wake.kind == WakeKind::Hold && wake.at > case.now));
}

#[test]
fn what_is_lost_for_an_order_ends_it() {
    for code in ["key:missing", "key:damaged", "acme:authorizationGone", "acme:orderGone"] {
        let mut case = Case::new();
        case.opened(false);
        case.step_failed(failure(Class::Retry, code));
        assert!(case.gives_up(code), "{code}");
    }
    for code in ["generation:missing", "generation:damaged"] {
        let mut case = Case::new();
        case.staged(DAY);
        case.step_failed(failure(Class::Operator, code));
        assert!(case.gives_up(code), "{code}");
    }
    let mut case = Case::new();
    case.staged(DAY);
    case.step_failed(failure(Class::Operator, "state:eacces"));
    assert_eq!(case.next(), None, "it is judged when it can be read again");
}

#[test]
fn an_order_that_never_moves_is_given_up_in_whatever_phase() {
    let mut case = Case::new();
    case.opened(true);
    case.happened(Event::CsrIntended { attempt: ATTEMPT });
    for _ in 0..1_000 {
        // A CA that wishes for no wait at all is not asked in a loop.
        case.happened(Event::OrderPending { attempt: ATTEMPT, retry_after: Some(0) });
        if case.gives_up("acme:orderStuck") {
            return;
        }
        case.now = case.plan().pause().expect("a pause").at;
    }
    panic!("a thousand looks");
}

#[test]
fn who_asks_for_an_order_while_one_is_open_gets_that_one() {
    let mut case = Case::new();
    case.spec.certificates.values_mut().for_each(|it| it.hooks = everleaf::config::spec::CertHooks::default());
    let generation = case.staged(90 * DAY);
    let force = |new_key| Ask::Renew { force: true, new_key, yes: true };
    for (octet, new_key) in [(1, false), (2, true)] {
        let id = everleaf::types::RequestId::from_random([octet; 16]);
        case.happened(Event::Asked { id, ask: force(new_key), by: "somebody".into() });
    }
    let epoch = case.facts.ledger.epoch.next();
    case.happened(Event::Accepted { generation, epoch, notes: Vec::new() });
    let left: Vec<&Ask> = case.facts.ledger.asks.values().map(|asked| &asked.ask).collect();
    assert_eq!(left, [&force(true)], "a new key was not in that order");
}

#[test]
fn a_short_life_is_not_spent_in_one_hold() {
    let hour = Duration::from_secs(3_600);
    let mut case = Case::new();
    case.accepted(24 * hour);
    case.now = case.now + 20 * hour;
    case.opened(false);
    case.step_failed(failure(Class::Operator, "acme:caa"));
    case.happened(Event::OrderFailed { attempt: Attempt(2), failure: failure(Class::Operator, "acme:caa") });
    let hold = case.plan().wakes.into_iter().find(|wake| wake.kind == WakeKind::Hold).expect("a hold");
    assert_eq!(hold.at.since(case.now), 4 * hour, "a sixth of its life, and not a day");
    case.shared.issuers.values_mut().for_each(|issuer| {
        issuer.trouble.step(case.now, &failure(Class::Operator, "acme:userActionRequired"));
    });
    case.now = case.now + 4 * hour;
    assert!(matches!(case.next(), Some(Effect::MakeKey { .. })), "a CA's trouble does not end it either");
}

#[test]
fn a_person_waits_no_longer_than_the_ca_asked_for() {
    let mut case = Case::new();
    case.intended();
    let refused = failure(Class::Operator, "acme:caa").wait(Some(Duration::from_secs(5)));
    case.happened(Event::OrderFailed { attempt: ATTEMPT, failure: refused });
    let id = everleaf::types::RequestId::from_random([1; 16]);
    let ask = Ask::Renew { force: true, new_key: false, yes: false };
    case.happened(Event::Asked { id, ask, by: "somebody".into() });
    assert_eq!(case.next(), None, "not before the CA's five seconds");
    case.now = case.now + Duration::from_secs(5);
    assert!(matches!(case.next(), Some(Effect::MakeKey { .. })));
}

#[test]
fn what_the_issuers_settings_caused_is_over_when_they_are_edited() {
    let mut case = Case::new();
    let refused = failure(Class::Spec, "acme:termsOfService");
    let settings = case.spec.issuers.values().next().map(everleaf::config::spec::Issuer::settings);
    case.intended();
    case.happened(Event::OrderFailed { attempt: ATTEMPT, failure: refused.clone() });
    case.shared.issuers.values_mut().for_each(|issuer| {
        issuer.trouble.step(case.now, &refused);
        issuer.troubled_with = settings;
    });
    assert_eq!(case.next(), None);
    case.spec.issuers.values_mut().for_each(|issuer| issuer.contact.push("mailto:ops@example.org".into()));
    assert!(matches!(case.next(), Some(Effect::MakeKey { .. })));
}

#[test]
fn only_an_order_without_a_csr_is_given_back() {
    let mut case = Case::new();
    case.opened(true);
    let ends = Event::OrderFailed { attempt: ATTEMPT, failure: failure(Class::Retry, "acme:orderGone") };
    let lost = Event::OrderAbandoned { attempt: ATTEMPT, lost: true, why: "a crash".into() };
    assert!(case.facts.ledger.ends_unissued(&ends).is_some());
    assert!(case.facts.ledger.ends_unissued(&lost).is_none(), "what was asked for and not seen counts");
    case.happened(Event::CsrIntended { attempt: ATTEMPT });
    assert!(case.facts.ledger.ends_unissued(&ends).is_none());
}

#[test]
fn a_rebuilt_journal_is_trouble_only_where_it_holds_something_back() {
    let mut case = Case::new();
    case.accepted(90 * DAY);
    let about = case.facts.ledger.newest_accepted().expect("one").about.clone();
    let generations = vec![About { accepted: Some(case.now), ..about }];
    case.happened(Event::Rebuilt { generations, note: "it was damaged".into() });
    let stuck = |case: &Case| {
        let standing = everleaf::core::outcome::standing(
            &case.spec,
            &case.name,
            &case.facts,
            &case.shared,
            &case.plan(),
            case.now,
        );
        standing.troubles.iter().any(|failure| failure.code == "state:rebuilt")
    };
    assert!(!stuck(&case));
    case.spec.certificates.values_mut().for_each(|it| it.names.truncate(1));
    assert!(stuck(&case), "it would be ordered again now");
}

#[test]
fn many_certificates_meet_one_outage_once() {
    use crate::faults::Rates;
    use crate::scenario::{Habit, SECOND};
    let mut spec = configured(1, 1);
    let (_, one) = spec.certificates.pop_first().expect("one");
    for number in 0..40 {
        let name = crate::world::name(&format!("many{number}"));
        spec.certificates.insert(name.clone(), everleaf::config::spec::Certificate { name, ..one.clone() });
    }
    let parallel = u64::try_from(spec.issuers.values().next().expect("an issuer").parallel).expect("a number");
    let mut run = Run::new(1, spec, Rates::default(), Habit::Timer(0));
    run.world.state().cas.values_mut().for_each(|ca| ca.down_until = u64::MAX);
    assert_eq!(run.until(600 * SECOND), Ok(()));
    let orders = run.counts().get(&("event", "OrderIntended")).copied().unwrap_or(0);
    // Those whose `pre` hook was under way when the first failed may come after its two seconds.
    assert!((1..=2 * parallel).contains(&orders), "{orders} orders at a CA that is down");
}

#[test]
fn what_was_forced_in_vain_is_over_with_its_wait() {
    let mut case = Case::new();
    case.accepted(90 * DAY);
    let id = everleaf::types::RequestId::from_random([1; 16]);
    let ask = Ask::Renew { force: true, new_key: false, yes: true };
    case.happened(Event::Asked { id, ask, by: "somebody".into() });
    case.opened(false);
    case.happened(Event::OrderFailed {
        attempt: case.facts.ledger.attempts,
        failure: failure(Class::Operator, "acme:caa"),
    });
    case.facts.ledger.asks.clear();
    let troubles = |case: &Case| {
        let (spec, name, facts, shared) = (&case.spec, &case.name, &case.facts, &case.shared);
        everleaf::core::outcome::standing(spec, name, facts, shared, &case.plan(), case.now).troubles
    };
    assert!(troubles(&case).iter().any(|failure| failure.code == "acme:caa"), "who forced it sees why it failed");
    case.now = case.now + DAY * 2;
    assert!(troubles(&case).is_empty(), "nothing is due for weeks, and nothing is wrong");
    case.now = case.now + DAY * 60;
    assert!(troubles(&case).iter().any(|failure| failure.code == "acme:caa"), "it is due, and was not ordered since");
}

#[test]
fn where_the_ca_has_few_places_what_has_ended_comes_first_and_nobody_is_last_for_ever() {
    let mut late = Case::new();
    let settings = late.spec.issuers.values_mut().next().expect("an issuer");
    settings.parallel = 1;
    let (spec, shared, base) = (late.spec.clone(), late.shared.clone(), late.now);
    let ready = |mut case: Case, after: Duration| {
        case.now = case.now + after;
        let algorithm = case.spec.certificates[&case.name].key;
        for event in [Event::PreIntended, Event::PreDone, Event::KeyMade { key: key(), algorithm }] {
            case.happened(event);
        }
        assert!(matches!(case.next(), Some(Effect::OpenOrder { .. })), "{:?}", case.plan());
        case.plan()
    };
    let mut soon = Case::new();
    soon.accepted(DAY * 90);
    late.accepted(DAY * 30);
    let plans = [ready(soon, DAY * 61), ready(Case::new(), DAY * 61), ready(late, DAY * 31)];
    let mut waiting: Vec<(CertName, Plan)> =
        ["a-soon", "b-new", "c-ended"].map(crate::world::name).into_iter().zip(plans).collect();
    let mut begun = Vec::new();
    while !waiting.is_empty() {
        let mut docket = Docket::default();
        for (name, plan) in &waiting {
            docket.enter(name, plan.clone(), None);
        }
        let batch = admit(&docket, &spec, &shared, base + DAY * 61);
        let mut orders = batch.work.iter().filter(|work| matches!(work.effect(), Some(Effect::OpenOrder { .. })));
        let (Some(work), None) = (orders.next(), orders.next()) else { panic!("one place, one order: {batch:?}") };
        let name = work.parts[0].0.clone();
        waiting.retain(|(other, _)| *other != name);
        begun.push(name.to_string());
    }
    assert_eq!(begun, ["c-ended", "b-new", "a-soon"]);
}
