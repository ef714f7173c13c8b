//! Processes: one burst of the agent each, with the world behind its ports.

use crate::ca::Client;
use crate::coverage;
use crate::world::{Death, Peer};
use everleaf::agent::{Agent, Effort, Observer, Ports, Report, Settings};
use everleaf::config::spec::Spec;
use everleaf::core::{Event, Work};
use everleaf::ports::Ca;
use everleaf::types::{CertName, Failure, IssuerName};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Counting(Peer);

impl Observer for Counting {
    fn began(&self, work: &Work) {
        if let Some(effect) = work.effect() {
            self.0.state().count("effect", coverage::effect(effect));
        }
    }

    fn happened(&self, _: &CertName, _: &Event) {}

    fn turned(&self, effort: &Effort) {
        for (what, many) in [("planned", effort.planned), ("examined", effort.examined)] {
            *self.0.state().counts.entry(("effort", what)).or_default() += many as u64;
        }
    }
}

/// A process: one burst.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) kind: Kind,
    pub(crate) since: u64,
    /// Until when it is stopped.
    pub(crate) stopped_until: u64,
    /// Whether it ever was.
    pub(crate) was_stopped: bool,
    burst: Pin<Box<dyn Future<Output = Result<Report, Failure>>>>,
}

/// Who started a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Daemon,
    /// A timer, a command, an armed wake-up.
    OneShot,
    Rehearsal,
}

/// What a process came to.
pub(crate) enum Ended {
    Done(Result<Report, Failure>),
    Died,
}

impl Process {
    pub(crate) fn start(peer: &Peer, kind: Kind, names: Vec<CertName>, spec: &Rc<Spec>, settings: Settings) -> Self {
        let agent = Agent::new(Rc::clone(spec), ports(peer, spec), settings, Rc::new(Counting(peer.clone())));
        let burst = Box::pin(async move { agent.burst(&names).await });
        let since = peer.state().mono;
        Self { pid: peer.pid, kind, since, stopped_until: 0, was_stopped: false, burst }
    }

    pub(crate) fn poll(&mut self) -> Option<Ended> {
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
    let client = |issuer: &IssuerName| -> Rc<dyn Ca> { Rc::new(Client::new(peer.clone(), issuer)) };
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
