//! The loop: the one place that joins the core with the world.
//!
//! Completion-driven: drain whatever finished, append, apply, plan once for the batch, begin what was admitted. A
//! certificate's lock is held for one burst, until nothing of it is due now. Nothing is decided here.

mod burst;
mod commons;
mod hand;
mod perform;
mod recount;

use crate::config::spec::Spec;
use crate::core::outcome::{Standing, standing};
use crate::core::{Event, Facts, Horizon, LONGEST_PAUSE, Plan, Shared, Work, plan};
use crate::ports::{
    Alarm, Ca, CertHooks, Clock, Deployer, Generations, Holder, Journal, Keys, Locks, Memory, Notify, Prober, Reloader,
    Solvers,
};
use crate::types::{CertName, Failure, IssuerName, Printable, Timestamp};
use commons::Commons;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// What the agent works with. `wire` chooses what stands behind each.
#[expect(missing_docs, reason = "each field is the port of its type, documented there")]
#[derive(Clone)]
pub struct Ports {
    pub clock: Rc<dyn Clock>,
    pub journal: Rc<dyn Journal>,
    pub locks: Rc<dyn Locks>,
    pub memory: Rc<dyn Memory>,
    pub keys: Rc<dyn Keys>,
    pub generations: Rc<dyn Generations>,
    pub cas: BTreeMap<IssuerName, Rc<dyn Ca>>,
    pub solvers: Rc<dyn Solvers>,
    pub deployer: Rc<dyn Deployer>,
    pub reloader: Rc<dyn Reloader>,
    pub hooks: Rc<dyn CertHooks>,
    pub prober: Rc<dyn Prober>,
    pub notify: Rc<dyn Notify>,
    pub alarm: Rc<dyn Alarm>,
}

/// How a burst behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How far it looks ahead and what it may do.
    pub horizon: Horizon,
    /// When it ends although something is still under way.
    pub deadline: Duration,
    /// Whether this is a rehearsal: nothing is published, reloaded, looked at or told.
    pub rehearsal: bool,
    /// This machine, for notices.
    pub host: Printable,
    /// Records after which a journal is replaced by a snapshot of what they say.
    pub compact_after: usize,
}

/// The usual [`Settings::compact_after`]: a year of an ordinary certificate's life.
pub const COMPACT_AFTER: usize = 500;

/// Watches a burst: progress for people. Never decides.
pub trait Observer {
    /// Work begins.
    fn began(&self, work: &Work);
    /// Something happened to a certificate.
    fn happened(&self, name: &CertName, event: &Event);
    /// The loop went round once, at this cost.
    fn turned(&self, _: &Effort) {}
}

/// What one turn of the loop had to look at: of what changed, never of all that is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Plans made: one for each certificate that anything happened to, and one more for each decision.
    pub planned: usize,
    /// Steps looked at to choose what begins.
    pub examined: usize,
}

/// What becomes of a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It goes on, with these certificates too; one that is at hand is looked at anew.
    Take(Vec<CertName>),
    /// Nothing new begins; what is under way comes to its end.
    WindDown,
    /// It ends now; what is under way is stopped.
    End,
}

/// Leads a burst: says what becomes of it, and takes the certificates that are let go of. Never decides about one.
pub trait Lead {
    /// What becomes of the burst. Asked whenever something has finished, and every [`Lead::beat`].
    fn next(&self) -> Next;
    /// How long it may be until it is asked again.
    fn beat(&self) -> Duration;
    /// This certificate is at hand: its lock is held.
    fn took(&self, name: &CertName);
    /// This certificate's lock is free again, or was not to be had.
    fn let_go(&self, name: &CertName, report: CertificateReport);
}

/// Leads a burst over what it began with.
#[derive(Default)]
struct Once {
    report: RefCell<Report>,
}

impl Lead for Once {
    fn next(&self) -> Next {
        Next::Take(Vec::new())
    }

    fn beat(&self) -> Duration {
        LONGEST_PAUSE
    }

    fn took(&self, _: &CertName) {}

    fn let_go(&self, name: &CertName, report: CertificateReport) {
        self.report.borrow_mut().certificates.insert(name.clone(), report);
    }
}

