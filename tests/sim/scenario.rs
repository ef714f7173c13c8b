//! What is configured, and how a run of the world goes: processes, operators, time.

use crate::ca::Client;
use crate::dice::Dice;
use crate::faults::{Fault, Rates};
use crate::world::{Death, DiesAt, Peer, World, name};
use everleaf::agent::{Agent, Observer, Ports, Report, Settings};
use everleaf::config::spec::{
    Access, Budget, CertHooks, Certificate, Confirm, Endpoint, Expect, Handshakes, Hook, Http01, Issuer, KeyAlgorithm,
    Limits, Node, NodeKind, Notifier, NotifierKind, Paths, Quota, Reload, Rollout, Roots, Solver, Spec, StartTls,
    Target, Usage,
};
use everleaf::core::{Ask, Event, Horizon, Reason, Work};
use everleaf::ports::{Ca, Journal, Memory, Request};
use everleaf::types::{CertName, Failure, Identifier, IssuerName, NodeName, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

// -------------------------------------------------------------------------------------------------------- configuration

/// So many certificates on so many nodes, each a little different.
pub(crate) fn configured(certificates: u8, nodes: u8) -> Spec {
    let node_names: Vec<NodeName> = (0..nodes).map(|at| format!("edge{at}").parse().expect("name")).collect();
    let issuer: IssuerName = "ca".parse().expect("name");
    let hook =
        Hook { argv: vec!["true".into()], shell: false, timeout: Duration::from_secs(120), certbot: false, unit: None };
    let node = |name: &NodeName| Node {
        name: name.clone(),
        kind: NodeKind::Exec(hook.clone()),
        live: "/live".into(),
        check: None,
        reload: Reload::Hook,
    };
    let notifier = Notifier { name: "ops".parse().expect("name"), kind: NotifierKind::Exec(hook.clone()) };
    Spec {
        paths: Paths { state: "/state".into(), live: "/live".into(), run: "/run".into() },
        resolvers: Vec::new(),
        http_port: 80,
        every: None,
        issuers: [(issuer.clone(), an_issuer(issuer))].into(),
        nodes: node_names.iter().map(|name| (name.clone(), node(name))).collect(),
        certificates: (0..certificates).map(|at| a_certificate(at, &node_names, &hook)).collect(),
        notifiers: [(notifier.name.clone(), notifier)].into(),
        ping: None,
        metrics: None,
        limits: Limits::default(),
    }
}

fn an_issuer(name: IssuerName) -> Issuer {
    Issuer {
        name,
        directory: "https://ca.example/dir".into(),
        roots: Roots::System,
        ca_bundle: None,
        contact: Vec::new(),
        agree_to_terms: true,
        profile: None,
        external_account: None,
        budget: Budget {
            per_set: Some(Quota { count: 3, per: Duration::from_secs(2 * 86_400) }),
            per_domain: None,
            per_account: Some(Quota { count: 300, per: Duration::from_secs(3 * 3_600) }),
            ..Budget::default()
        },
        parallel: 4,
        dry_run: None,
    }
}

fn a_certificate(at: u8, nodes: &[NodeName], hook: &Hook) -> (CertName, Certificate) {
    let name = name(&format!("c{at}"));
    let names: Vec<Identifier> =
        ["", "www."].iter().map(|prefix| format!("{prefix}{name}.example.org").parse().expect("name")).collect();
    let solver = Solver::Http01(Http01::Webroot("/webroot".into()));
    // Every third certificate stands behind a balancer: nobody knows which node answers.
    let balanced = at % 3 == 2;
    let endpoint = |(number, node): (usize, &NodeName)| Endpoint {
        target: Target::Address(SocketAddr::from(([10, 0, at, u8::try_from(number).unwrap_or(0)], 443))),
        sni: names[0].clone(),
        node: (!balanced).then(|| node.clone()),
        starttls: StartTls::No,
        expect: Expect::Leaf,
    };
    let many = if balanced { 1 } else { nodes.len() };
    let hooked = at.is_multiple_of(2);
    let certificate = Certificate {
        name: name.clone(),
        was: None,
        solvers: names.iter().map(|name| (name.clone(), solver.clone())).collect(),
        endpoints: nodes.iter().enumerate().take(many).map(endpoint).collect(),
        names,
        issuer: "ca".parse().expect("name"),
        profile: None,
        key: KeyAlgorithm::EcdsaP256,
        reuse_key: at % 4 == 3,
        usage: Usage::Server,
        nodes: nodes.to_vec(),
        confirm: Confirm::Handshakes(Handshakes {
            count: 3,
            over: Duration::from_secs(3),
            drain: Duration::from_secs(30),
            every: Duration::from_secs(6 * 3_600),
        }),
        rollout: Rollout {
            canaries: if at % 2 == 1 { nodes.iter().take(1).cloned().collect() } else { Vec::new() },
            parallel: 2,
            roll_back: at % 2 == 1,
        },
        access: Access { owner: None, group: None, key_mode: 0o640, cert_mode: 0o644, dir_mode: 0o755 },
        files: Vec::new(),
        hooks: CertHooks { pre: hooked.then(|| hook.clone()), deploy: Vec::new(), post: hooked.then(|| hook.clone()) },
        placeholder: at == 0,
        notify: Vec::new(),
    };
    (name, certificate)
}

// ------------------------------------------------------------------------------------------------------------ processes

struct Counting(Peer);

impl Observer for Counting {
    fn began(&self, work: &Work) {
        if let Some(effect) = work.effect() {
            self.0.state().count(format!("effect:{}", effect.name()));
        }
    }

    fn happened(&self, _: &CertName, event: &Event) {
        let kind = serde_json::to_value(event).ok().and_then(|event| event["kind"].as_str().map(str::to_owned));
        self.0.state().count(format!("event:{}", kind.unwrap_or_default()));
    }
}

struct Process {
    pid: u32,
    daemon: bool,
    since: u64,
    burst: Pin<Box<dyn Future<Output = Result<Report, Failure>>>>,
}

/// What a process came to.
enum Ended {
    Done(Result<Report, Failure>),
    Died,
}

impl Process {
    fn poll(&mut self) -> Option<Ended> {
        let mut context = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| self.burst.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(result)) => Some(Ended::Done(result)),
            Err(death) if death.is::<Death>() => Some(Ended::Died),
            Err(panic) => resume_unwind(panic),
        }
    }
}

