//! A daemon's rounds: which certificates need a look, and when the next one does.
//!
//! It knows what it saw itself. What others do it hears by the index, which everybody writes who asks for something or has
//! worked on a certificate; only then, and once a minute, requests and journals are looked through.

use super::index::{Digests, Marks};
use super::{App, Watch};
use crate::agent::{CertificateReport, Lead, Next};
use crate::core::{Horizon, LONGEST_SLEEP};
use crate::ports::{Journal, Memory};
use crate::report::{CertificateStatus, RunStatus, Snapshot, highest};
use crate::types::{CertName, Failure, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Requests and journals are looked through this often though nobody rang: the index can be lost.
const SCAN_EVERY: Duration = Duration::from_secs(60);
/// What could not be finished, or not even be looked at, is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// A certificate that somebody else is at is tried again after this: who dies at work rings no bell.
const LOCKED_AGAIN: Duration = Duration::from_secs(2);
/// How often a status is written while much happens.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often a burst asks for more: also the pace of the watchdog, and of a clock that jumped being noticed.
const BEAT: Duration = Duration::from_millis(500);
/// A wall clock that runs this far from the monotonic one was set, or the machine slept.
const JUMP: Duration = Duration::from_secs(5);

/// What is to become of the work under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    GoOn,
    /// Nothing new begins.
    WindDown,
    /// It ends now.
    End,
}

/// Whoever keeps a daemon: hears that it is alive, says how it goes on.
pub trait Keeper {
    /// The loop has come around.
    fn beat(&self);
    /// What is to become of the work under way.
    fn wish(&self) -> Wish;
    /// These certificates were looked at by this process, and this is how all stand.
    fn looked(&self, fresh: &[CertificateStatus], all: &Snapshot);
}

/// The rounds of a daemon with one configuration.
pub struct Rounds {
    app: App,
    watch: Rc<Watch>,
    digests: Digests,
    /// When each needs the next look; one that is not in here needs one now.
    next: RefCell<BTreeMap<CertName, Timestamp>>,
    at_hand: RefCell<BTreeSet<CertName>>,
    retired: RefCell<BTreeSet<CertName>>,
    fresh: RefCell<BTreeMap<CertName, CertificateReport>>,
    started: Cell<Timestamp>,
    written: Cell<Option<Instant>>,
    bell: Cell<Option<(u64, i64, i64)>>,
    scanned: Cell<Option<Instant>>,
    clocks: Cell<(Timestamp, Instant)>,
}

impl Rounds {
    /// Rounds over everything in `app`, all of which needs a first look.
    ///
    /// # Errors
    /// When a lineage cannot be taken over from a certificate's former name.
    pub fn new(app: App, watch: Rc<Watch>) -> Result<Self, Failure> {
        app.adopt_renamed()?;
        let now = app.now();
        Ok(Self {
            digests: Digests::new(app.spec()),
            watch,
            next: RefCell::default(),
            at_hand: RefCell::default(),
            retired: RefCell::default(),
            fresh: RefCell::default(),
            started: Cell::new(now),
            written: Cell::new(None),
            bell: Cell::new(None),
            scanned: Cell::new(None),
            clocks: Cell::new((now, Instant::now())),
            app,
        })
    }

    /// What the rounds work with.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The certificates that need a look now.
    #[must_use]
    pub fn due(&self) -> Vec<CertName> {
        self.mind_the_clock();
        self.listen();
        let (now, next, at_hand) = (self.app.now(), self.next.borrow(), self.at_hand.borrow());
        let retired = self.retired.borrow();
        let all = self.app.spec().certificates.keys().chain(retired.iter());
        let due = |name: &&CertName| next.get(*name).is_none_or(|at| *at <= now) && !at_hand.contains(*name);
        all.filter(due).cloned().collect()
    }

