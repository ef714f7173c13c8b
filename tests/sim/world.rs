//! The world: one clock, one die, everything durable, everything remote. Synchronous and single-threaded.
//!
//! A [`Peer`] is what one process sees of it, and implements every port. Each call passes *points* at which the process can
//! die; dying is an unwinding that no code of the agent sees.

use crate::ca::FakeCa;
use crate::coverage::Counts;
use crate::dice::Dice;
use crate::faults::{Fault, Rates};
use crate::invariants::Watcher;
use crate::nodes::FakeNode;
use crate::store::Store;
use everleaf::config::spec::Spec;
use everleaf::ports::{Clock, Pending};
use everleaf::types::{CertName, IssuerName, NodeName, Timestamp};
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// When the world begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600_000;
/// How much of the event log a failure shows.
const LOG_LINES: usize = 4_000;

/// What a dying process unwinds with.
pub(crate) struct Death;

/// Where a process dies in a crash sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiesAt {
    /// At which point, counted from 1 over the whole run.
    pub(crate) point: u64,
}

/// Everything, behind one cell.
pub(crate) struct World(RefCell<State>);

pub(crate) struct State {
    /// Milliseconds since the beginning: the true time, and the monotonic clock.
    pub(crate) mono: u64,
    /// How far the wall clock is off.
    pub(crate) offset: i64,
    pub(crate) dice: Dice,
    pub(crate) rates: Rates,
    pub(crate) spec: Rc<Spec>,
    pub(crate) store: Store,
    /// What a rehearsal keeps, apart from production.
    pub(crate) rehearsal: Store,
    /// Until when this machine's disk is full.
    pub(crate) disk_full_until: u64,
    pub(crate) cas: BTreeMap<IssuerName, FakeCa>,
    pub(crate) nodes: BTreeMap<NodeName, FakeNode>,
    pub(crate) watcher: Watcher,
    /// Armed wake-ups, in true time.
    pub(crate) alarms: Vec<u64>,
    /// Points passed so far. Also the order of everything that happens.
    pub(crate) points: u64,
    pub(crate) dies_at: Option<DiesAt>,
    pub(crate) counts: Counts,
    pub(crate) logging: bool,
    /// Whether the log is also printed as it grows: for a run that does not come to its end.
    pub(crate) echo: bool,
    pub(crate) log: VecDeque<String>,
    timers: BTreeMap<(u64, u64), Waker>,
    next_timer: u64,
}

impl World {
    pub(crate) fn new(seed: u64, spec: Rc<Spec>, rates: Rates) -> Rc<Self> {
        let mut dice = Dice::new(seed);
        let cas = spec.issuers.keys().flat_map(|issuer| [issuer.clone(), staging(issuer)]);
        let cas = cas.map(|issuer| (issuer, FakeCa::new())).collect();
        let nodes = spec.nodes.keys().map(|name| (name.clone(), FakeNode::default())).collect();
        let (store, rehearsal) = (Store::new(&mut dice), Store::new(&mut dice));
        Rc::new(Self(RefCell::new(State {
            mono: 0,
            offset: 0,
            dice,
            rates,
            spec,
            store,
            rehearsal,
            disk_full_until: 0,
            cas,
            nodes,
            watcher: Watcher::default(),
            alarms: Vec::new(),
            points: 0,
            dies_at: None,
            counts: Counts::new(),
            logging: false,
            echo: std::env::var_os("EVERLEAF_SIM_ECHO").is_some(),
            log: VecDeque::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
        })))
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// When the next sleeper wakes.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        self.state().timers.keys().next().map(|(due, _)| *due)
    }