/// What a burst came to for one certificate.
#[derive(Debug, Clone)]
pub struct CertificateReport {
    /// What is known of it now.
    pub facts: Facts,
    /// Where it stands.
    pub standing: Standing,
    /// What comes next.
    pub plan: Plan,
    /// When it stood so.
    pub looked: Timestamp,
    /// Whether its journal grew by something that changed what is issued, published or served.
    pub changed: bool,
    /// A failure that kept everleaf from working on it at all: its journal, its lock, its files.
    pub broken: Option<Failure>,
    /// Who else is working on it, when it was locked.
    pub locked: Option<Holder>,
}

/// What a burst came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By certificate.
    pub certificates: BTreeMap<CertName, CertificateReport>,
}

/// The agent.
pub struct Agent {
    spec: Rc<Spec>,
    ports: Ports,
    settings: Settings,
    observer: Rc<dyn Observer>,
}

/// Certificates worked on at once: each holds a lock, which is a file descriptor, and a default limit is 1024.
const AT_HAND: usize = 200;

impl Agent {
    /// An agent for a specification.
    #[must_use]
    pub fn new(spec: Rc<Spec>, ports: Ports, settings: Settings, observer: Rc<dyn Observer>) -> Self {
        Self { spec, ports, settings, observer }
    }

    /// Works on these certificates until nothing of them is due now, or until the deadline.
    ///
    /// # Errors
    /// When what certificates share cannot be read. What concerns one certificate alone is in its report.
    pub async fn burst(&self, names: &[CertName]) -> Result<Report, Failure> {
        let once = Once::default();
        let deadline = burst::Deadline::new(&self.ports.clock, self.settings.deadline);
        for some in names.chunks(AT_HAND) {
            let mut commons = Commons::open(&self.ports, &self.spec)?;
            commons.keep_recount(&self.ports);
            commons.compact(&self.ports, self.settings.compact_after);
            burst::Burst::new(self, &once, commons, deadline.clone()).run(some).await;
        }
        Ok(once.report.into_inner())
    }

    /// Works on what `lead` names, and on what it names meanwhile, until nothing of it is due now. After half of the deadline
    /// no more is taken in, so that whatever is has at least the other half.
    ///
    /// # Errors
    /// When what certificates share cannot be read.
    pub async fn burst_led(&self, lead: &dyn Lead) -> Result<(), Failure> {
        let mut commons = Commons::open(&self.ports, &self.spec)?;
        commons.keep_recount(&self.ports);
        commons.compact(&self.ports, self.settings.compact_after);
        let deadline = burst::Deadline::new(&self.ports.clock, self.settings.deadline);
        burst::Burst::new(self, lead, commons, deadline).run(&[]).await;
        Ok(())
    }

    /// What is known of these certificates and what a burst would do, without locking or changing anything.
    ///
    /// # Errors
    /// When what certificates share cannot be read.
    pub fn survey(&self, names: &[CertName]) -> Result<Report, Failure> {
        let commons = Commons::open(&self.ports, &self.spec)?;
        let mut report = Report::default();
        for name in names {
            let (facts, broken) = match hand::read(&self.ports, name) {
                Ok(facts) => (facts, None),
                Err(failure) => (Facts::default(), Some(failure)),
            };
            report.certificates.insert(name.clone(), self.account_for(name, facts, broken, None, &commons));
        }
        Ok(report)
    }

    /// What certificates share, as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn shared(&self) -> Result<Shared, Failure> {
        Ok(Commons::open(&self.ports, &self.spec)?.shared)
    }

    /// A report on a certificate that was not worked on.
    fn account_for(
        &self,
        name: &CertName,
        facts: Facts,
        broken: Option<Failure>,
        locked: Option<Holder>,
        commons: &Commons,
    ) -> CertificateReport {
        let now = self.ports.clock.now();
        let plan = plan(&self.spec, name, &facts, &commons.shared, now, self.settings.horizon);
        let standing = standing(&self.spec, name, &facts, &commons.shared, &plan, now);
        CertificateReport { facts, standing, plan, looked: now, changed: false, broken, locked }
    }
}

/// A holder that could not be read in that instant.
fn nobody(now: Timestamp) -> Holder {
    Holder { pid: 0, since: now, command: "not known".into() }
}