    /// How long nothing needs a look, an hour at most.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        let first = self.next.borrow().values().min().copied();
        first.map_or(LONGEST_SLEEP, |at| at.since(self.app.now())).min(LONGEST_SLEEP)
    }

    /// Works on what needs a look, and on what needs one meanwhile.
    ///
    /// # Errors
    /// When what certificates share cannot be used. What concerns one certificate is in its status.
    pub async fn work(&self, keeper: &dyn Keeper) -> Result<(), Failure> {
        self.started.set(self.app.now());
        let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
        let agent = self.app.agent(horizon, Rc::clone(&self.watch) as _)?;
        let worked = agent.burst_led(&Led { rounds: self, keeper }).await;
        self.watch.done();
        self.at_hand.borrow_mut().clear();
        worked?;
        self.leave(keeper);
        Ok(())
    }

    /// Has everything looked at anew after the clock jumped: every instant that was waited for may be another now.
    fn mind_the_clock(&self) {
        let (wall, at) = self.clocks.replace((self.app.now(), Instant::now()));
        let (now, expected) = (self.app.now(), wall + at.elapsed());
        let off = if now > expected { now.since(expected) } else { expected.since(now) };
        if off > JUMP {
            tracing::warn!("the clock jumped from about {expected} to {now}; every certificate is looked at anew");
            self.next.borrow_mut().clear();
        }
    }

    /// Marks what others asked for or have worked on.
    fn listen(&self) {
        let bell = self.app.state.bell();
        let silent = bell == self.bell.replace(bell);
        if silent && self.scanned.get().is_some_and(|at| at.elapsed() < SCAN_EVERY) {
            return;
        }
        let first = self.scanned.replace(Some(Instant::now())).is_none();
        let kept = self.app.state.certificates().unwrap_or_default();
        let configured = &self.app.spec().certificates;
        *self.retired.borrow_mut() = kept.into_iter().filter(|name| !configured.contains_key(name)).collect();
        let mut next = self.next.borrow_mut();
        next.retain(|name, _| configured.contains_key(name) || self.retired.borrow().contains(name));
        if first {
            return;
        }
        let mut at_hand = self.at_hand.borrow_mut();
        let news = |name: &CertName| {
            !self.app.state.requests(name).is_empty() || (!at_hand.contains(name) && self.app.state.moved_on(name))
        };
        let news: Vec<CertName> = next.keys().filter(|name| news(name)).cloned().collect();
        for name in news {
            next.remove(&name);
            // One that is at hand is named once more, so that it reads what is asked for.
            at_hand.remove(&name);
        }
    }

    fn let_go(&self, name: &CertName, report: CertificateReport) {
        let now = self.app.now();
        let unfinished = !report.plan.steps.is_empty() || report.broken.is_some();
        let planned = report.plan.wake().map_or(now + LONGEST_SLEEP, |wake| wake.at);
        let again = if unfinished { planned.min(now + TRY_AGAIN) } else { planned };
        let next = if report.locked.is_some() { now + LOCKED_AGAIN } else { again };
        if let Some(holder) = report.locked.as_ref().filter(|holder| self.app.is_stuck(holder)) {
            let (pid, command, since) = (holder.pid, &holder.command, holder.since);
            tracing::warn!(
                "{name}: process {pid} ({command}) is at work on it since {since}, longer than a run may take; if it hangs, \
                 end it: kill {pid}"
            );
        }
        self.next.borrow_mut().insert(name.clone(), next);
        self.at_hand.borrow_mut().remove(name);
        self.fresh.borrow_mut().insert(name.clone(), report);
    }

    /// Leaves a status of what was looked at.
    fn leave(&self, keeper: &dyn Keeper) {
        let reports = std::mem::take(&mut *self.fresh.borrow_mut());
        self.app.index(|index| {
            for (name, report) in &reports {
                // A daemon looks at files by the hour, not each time it opens a certificate: a run beside it looks for itself.
                let marks = Marks { files: None, ..self.digests.of(self.app.spec(), name) };
                index.learn(name, marks, report);
            }
        });
        self.bell.set(self.app.state.bell());
        let fresh: Vec<_> = reports.iter().map(|(name, report)| self.app.status_of(name, report)).collect();
        let snapshot = self.app.leave(&fresh, |all| {
            Some(RunStatus {
                pid: std::process::id(),
                started: self.started.get(),
                ended: self.app.now(),
                exit: highest(all.iter().map(|it| it.exit)),
                interval: LONGEST_SLEEP.as_secs(),
                starts: Vec::new(),
                daemon: true,
            })
        });
        self.written.set(Some(Instant::now()));
        // What stands in the way of one that somebody else is at may be gone in a moment.
        let mine = fresh.into_iter().filter(|it| reports.get(&it.name).is_some_and(|it| it.locked.is_none()));
        keeper.looked(&mine.collect::<Vec<_>>(), &snapshot);
    }
}

/// A burst of these rounds.
struct Led<'a> {
    rounds: &'a Rounds,
    keeper: &'a dyn Keeper,
}

impl Lead for Led<'_> {
    fn next(&self) -> Next {
        self.keeper.beat();
        match self.keeper.wish() {
            Wish::End => return Next::End,
            Wish::WindDown => return Next::WindDown,
            Wish::GoOn => {}
        }
        let rounds = self.rounds;
        let lately = rounds.written.get().is_some_and(|at| at.elapsed() < STATUS_EVERY);
        if !lately && !rounds.fresh.borrow().is_empty() {
            rounds.leave(self.keeper);
        }
        let due = rounds.due();
        if !due.is_empty() {
            // Should this process die at work, whoever comes next has to open them.
            rounds.app.index(|index| due.iter().for_each(|name| index.forget(name)));
            rounds.bell.set(rounds.app.state.bell());
        }
        Next::Take(due)
    }

    fn beat(&self) -> Duration {
        BEAT
    }

    fn took(&self, name: &CertName) {
        self.rounds.at_hand.borrow_mut().insert(name.clone());
    }

    fn let_go(&self, name: &CertName, report: CertificateReport) {
        self.rounds.let_go(name, report);
    }
}
