//! How a run of the world goes: processes, operators, time. Time jumps to the next moment at which anything can happen.

use crate::coverage::Counts;
use crate::dice::Dice;
use crate::faults::{Fault, Rates};
use crate::process::{Ended, Kind, Process};
use crate::world::{DiesAt, Peer, World};
use everleaf::agent::{CertificateReport, Report, Settings};
use everleaf::config::spec::{Certificate, Spec};
use everleaf::core::{Ask, Horizon, Reason};
use everleaf::ports::{Journal, Memory, Request};
use everleaf::types::{CertName, Failure, NodeName, RequestId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// How everleaf is run on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// A daemon that is always there.
    Daemon,
    /// A timer that starts it so often, in milliseconds.
    Timer(u64),
}

pub(crate) enum Deed {
    /// The daemon looks again.
    Wake,
    /// The timer starts everleaf.
    Timer,
    /// Whatever may happen in an hour happens.
    Hour,
    /// A stopped process goes on.
    Continue,
    /// The clock is set back, and somebody forces a renewal.
    ClockBack { by: i64, forced: Option<CertName> },
    /// A removed certificate is configured again.
    PutBack(Box<Certificate>),
}

/// What the index says of a certificate: when it must be opened again.
struct Known {
    looked: Timestamp,
    wake: Option<Timestamp>,
    renew: Option<Timestamp>,
}

impl Known {
    fn due(&self, now: Timestamp, span: Duration) -> bool {
        self.looked > now
            || self.wake.is_some_and(|wake| wake <= now)
            || self.renew.is_some_and(|renew| renew <= now + span)
    }
}

/// A run of the world.
pub(crate) struct Run {
    pub(crate) world: Rc<World>,
    pub(crate) habit: Habit,
    pub(crate) compact_after: usize,
    pub(crate) processes: Vec<Process>,
    pub(crate) agenda: BTreeMap<(u64, u64), Deed>,
    deeds: u64,
    pids: u32,
    /// When each certificate must be opened again; every one that is missing is.
    known: BTreeMap<CertName, Known>,
    /// The process whose report is waited for, and its report.
    awaited: Option<u32>,
    last: Option<Report>,
    /// Only this node may ever fail, when given: then nothing expires anywhere else.
    pub(crate) scapegoat: Option<NodeName>,
}

/// No daemon leaves a certificate alone for longer.
const ROUTINE: u64 = DAY;
/// …and what it could not look at for longer than this.
const PATIENCE: u64 = 10 * MINUTE;
/// A run that takes more steps than this without ending goes round in circles.
const MOST_POINTS_AN_HOUR: u64 = 40_000;
/// …for each certificate on each node, where there are many.
const MOST_POINTS_A_PLACE: u64 = 400;

impl Run {
    pub(crate) fn new(seed: u64, spec: Spec, rates: Rates, habit: Habit) -> Self {
        let mut run = Self {
            world: World::new(seed, Rc::new(spec), rates),
            habit,
            compact_after: everleaf::agent::COMPACT_AFTER,
            processes: Vec::new(),
            agenda: BTreeMap::new(),
            deeds: 0,
            pids: 0,
            known: BTreeMap::new(),
            awaited: None,
            last: None,
            scapegoat: None,
        };
        run.plan(0, if habit == Habit::Daemon { Deed::Wake } else { Deed::Timer });
        run.plan(HOUR, Deed::Hour);
        run
    }

    pub(crate) fn dies_at(&self, point: u64) {
        self.world.state().dies_at = Some(DiesAt { point });
    }

    pub(crate) fn plan(&mut self, at: u64, deed: Deed) {
        self.deeds += 1;
        self.agenda.insert((at, self.deeds), deed);
    }

