//! The composition root: a specification becomes adapters, adapters become an agent.
//!
//! The one place that chooses a [`StateRoot`]. What commands share lies here: which certificates a pass looks at, what it
//! leaves for readers, how a request is dropped and followed. Commands themselves are in `cli`.

mod forget;
mod index;
mod pass;
mod reading;
mod records;
mod rehearsal;
mod requests;
mod rounds;
mod watch;

pub use index::Index;
pub use pass::{Came, RunCame};
pub use records::{Readable, read_status};
pub use rehearsal::{Rehearsal, Tried, rehearse};
pub use rounds::{Keeper, Rounds, Wish};
pub use watch::Watch;

use crate::acme::AcmeCa;
use crate::agent::{Agent, Observer, Ports, Settings};
use crate::alarm::SystemdAlarm;
use crate::config::spec::{Node, NodeKind, Spec};
use crate::core::Horizon;
use crate::deploy::Nodes;
use crate::deploy::receive::{Receiver, Terms};
use crate::disk::Dir;
use crate::hook::Systemd;
use crate::net::dns::Resolver;
use crate::notify::Notifiers;
use crate::ports::{AccountStore, Ca, Clock, LockError, LockGuard, Pending};
use crate::probe::TlsProber;
use crate::probe::survey::Surveyor;
use crate::solver::Solver;
use crate::state::StateRoot;
use crate::types::{Class, Failure, IssuerName, Printable, Timestamp};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything a command works with.
pub struct App {
    spec: Rc<Spec>,
    state: Rc<StateRoot>,
    clock: Rc<dyn Clock>,
    command: Vec<String>,
    rehearsal: bool,
}

impl App {
    /// Opens the state of `spec`. `command` is what a timer calls to start a run, program and arguments.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub fn open(spec: Spec, command: Vec<String>) -> Result<Self, Failure> {
        Self::open_as(spec, command, false)
    }

    fn open_as(spec: Spec, command: Vec<String>, rehearsal: bool) -> Result<Self, Failure> {
        let clock: Rc<dyn Clock> = Rc::new(SystemClock);
        let state = Rc::new(StateRoot::open(&spec.paths, Rc::clone(&clock))?);
        Ok(Self { spec: Rc::new(spec), state, clock, command, rehearsal })
    }

    /// Has this process be the one daemon of the state directory while the guard lives.
    ///
    /// # Errors
    /// Code `daemon:running` when another process is it.
    pub fn be_the_daemon(&self) -> Result<Box<dyn LockGuard>, Failure> {
        self.state.daemon_lock().map_err(|error| match error {
            LockError::Failed(failure) => failure,
            LockError::Held(holder) => {
                let who = holder.map_or_else(
                    || "another process".to_owned(),
                    |it| format!("process {} ({}), started {},", it.pid, it.command, it.since),
                );
                let place = self.spec.paths.state.to_string_lossy();
                Failure::new(Class::Operator, "daemon:running", place, format!("{who} is its daemon already"))
                    .advise("a state directory has one; if this one is to take over, end that one first: systemctl stop everleaf-daemon")
            }
        })
    }

    /// What is wanted.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn agent(&self, horizon: Horizon, observer: Rc<dyn Observer>) -> Result<Agent, Failure> {
        let deadline = self.spec.limits.run;
        let (rehearsal, compact_after) = (self.rehearsal, crate::agent::COMPACT_AFTER);
        let settings = Settings { horizon, deadline, rehearsal, host: host(), compact_after };
        Ok(Agent::new(Rc::clone(&self.spec), self.ports()?, settings, observer))
    }

    /// Where the sockets of shared ssh connections lie, when there is a node to share one with. Without it each errand connects anew.
    fn connections(&self) -> Option<PathBuf> {
        let far = |node: &Node| matches!(node.kind, NodeKind::Ssh(_));
        let dir = self.spec.nodes.values().any(far).then(|| self.spec.paths.run.join("ssh"))?;
        let made = Dir::open_or_make(&dir, 0o700);
        made.inspect_err(|error| tracing::debug!(%error, "no ssh connection is shared")).ok().map(|_| dir)
    }

    fn ports(&self) -> Result<Ports, Failure> {
        let systemd = Systemd::of_this_machine();
        let resolver = Rc::new(Resolver::new(&self.spec.resolvers)?);
        let mut cas: BTreeMap<IssuerName, Rc<dyn Ca>> = BTreeMap::new();
        for (name, issuer) in &self.spec.issuers {
            let accounts: Rc<dyn AccountStore> = Rc::clone(&self.state) as _;
            cas.insert(name.clone(), Rc::new(AcmeCa::new(issuer, &self.spec.limits, accounts)?));
        }
        let nodes = Nodes::new(systemd.clone(), Rc::clone(&self.clock));
        let nodes = Rc::new(match self.connections() {
            Some(dir) => nodes.sharing(dir),
            None => nodes,
        });
        let state = &self.state;
        Ok(Ports {
            clock: Rc::clone(&self.clock),
            journal: Rc::clone(state) as _,
            locks: Rc::clone(state) as _,
            memory: Rc::clone(state) as _,
            keys: Rc::clone(state) as _,
            generations: Rc::clone(state) as _,
            cas,
            solvers: Rc::new(
                Solver::new(Rc::clone(&resolver))
                    .check_port(Some(self.spec.http_port))
                    .check_tls_port(Some(self.spec.tls_port)),
            ),
            deployer: Rc::clone(&nodes) as _,
            reloader: Rc::clone(&nodes) as _,
            hooks: nodes,
            prober: Rc::new(TlsProber::new(resolver, Rc::clone(&self.clock))?),
            notify: Rc::new(Notifiers::new(systemd.clone())),
            alarm: Rc::new(SystemdAlarm::new(systemd, self.command.clone())),
        })
    }
}