fn ports(peer: &Peer, spec: &Spec) -> Ports {
    let shared = Rc::new(peer.clone());
    let client = |issuer: &IssuerName| -> Rc<dyn Ca> { Rc::new(Client::new(peer.clone(), issuer.clone())) };
    Ports {
        clock: shared.clone(),
        journal: shared.clone(),
        locks: shared.clone(),
        memory: shared.clone(),
        keys: shared.clone(),
        generations: shared.clone(),
        cas: spec.issuers.keys().map(|issuer| (issuer.clone(), client(issuer))).collect(),
        solvers: shared.clone(),
        deployer: shared.clone(),
        reloader: shared.clone(),
        hooks: shared.clone(),
        prober: shared.clone(),
        notify: shared.clone(),
        alarm: shared,
    }
}

// ------------------------------------------------------------------------------------------------------------------ runs

/// How everleaf is run on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// A daemon that is always there.
    Daemon,
    /// A timer that starts it so often, in milliseconds.
    Timer(u64),
}

enum Deed {
    /// Everleaf starts.
    Start { daemon: bool },
    /// Whatever may happen in an hour happens.
    Hour,
    /// A removed certificate is configured again.
    PutBack(Box<Certificate>),
}

/// A run of the world.
pub(crate) struct Run {
    pub(crate) world: Rc<World>,
    habit: Habit,
    processes: Vec<Process>,
    agenda: BTreeMap<(u64, u64), Deed>,
    deeds: u64,
    pids: u32,
    /// When a daemon looks at each certificate again.
    due: BTreeMap<CertName, u64>,
    /// What the last whole pass of a habit's process reported.
    pub(crate) last: Option<Report>,
    /// Only this node may ever fail, when given: then nothing expires anywhere else.
    pub(crate) scapegoat: Option<NodeName>,
}

