//! A CA that misbehaves: a proxy before Pebble that plays faults.
//!
//! Host and path are passed on as they are, and Pebble builds its URLs from them, so that every signature stays valid. What
//! comes is sorted by [`Kind`], kept in a log, and met by the first [`Fault`] that was set for it and is not used up.
//!
//! ```text
//! let scene = Scene::easy();
//! let ca = FaultyCa::before(&scene.pebble);
//! ca.on(Kind::NewOrder, Times::ONCE, Fault::LoseReply);
//! ca.on(Kind::Order, Times::ALWAYS.after(1), Fault::change(|_, answer| answer.json(|it| it["status"] = json!("odd"))));
//! scene.run(&ca.serves(&scene.unproven(""))).exits(75);
//! assert_eq!(ca.count(Kind::NewOrder), 1);
//! ```

mod answer;
mod conversation;
mod http2;
mod line;

pub(crate) use answer::Answer;
pub(crate) use line::Line;

use super::Pebble;
use super::process::{free_port, host, scratch};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a request is for, by Pebble's paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Every kind: for rules and counts, never what a request is.
    Any,
    Directory,
    NewNonce,
    NewAccount,
    Account,
    NewOrder,
    Authorization,
    Challenge,
    Finalize,
    /// A look at an order.
    Order,
    Certificate,
    RenewalInfo,
    Other,
}

impl Kind {
    fn of(path: &str) -> Self {
        const PATHS: [(&str, Kind); 11] = [
            ("/dir", Kind::Directory),
            ("/nonce-plz", Kind::NewNonce),
            ("/sign-me-up", Kind::NewAccount),
            ("/my-account/", Kind::Account),
            ("/order-plz", Kind::NewOrder),
            ("/authZ/", Kind::Authorization),
            ("/chalZ/", Kind::Challenge),
            ("/finalize-order/", Kind::Finalize),
            ("/my-order/", Kind::Order),
            ("/certZ/", Kind::Certificate),
            ("/draft-ietf-acme-ari-03/", Kind::RenewalInfo),
        ];
        PATHS.iter().find(|(begin, _)| path.starts_with(begin)).map_or(Self::Other, |(_, kind)| *kind)
    }

    fn covers(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The JWS payload; null for POST-as-GET and for anything unsigned.
    pub(crate) payload: Value,
}

/// Which of the requests a rule is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    skipped: usize,
    count: usize,
}

impl Times {
    pub(crate) const ALWAYS: Self = Self { skipped: 0, count: usize::MAX };
    pub(crate) const ONCE: Self = Self::of(1);

    /// The first `count`.
    pub(crate) const fn of(count: usize) -> Self {
        Self { skipped: 0, count }
    }

    /// Only after `skipped` were let through.
    pub(crate) const fn after(self, skipped: usize) -> Self {
        Self { skipped, ..self }
    }
}

/// How a change of an answer is made.
type Change = dyn Fn(&Asked, Answer) -> Answer + Send + Sync;

/// What happens to a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Pebble gets the request, and its answer is thrown away: the connection is closed.
    LoseReply,
    /// The connection is closed (FIN) before a reply; Pebble never hears of the request.
    Close,
    /// The same by RST.
    Reset,
    /// Nothing, as long as the client stays.
    Silence,
    /// A head, then one octet each half second.
    Trickle,
    /// So many octets of body, their number told beforehand or not.
    Flood { octets: usize, told: bool },
    /// Headers without end.
    EndlessHeaders,
    /// Half of Pebble's answer, then the end of the connection.
    Half,
    /// HTTP/2 only: GOAWAY with this error code (RFC 9113 §7), and no answer.
    GoAway(u32),
    /// HTTP/2 only: `RST_STREAM` with this error code.
    RefuseStream(u32),
    /// This instead of Pebble's answer; Pebble never hears of the request, so that its nonce stays good.
    Answer(Answer),
    /// Pebble's answer, changed.
    Change(Arc<Change>),
}

impl Fault {
    /// Pebble's answer, changed.
    pub(crate) fn change(change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Self {
        Self::Change(Arc::new(change))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => write!(f, "Answer({})", answer.status),
            Self::Change(_) => write!(f, "Change"),
            Self::LoseReply => write!(f, "LoseReply"),
            Self::Close => write!(f, "Close"),
            Self::Reset => write!(f, "Reset"),
            Self::Silence => write!(f, "Silence"),
            Self::Trickle => write!(f, "Trickle"),
            Self::Flood { octets, told } => write!(f, "Flood({octets}, {told})"),
            Self::EndlessHeaders => write!(f, "EndlessHeaders"),
            Self::Half => write!(f, "Half"),
            Self::GoAway(code) => write!(f, "GoAway({code})"),
            Self::RefuseStream(code) => write!(f, "RefuseStream({code})"),
        }
    }
}