    /// Lets the world run until `until`. The first violation ends it.
    pub(crate) fn until(&mut self, until: u64) -> Result<(), String> {
        let (mut points, mut hour) = (0, 0);
        let places = self.world.state().spec.certificates.values().map(|it| it.nodes.len() as u64).sum::<u64>();
        loop {
            let now = self.world.state().mono;
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
                let deed = entry.remove();
                self.act(deed, now);
            }
            self.wake_alarms(now);
            self.poll_all(now);
            self.check()?;
            let state = self.world.state();
            if state.mono / HOUR > hour {
                (points, hour) = (state.points, state.mono / HOUR);
            }
            if state.points - points > MOST_POINTS_AN_HOUR.max(places * MOST_POINTS_A_PLACE) {
                return Err("runs_come_to_an_end: it goes round in circles".to_owned());
            }
            let alarm = state.alarms.iter().min().copied();
            drop(state);
            let next = [self.world.next_timer(), self.agenda.keys().next().map(|(at, _)| *at), alarm];
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
        let overdue = |process: &Process| !process.was_stopped && state.mono - process.since > 2 * HOUR;
        let late = self.processes.iter().any(overdue);
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

    /// Opens what is due, what is asked for, and what is not known.
    pub(crate) fn start(&mut self, kind: Kind) {
        let names = self.due(kind);
        self.start_on(kind, names);
    }

    fn span(&self, kind: Kind) -> Duration {
        match self.habit {
            Habit::Timer(every) if kind == Kind::OneShot => Duration::from_millis(every),
            _ => Duration::ZERO,
        }
    }

    fn due(&self, kind: Kind) -> Vec<CertName> {
        let (now, span) = (self.world.state().now(), self.span(kind));
        let asked = |name: &CertName| {
            let state = self.world.state();
            state.store.requests.get(name).is_some_and(|requests| !requests.is_empty())
        };
        let due = |name: &CertName| self.known.get(name).is_none_or(|known| known.due(now, span));
        self.all().into_iter().filter(|name| asked(name) || due(name)).collect()
    }

    /// What is configured, and what is kept of what no longer is.
    fn all(&self) -> BTreeSet<CertName> {
        let peer = self.peer(Kind::OneShot, 0);
        let kept = peer.certificates().unwrap_or_default();
        let spec = Rc::clone(&peer.state().spec);
        spec.certificates.keys().cloned().chain(kept).collect()
    }

    pub(crate) fn peer(&self, kind: Kind, pid: u32) -> Peer {
        Peer { world: Rc::clone(&self.world), pid, rehearsal: kind == Kind::Rehearsal }
    }

    pub(crate) fn start_on(&mut self, kind: Kind, names: Vec<CertName>) {
        if names.is_empty() {
            return self.wake_again(kind == Kind::Daemon);
        }
        self.pids += 1;
        let peer = self.peer(kind, self.pids);
        let spec = Rc::clone(&peer.state().spec);
        let rehearsal = kind == Kind::Rehearsal;
        let spec = if rehearsal { Rc::new(spec.rehearse().expect("every issuer rehearses").spec) } else { spec };
        let began = (kind != Kind::Daemon).then(|| peer.state().now());
        let settings = Settings {
            horizon: Horizon { span: self.span(kind), issue: true, began },
            deadline: Duration::from_secs(1_800),
            rehearsal,
            host: "sim".into(),
            compact_after: self.compact_after,
        };
        // Forgotten before work on it begins: if that is cut short, the next run opens it.
        for name in names.iter().filter(|_| !rehearsal) {
            self.known.remove(name);
        }
        if kind == Kind::OneShot {
            let mut state = peer.state();
            let mono = state.mono;
            state.watcher.one_shots.push(mono);
        }
        self.processes.push(Process::start(&peer, kind, names, &spec, settings));
    }

    fn poll_all(&mut self, now: u64) {
        let mut at = 0;
        while at < self.processes.len() {
            if self.processes[at].stopped_until > now {
                at += 1;
                continue;
            }
            let Some(ended) = self.processes[at].poll() else {
                at += 1;
                continue;
            };
            let process = self.processes.remove(at);
            let (pid, kind) = (process.pid, process.kind);
            drop(process);
            match ended {
                Ended::Done(result) => self.done(pid, kind, result),
                Ended::Died => self.died(kind),
            }
        }
    }

    fn done(&mut self, pid: u32, kind: Kind, result: Result<Report, Failure>) {
        {
            let mut state = self.world.state();
            state.say(|| format!("[{pid}] ends"));
            if kind == Kind::Rehearsal {
                return;
            }
            if let Ok(report) = &result {
                state.reported(report);
            }
        }
        if let Ok(report) = result {
            for (name, account) in &report.certificates {
                self.learn(name, account);
            }
            if self.awaited.is_none_or(|awaited| awaited == pid) {
                self.last = Some(report);
            }
        }
        self.wake_again(kind == Kind::Daemon);
    }

    /// As the index does: what is not live everywhere is gone on with by every run.
    fn learn(&mut self, name: &CertName, account: &CertificateReport) {
        let unfinished = account.standing.stage.is_unfinished() && self.habit != Habit::Daemon;
        let busy = account.locked.is_some() || account.broken.is_some();
        if busy || unfinished || !account.plan.steps.is_empty() {
            self.known.remove(name);
            return;
        }
        let first = |renewal: bool| {
            let renews = |why: &Reason| matches!(why, Reason::Drawn { .. } | Reason::Fallback | Reason::LastCall);
            let mut wakes = account.plan.wakes.iter().filter(|it| it.why != Reason::Routine);
            wakes.find(|wake| renews(&wake.why) == renewal).map(|wake| wake.at)
        };
        let looked = self.world.state().now();
        self.known.insert(name.clone(), Known { looked, wake: first(false), renew: first(true) });
    }

    /// When the daemon looks again: soon at what it could not look at.
    fn wake_again(&mut self, daemon: bool) {
        if !daemon {
            return;
        }
        let state = self.world.state();
        let mono = state.mono;
        let names: Vec<&CertName> = state.spec.certificates.keys().collect();
        let at = names.into_iter().map(|name| match self.known.get(name) {
            Some(known) => known.wake.into_iter().chain(known.renew).map(|at| state.mono_of(at)).min(),
            None => Some(mono + PATIENCE),
        });
        let next = at.flatten().min().unwrap_or(mono + ROUTINE).clamp(mono + SECOND, mono + ROUTINE);
        drop(state);
        self.wake_at(next);
    }

    /// There is one daemon, and it wakes up once.
    fn wake_at(&mut self, at: u64) {
        self.agenda.retain(|_, deed| !matches!(deed, Deed::Wake));
        self.plan(at, Deed::Wake);
    }

    fn died(&mut self, kind: Kind) {
        let (mono, again) = {
            let mut state = self.world.state();
            if kind != Kind::Rehearsal && state.strikes(Fault::SightingsLost) {
                state.store.seen.clear();
            }
            state.count("process", "died");
            let again = SECOND + state.dice.below(MINUTE);
            (state.mono, again)
        };
        match kind {
            Kind::Daemon => self.wake_at(mono + again),
            // Whoever is not a daemon is started again by its timer; in a sweep, at once.
            Kind::OneShot if self.habit == Habit::Timer(0) => self.plan(mono + again, Deed::Timer),
            Kind::OneShot | Kind::Rehearsal => {}
        }
    }

    fn wake_alarms(&mut self, now: u64) {
        let due = {
            let mut state = self.world.state();
            let before = state.alarms.len();
            state.alarms.retain(|at| *at > now);
            before > state.alarms.len()
        };
        if due {
            self.start(Kind::OneShot);
        }
    }

    pub(crate) fn act(&mut self, deed: Deed, mono: u64) {
        match deed {
            Deed::Wake if self.processes.iter().any(|it| it.kind == Kind::Daemon) => {}
            Deed::Wake => self.start(Kind::Daemon),
            Deed::Timer => {
                if let Habit::Timer(every) = self.habit
                    && every > 0
                {
                    self.plan(mono + every, Deed::Timer);
                }
                self.start(Kind::OneShot);
            }
            Deed::Hour => {
                self.plan(mono + HOUR, Deed::Hour);
                self.an_hour_passes(mono);
            }
            // Time has come for it by now.
            Deed::Continue => {}
            Deed::ClockBack { by, forced } => {
                self.set_clock(-by);
                if let Some(name) = forced {
                    self.ask(&name, &Ask::Renew { force: true, new_key: false, yes: false });
                }
            }
            Deed::PutBack(certificate) => {
                self.edit(|spec| drop(spec.certificates.insert(certificate.name.clone(), *certificate)));
            }
        }
    }

    // ----------------------------------------------------------------------------------------------------------- people

    /// A command drops a request, and works on it or finds the lock held.
    pub(crate) fn ask(&mut self, name: &CertName, ask: &Ask) {
        let id = RequestId::from_random(self.world.state().dice.octets());
        let ask = serde_json::to_value(ask).expect("it has only plain fields");
        // On a full disk the command says so, and nothing was asked.
        let request = Request { id, by: "operator".into(), ask };
        if self.peer(Kind::OneShot, 0).drop_request(name, &request).is_ok() {
            self.start(Kind::OneShot);
        }
    }

    /// The configuration changes; a daemon reads it anew, a run reads it anyway.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Spec)) {
        let mut state = self.world.state();
        let mut spec = (*state.spec).clone();
        change(&mut spec);
        state.spec = Rc::new(spec);
        let mono = state.mono;
        drop(state);
        self.known.clear();
        if self.habit == Habit::Daemon {
            self.wake_at(mono);
        }
    }