/// How long a daemon leaves a certificate alone of which nothing is due.
const ROUTINE: u64 = 6 * HOUR;
/// A run that takes more steps than this without ending goes round in circles.
const MOST_POINTS_AN_HOUR: u64 = 40_000;

impl Run {
    pub(crate) fn new(seed: u64, spec: Spec, rates: Rates, habit: Habit) -> Self {
        let world = World::new(seed, Rc::new(spec), rates);
        let agenda = BTreeMap::new();
        let mut run = Self {
            world,
            habit,
            processes: Vec::new(),
            agenda,
            deeds: 0,
            pids: 0,
            due: BTreeMap::new(),
            last: None,
            scapegoat: None,
        };
        run.plan(0, Deed::Start { daemon: habit == Habit::Daemon });
        run.plan(HOUR, Deed::Hour);
        run
    }

    pub(crate) fn dies_at(&self, point: u64) {
        self.world.state().dies_at = Some(DiesAt { point });
    }

    fn plan(&mut self, at: u64, deed: Deed) {
        self.deeds += 1;
        self.agenda.insert((at, self.deeds), deed);
    }

    /// Lets the world run until `until`. The first violation ends it.
    pub(crate) fn until(&mut self, until: u64) -> Result<(), String> {
        let (mut points, mut hour) = (0, 0);
        loop {
            let now = self.world.state().mono;
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
                let deed = entry.remove();
                self.act(deed);
            }
            self.wake_alarms(now);
            self.poll_all();
            self.check()?;
            let state = self.world.state();
            if state.mono / HOUR > hour {
                (points, hour) = (state.points, state.mono / HOUR);
            }
            if state.points - points > MOST_POINTS_AN_HOUR {
                return Err("runs_come_to_an_end: it goes round in circles".to_owned());
            }
            drop(state);
            let next = [self.world.next_timer(), self.agenda.keys().next().map(|(at, _)| *at), self.next_alarm()];
            match next.into_iter().flatten().min() {
                Some(next) if next <= until => self.world.advance_to(next),
                _ => {
                    self.world.advance_to(until);
                    return Ok(());
                }
            }
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let mut state = self.world.state();
        let late = self.processes.iter().any(|process| state.mono - process.since > 2 * HOUR);
        if late && state.watcher.clock_set.is_none_or(|at| state.mono - at > 4 * HOUR) {
            state.watcher.violated("runs_come_to_an_end", "a process is still there after two hours");
        }
        if let Some(node) = &self.scapegoat {
            state.nothing_has_expired(Some(node));
        }
        match state.watcher.violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    // -------------------------------------------------------------------------------------------------------- processes

    fn start(&mut self, daemon: bool) {
        self.pids += 1;
        let peer = Peer { world: Rc::clone(&self.world), pid: self.pids };
        let spec = Rc::clone(&peer.state().spec);
        let span = match self.habit {
            Habit::Timer(every) if !daemon => Duration::from_millis(every),
            _ => Duration::ZERO,
        };
        let began = (!daemon).then(|| peer.state().now());
        let settings = Settings {
            horizon: Horizon { span, issue: true, began },
            deadline: Duration::from_secs(1_800),
            rehearsal: false,
            host: "sim".into(),
        };
        let kept = peer.certificates().unwrap_or_default();
        let names: BTreeSet<CertName> = spec.certificates.keys().cloned().chain(kept).collect();
        let names: Vec<CertName> = names.into_iter().filter(|name| !daemon || self.is_due(name)).collect();
        let agent = Agent::new(Rc::clone(&spec), ports(&peer, &spec), settings, Rc::new(Counting(peer.clone())));
        let burst = Box::pin(async move { agent.burst(&names).await });
        let since = peer.state().mono;
        if !daemon {
            peer.state().watcher.one_shots.push(since);
        }
        self.processes.push(Process { pid: self.pids, daemon, since, burst });
    }

    /// Whether a daemon looks at a certificate now: by its last plan, or because somebody asked or edited.
    fn is_due(&self, name: &CertName) -> bool {
        let state = self.world.state();
        let asked = state.store.requests.get(name).is_some_and(|requests| !requests.is_empty());
        asked || self.due.get(name).is_none_or(|due| *due <= state.mono)
    }

    fn poll_all(&mut self) {
        let mut at = 0;
        while at < self.processes.len() {
            let Some(ended) = self.processes[at].poll() else {
                at += 1;
                continue;
            };
            let process = self.processes.remove(at);
            let (pid, daemon) = (process.pid, process.daemon);
            drop(process);
            match ended {
                Ended::Done(result) => self.done(pid, daemon, result),
                Ended::Died => self.died(daemon),
            }
        }
    }

    fn done(&mut self, pid: u32, daemon: bool, result: Result<Report, Failure>) {
        let (mono, now) = {
            let mut state = self.world.state();
            if let Ok(report) = &result {
                state.reported(report);
            }
            state.say(|| format!("[{pid}] ends"));
            (state.mono, state.now())
        };
        for (name, account) in result.as_ref().ok().into_iter().flat_map(|report| &report.certificates) {
            // What is only routine can wait longer here than in the world outside, which has more time than a test.
            let wake = account.plan.wakes.iter().find(|wake| wake.why != Reason::Routine).map(|wake| wake.at);
            let wait = wake.map_or(ROUTINE, |at| crate::world::millis(at.since(now)).clamp(SECOND, ROUTINE));
            let wait = if account.locked.is_some() || account.broken.is_some() { MINUTE } else { wait };
            self.due.insert(name.clone(), mono + wait);
        }
        if daemon {
            let next = self.due.values().min().copied().unwrap_or(0).clamp(mono + SECOND, mono + ROUTINE);
            self.plan(next, Deed::Start { daemon });
        }
        if let Ok(report) = result {
            self.last = Some(report);
        }
    }

    fn died(&mut self, daemon: bool) {
        let (mono, again) = {
            let mut state = self.world.state();
            self.due.clear();
            if state.strikes(Fault::SightingsLost) {
                state.store.seen.clear();
            }
            state.count("death");
            let again = SECOND + state.dice.below(MINUTE);
            (state.mono, again)
        };
        // Whoever is not a daemon is started again by its timer; in a sweep, at once.
        if daemon || self.habit == Habit::Timer(0) {
            self.plan(mono + again, Deed::Start { daemon });
        }
    }

    fn next_alarm(&self) -> Option<u64> {
        self.world.state().alarms.iter().min().copied()
    }

    fn wake_alarms(&mut self, now: u64) {
        let due = {
            let mut state = self.world.state();
            let before = state.alarms.len();
            state.alarms.retain(|at| *at > now);
            before > state.alarms.len()
        };
        if due {
            self.start(false);
        }
    }

    // ------------------------------------------------------------------------------------------------------------ deeds

    fn act(&mut self, deed: Deed) {
        let mono = self.world.state().mono;
        match deed {
            Deed::Start { daemon } => {
                if let Habit::Timer(every) = self.habit
                    && every > 0
                    && !daemon
                {
                    self.plan(mono + every, Deed::Start { daemon });
                }
                self.start(daemon);
            }
            Deed::Hour => {
                self.plan(mono + HOUR, Deed::Hour);
                self.an_hour_passes(mono);
            }
            Deed::PutBack(certificate) => {
                self.edit(|spec| drop(spec.certificates.insert(certificate.name.clone(), *certificate)));
            }
        }
    }

    fn an_hour_passes(&mut self, mono: u64) {
        self.nodes_fail(mono);
        let strikes = |run: &Self, fault| run.world.state().strikes(fault);
        if strikes(self, Fault::CaDown) {
            let mut state = self.world.state();
            let until = mono + HOUR + state.dice.below(8 * HOUR);
            state.cas.values_mut().for_each(|ca| ca.down_until = until);
        }
        if strikes(self, Fault::SecondPeer) {
            self.start(false);
        }
        for (fault, sign) in [(Fault::ClockBack, -1), (Fault::ClockAhead, 1)] {
            if strikes(self, fault) {
                let mut state = self.world.state();
                let jump = 60 * SECOND + state.dice.below(3 * HOUR);
                state.offset = sign * i64::try_from(jump).unwrap_or(0);
                state.watcher.clock_set = Some(mono);
            }
        }
        let offset = self.world.state().offset;
        if offset != 0 && self.world.state().dice.below(3) == 0 {
            let mut state = self.world.state();
            state.offset = 0;
            state.watcher.clock_set = Some(mono);
        }
        self.people_ask();
        self.people_edit(mono);
    }

    fn nodes_fail(&mut self, mono: u64) {
        let spec = Rc::clone(&self.world.state().spec);
        for node in spec.nodes.keys() {
            if self.scapegoat.as_ref().is_some_and(|goat| goat != node) {
                continue;
            }
            let mut state = self.world.state();
            for fault in [
                Fault::NodeDown,
                Fault::HookLies,
                Fault::HookFails,
                Fault::SlowHook,
                Fault::NodeDiskFull,
                Fault::InspectUnknown,
                Fault::BreaksOnNew,
            ] {
                if state.strikes(fault) {
                    let until = mono + HOUR / 2 + state.dice.below(10 * HOUR);
                    let machine = state.node(node);
                    *match fault {
                        Fault::NodeDown => &mut machine.down_until,
                        Fault::HookLies => &mut machine.lies_until,
                        Fault::HookFails => &mut machine.fails_until,
                        Fault::SlowHook => &mut machine.slow_until,
                        Fault::NodeDiskFull => &mut machine.full_until,
                        Fault::InspectUnknown => &mut machine.unknown_until,
                        _ => &mut machine.breaks_until,
                    } = until;
                }
            }
            if state.strikes(Fault::ForeignFiles) {
                let salt = state.dice.next();
                let names: Vec<CertName> = spec.certificates.keys().cloned().collect();
                if let Some(name) = state.dice.pick(&names).cloned() {
                    state.node(node).overwrite(&name, salt);
                }
            }
            if state.strikes(Fault::ServerRestart) {
                state.node(node).load(mono, None);
            }
        }
    }

    fn people_ask(&mut self) {
        let names: Vec<CertName> = self.world.state().spec.certificates.keys().cloned().collect();
        for name in &names {
            for fault in [Fault::AskRenew, Fault::AskForce, Fault::AskDeploy, Fault::AskRollback] {
                let asked = self.world.state().strikes(fault);
                if asked {
                    let yes = self.world.state().dice.below(2) == 0;
                    let ask = match fault {
                        Fault::AskRenew => Ask::Renew { force: false, new_key: false, yes: false },
                        Fault::AskForce => Ask::Renew { force: true, new_key: yes, yes },
                        Fault::AskDeploy => Ask::Deploy { node: None },
                        _ => Ask::Rollback { to: None, node: None },
                    };
                    self.ask(name, &ask);
                }
            }
        }
    }

    /// A command drops a request; a daemon notices it at once.
    pub(crate) fn ask(&mut self, name: &CertName, ask: &Ask) {
        let id = RequestId::from_random(self.world.state().dice.octets());
        let ask = serde_json::to_value(ask).expect("it has only plain fields");
        let peer = Peer { world: Rc::clone(&self.world), pid: 0 };
        let dropped = peer.drop_request(name, &Request { id, by: "operator".into(), ask });
        assert!(dropped.is_ok(), "a request can be dropped");
        self.start(false);
    }

    fn people_edit(&mut self, mono: u64) {
        let names: Vec<CertName> = self.world.state().spec.certificates.keys().cloned().collect();
        for name in names {
            if self.world.state().strikes(Fault::EditNames) {
                let extra: Identifier = {
                    let salt = self.world.state().dice.below(1_000);
                    format!("v{salt}.{name}.example.org").parse().expect("name")
                };
                self.edit(|spec| {
                    let Some(certificate) = spec.certificates.get_mut(&name) else { return };
                    let solver = certificate.solvers.values().next().cloned();
                    certificate.names.truncate(1);
                    certificate.names.push(extra.clone());
                    certificate.solvers.extend(solver.map(|solver| (extra, solver)));
                });
            }
            if self.world.state().strikes(Fault::EditKey) {
                self.edit(|spec| {
                    let Some(certificate) = spec.certificates.get_mut(&name) else { return };
                    certificate.key = match certificate.key {
                        KeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP384,
                        _ => KeyAlgorithm::EcdsaP256,
                    };
                });
            }
            if self.world.state().strikes(Fault::RemoveCertificate) {
                let mut removed = None;
                self.edit(|spec| removed = spec.certificates.remove(&name));
                let back = mono + HOUR + self.world.state().dice.below(DAY);
                if let Some(certificate) = removed {
                    self.plan(back, Deed::PutBack(Box::new(certificate)));
                }
            }
        }
    }

    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Spec)) {
        let mut state = self.world.state();
        let mut spec = (*state.spec).clone();
        change(&mut spec);
        state.spec = Rc::new(spec);
        drop(state);
        self.due.clear();
    }

    // ---------------------------------------------------------------------------------------------------------- healing

    /// From here on nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        {
            let mut state = self.world.state();
            state.say(|| "the world is whole again".to_owned());
            state.rates = Rates::default();
            if state.offset != 0 {
                state.offset = 0;
                state.watcher.clock_set = Some(state.mono);
            }
            state.cas.values_mut().for_each(|ca| ca.down_until = 0);
            for node in state.nodes.values_mut() {
                for until in [
                    &mut node.down_until,
                    &mut node.lies_until,
                    &mut node.fails_until,
                    &mut node.slow_until,
                    &mut node.full_until,
                    &mut node.unknown_until,
                    &mut node.breaks_until,
                ] {
                    *until = 0;
                }
                for loaded in node.sites.values_mut().filter_map(|site| site.loaded.as_mut()) {
                    loaded.broken = false;
                }
            }
        }
        let back: Vec<_> =
            self.agenda.iter().filter(|(_, deed)| matches!(deed, Deed::PutBack(_))).map(|(key, _)| *key).collect();
        for key in back {
            if let Some(deed) = self.agenda.remove(&key) {
                self.act(deed);
            }
        }
    }

    /// One whole pass, as a person starts it.
    pub(crate) fn pass(&mut self) -> Result<Report, String> {
        let mono = self.world.state().mono;
        self.last = None;
        self.start(false);
        self.until(mono + HOUR)?;
        self.last.take().ok_or_else(|| "runs_come_to_an_end: the last one did not".to_owned())
    }

    /// What a last whole pass finds wrong.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        let report = self.pass()?;
        let wrong = self.world.state().is_healed(&report);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.world.state().counts.clone()
    }

    pub(crate) fn log(&self, lines: usize) -> String {
        let state = self.world.state();
        let from = state.log.len().saturating_sub(lines);
        state.log.iter().skip(from).cloned().collect::<Vec<_>>().join("\n")
    }
}

/// A die for choices about the scenario itself, apart from the world's.
pub(crate) fn choices(seed: u64) -> Dice {
    Dice::new(seed.rotate_left(17) ^ 0x5eed)
}