struct Rule {
    kind: Kind,
    times: Times,
    fault: Fault,
}

/// What the threads of the server share.
struct Shared {
    at: SocketAddr,
    acme: SocketAddr,
    root: String,
    tls: line::Configs,
    line: Mutex<Line>,
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
}

impl Shared {
    /// The fault that meets this request, which is noted.
    fn meet(&self, asked: &Asked) -> Option<Fault> {
        held(&self.asked).push(asked.clone());
        let mut rules = held(&self.rules);
        for rule in rules.iter_mut().filter(|rule| rule.kind.covers(asked.kind)) {
            if rule.times.skipped > 0 {
                rule.times.skipped -= 1;
            } else if rule.times.count > 0 {
                rule.times.count -= rule.times.count.min(usize::from(rule.times.count != usize::MAX));
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

/// The proxy. Its listener ends with it; a conversation under way ends with the client's.
pub(crate) struct FaultyCa {
    shared: Arc<Shared>,
    listener: Mutex<Option<Listener>>,
    dir: tempfile::TempDir,
}

impl FaultyCa {
    /// Stands before `pebble`, honest at first.
    pub(crate) fn before(pebble: &Pebble) -> Self {
        let at = SocketAddr::from((host(), free_port()));
        let (tls, roots) = line::Configs::new(pebble);
        let shared = Arc::new(Shared {
            at,
            acme: pebble.acme(),
            root: pebble.tls_root().to_owned(),
            tls,
            line: Mutex::new(Line::Good),
            rules: Mutex::default(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let dir = scratch("faulty-ca");
        fs::write(dir.path().join("bundle.pem"), roots).expect("a file");
        let listener = Mutex::new(Some(Listener::start(&shared)));
        Self { shared, listener, dir }
    }

    /// The directory's URL, as everleaf is to know it.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.shared.at)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.at
    }

    /// A configuration made for Pebble, as one for this server before it.
    pub(crate) fn serves(&self, pebble: &Pebble, yaml: &str) -> String {
        let trusted = |path: &std::path::Path| format!("ca_bundle: {}", path.display());
        yaml.replace(&pebble.directory(), &self.directory())
            .replace(&trusted(&pebble.tls_root_file()), &trusted(&self.dir.path().join("bundle.pem")))
    }

    /// From now on `fault` meets requests of `kind`, so often. An earlier rule comes before a later one.
    pub(crate) fn on(&self, kind: Kind, times: Times, fault: Fault) {
        held(&self.shared.rules).push(Rule { kind, times, fault });
    }

    /// From now on every new connection is met so.
    pub(crate) fn line(&self, line: Line) {
        let mut listener = held(&self.listener);
        if line == Line::Refused {
            *listener = None;
        } else if listener.is_none() {
            *listener = Some(Listener::start(&self.shared));
        }
        *held(&self.shared.line) = line;
    }

    /// Honest again, and the log empty.
    pub(crate) fn heal(&self) {
        held(&self.shared.rules).clear();
        self.line(Line::Good);
        self.forget();
    }

    /// Empties the log.
    pub(crate) fn forget(&self) {
        held(&self.shared.asked).clear();
        self.shared.connections.store(0, Ordering::Relaxed);
    }

    /// The requests that came, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        held(&self.shared.asked).clone()
    }

    /// How many requests of a kind came.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        held(&self.shared.asked).iter().filter(|asked| kind.covers(asked.kind)).count()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// `text` with this server's address made plain, for snapshots: then [`Scene::plain`](super::scene::Scene::plain).
    pub(crate) fn plain(&self, text: &str) -> String {
        let bundle = self.dir.path().display().to_string();
        text.replace(&self.shared.at.to_string(), "CA:443").replace(&bundle, "/CA")
    }
}

impl fmt::Debug for FaultyCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyCa at {}", self.shared.at)
    }
}

/// A listener that can be taken away.
struct Listener {
    at: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(shared: &Arc<Shared>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (at, flag, shared) = (shared.at, Arc::clone(&ended), Arc::clone(shared));
        let listener = TcpListener::bind(at).expect("a free port");
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if flag.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                // A client that goes away ends its conversation, nothing else.
                thread::spawn(move || line::meet(stream, &shared));
            }
        });
        Self { at, ended, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The listener waits for one more connection, and this is it.
        let _ = TcpStream::connect_timeout(&self.at, Duration::from_secs(5));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A lock's content. A thread that panicked has said so already.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