    /// Lets time pass, and wakes who slept until then.
    pub(crate) fn advance_to(&self, mono: u64) {
        let due: Vec<Waker> = {
            let mut state = self.state();
            state.mono = state.mono.max(mono);
            let after = (state.mono + 1, 0);
            let later = state.timers.split_off(&after);
            std::mem::replace(&mut state.timers, later).into_values().collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn sleep(self: &Rc<Self>, span: Duration) -> Sleep {
        let due = self.state().mono + millis(span);
        Sleep { world: Rc::clone(self), due, id: None }
    }
}

impl State {
    /// What the wall clock says.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGINNING + i64::try_from(self.mono).unwrap_or(i64::MAX) + self.offset)
    }

    /// What a right clock says.
    pub(crate) fn true_now(&self) -> Timestamp {
        Timestamp::from_millis(BEGINNING + i64::try_from(self.mono).unwrap_or(i64::MAX))
    }

    /// The monotonic instant at which the wall clock will say `at`, if it is not set again.
    pub(crate) fn mono_of(&self, at: Timestamp) -> u64 {
        u64::try_from(at.as_millis() - BEGINNING - self.offset).unwrap_or(0)
    }

    pub(crate) fn count(&mut self, kind: &'static str, name: &'static str) {
        *self.counts.entry((kind, name)).or_default() += 1;
    }

    /// Whether a fault strikes, by its rate.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let rate = self.rates.of(fault);
        let strikes = self.dice.chance(rate);
        if strikes {
            self.struck(fault, "");
        }
        strikes
    }

    pub(crate) fn struck(&mut self, fault: Fault, whom: &str) {
        self.count("fault", fault.name());
        self.say(|| format!("     !! {fault:?} {whom}"));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.say(|| "the world is whole again".to_owned());
        self.rates = Rates::default();
        self.disk_full_until = 0;
        if self.offset != 0 {
            self.offset = 0;
            self.watcher.clock_set = Some(self.mono);
        }
        self.cas.values_mut().for_each(|ca| ca.down_until = 0);
        self.nodes.values_mut().for_each(FakeNode::heal);
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if !self.logging && !self.echo {
            return;
        }
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        let line = format!("{:>6} {} {}", self.points, self.now(), line());
        if self.echo {
            println!("{line}");
        }
        self.log.push_back(line);
    }
}

/// What one process sees of the world.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) world: Rc<World>,
    pub(crate) pid: u32,
    /// Whether it rehearses: another state, another directory, and nothing published.
    pub(crate) rehearsal: bool,
}

impl Peer {
    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.world.state()
    }

    /// What this process keeps.
    pub(crate) fn store(&self) -> RefMut<'_, Store> {
        RefMut::map(self.state(), |state| if self.rehearsal { &mut state.rehearsal } else { &mut state.store })
    }

    /// A point at which the process can die.
    pub(crate) fn point(&self, what: impl FnOnce() -> String) {
        let dies = {
            let mut state = self.state();
            state.points += 1;
            let pid = self.pid;
            state.say(|| format!("[{pid}] {}", what()));
            let point = state.points;
            let swept = state.dies_at.is_some_and(|dies| dies.point == point);
            if swept {
                state.dies_at = None;
            }
            swept || state.strikes(Fault::Crash)
        };
        if dies {
            self.die();
        }
    }

    /// A rehearsal publishes, reloads, looks at and tells nothing.
    pub(crate) fn acts_for_real(&self, what: &str) {
        if self.rehearsal {
            self.state().watcher.violated("a_rehearsal_touches_nothing", what);
        }
    }

    pub(crate) fn die(&self) -> ! {
        let pid = self.pid;
        self.state().say(|| format!("[{pid}] DIES"));
        std::panic::resume_unwind(Box::new(Death))
    }

    /// Waits between `least` and `most` milliseconds.
    pub(crate) async fn latency(&self, least: u64, most: u64) {
        let span = {
            let mut state = self.state();
            least + state.dice.below(most.saturating_sub(least) + 1)
        };
        self.world.sleep(Duration::from_millis(span)).await;
    }
}

impl Clock for Peer {
    fn now(&self) -> Timestamp {
        self.state().now()
    }

    fn sleep(&self, span: Duration) -> Pending<'_, ()> {
        Box::pin(self.world.sleep(span))
    }
}

/// The directory at which an issuer is rehearsed.
pub(crate) fn staging(issuer: &IssuerName) -> IssuerName {
    format!("{issuer}-staging").parse().expect("a name")
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 4)
}

/// Waits until the world's clock has moved on.
pub(crate) struct Sleep {
    world: Rc<World>,
    due: u64,
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Rc::clone(&self.world);
        let mut state = world.state();
        if state.mono >= self.due {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or_else(|| {
            state.next_timer += 1;
            state.next_timer
        });
        self.id = Some(id);
        state.timers.insert((self.due, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.world.state().timers.remove(&(self.due, id));
            drop(waker);
        }
    }
}

/// A failure's certificate names, for messages.
pub(crate) fn name(text: &str) -> CertName {
    text.parse().expect("a valid name")
}