    /// One whole pass over everything, as a person starts it.
    pub(crate) fn pass(&mut self) -> Result<Report, String> {
        let mono = self.world.state().mono;
        self.last = None;
        self.known.clear();
        self.start(Kind::OneShot);
        self.awaited = Some(self.pids);
        // Not at the full hour: a timer would start the next run at that very moment.
        let mut ended = self.until(mono + HOUR - MINUTE);
        while ended.is_ok() && !self.processes.is_empty() && self.world.state().mono < mono + 3 * HOUR {
            let now = self.world.state().mono;
            ended = self.until(now + MINUTE);
        }
        self.awaited = None;
        ended?;
        self.last.take().ok_or_else(|| "runs_come_to_an_end: the last one did not".to_owned())
    }

    /// What the last run reported.
    pub(crate) fn reported(&self) -> Option<&Report> {
        self.last.as_ref()
    }

    /// What a last whole pass finds wrong.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        /// Where somebody else is at a certificate just then, that is no verdict.
        const TRIES: usize = 5;
        let mut report = self.pass()?;
        for _ in 0..TRIES {
            if report.certificates.values().any(|account| account.locked.is_some()) {
                report = self.pass()?;
            }
        }
        let wrong = self.world.state().is_healed(&report);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    pub(crate) fn counts(&self) -> Counts {
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