/// Runs `work` on this thread alone: file I/O stays in order, so that kills can be counted exactly.
///
/// # Errors
/// When the system gives no event queue; otherwise what `work` answers.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    enough_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Class::Retry, "runtime", "this process", error.to_string()))?;
    runtime.block_on(work)
}

/// Refuses to begin where a handful of files cannot be open at once: the runtime itself needs some, and does not say so.
fn enough_files() -> Result<(), Failure> {
    const FEW: usize = 24;
    let opened: std::io::Result<Vec<File>> = (0..FEW).map(|_| File::open("/dev/null")).collect();
    opened.map(drop).map_err(|error| {
        let message = format!("it cannot have {FEW} files open at once, and needs some more than that: {error}");
        Failure::new(Class::Operator, "limit:files", "this process", message)
            .advise("raise its limit of open files (ulimit -n, LimitNOFILE= in a unit) to 1024")
    })
}

/// This machine's name, for people.
#[must_use]
pub fn host() -> Printable {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Printable::new(name.as_deref().unwrap_or("this machine"))
}

/// The wall clock for decisions, the monotonic one for waits.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the clock")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, span: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// What looks at endpoints for people. It asks `resolvers`, or the system's where there are none.
///
/// # Errors
/// When no resolver can be made of them, or the TLS library cannot be set up.
pub fn surveyor(resolvers: &[SocketAddr]) -> Result<Surveyor, Failure> {
    Surveyor::new(Rc::new(Resolver::new(resolvers)?), Rc::new(SystemClock), sockets())
}

/// What looks at endpoints for another everleaf's confirm step. It asks `resolvers`, or the system's where there are none.
///
/// # Errors
/// As [`surveyor`].
pub fn prober(resolvers: &[SocketAddr]) -> Result<TlsProber, Failure> {
    TlsProber::new(Rc::new(Resolver::new(resolvers)?), Rc::new(SystemClock))
}

/// A node that receives on these terms.
///
/// # Errors
/// As [`prober`].
pub fn receiver(terms: Terms) -> Result<Receiver, Failure> {
    let clock: Rc<dyn Clock> = Rc::new(SystemClock);
    let nodes = Nodes::new(Systemd::of_this_machine(), Rc::clone(&clock));
    // It looks at addresses alone: no name is looked up, and a node without a resolver is no worse.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    Ok(Receiver::new(terms, nodes, Rc::new(prober(&[nobody])?), clock))
}

/// How many sockets this process may have open at once, with some files left for everything else. Its limit is raised as far as it
/// may be: the usual one of 1,024 is for programs that call `select`.
fn sockets() -> usize {
    const OTHERS: u64 = 64;
    const MOST: u64 = 4096;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::from(u8::MAX) };
    let wanted = hard.min(MOST + OTHERS).max(soft);
    let raised = soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok();
    let limit = if raised { wanted } else { soft };
    usize::try_from(limit.saturating_sub(OTHERS).min(MOST)).unwrap_or(usize::MAX)
}

/// The time, for commands that open no state.
#[must_use]
pub fn now() -> Timestamp {
    SystemClock.now()
}
