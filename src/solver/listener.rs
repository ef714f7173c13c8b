//! The built-in http-01 listener: bound only while challenges are up, shared by every certificate at its address.

use super::holder::{self, Holder};
use super::request::{Asked, EXCHANGE, asked, read_head, reply};
use crate::ports::Proof;
use crate::types::{CertName, Class, Failure};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Connections served at once: a CA asks from a handful of places, and whoever else comes must not use up our files.
const MAX_CONNECTIONS: usize = 128;
/// The pause after a failed accept (out of files): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for another everleaf to give the address back: its challenges take a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to try again meanwhile.
const RETRY: Duration = Duration::from_millis(250);

/// The listeners of this process, by address.
#[derive(Default)]
pub(super) struct Listeners {
    sites: RefCell<BTreeMap<SocketAddr, Site>>,
}

/// One bound address; closed when dropped.
struct Site {
    answers: Arc<Mutex<Answers>>,
    /// `None`: the address is covered by the listener at `[::]` with the same port.
    task: Option<AbortHandle>,
}

/// Token → answer and the certificates that need it: a CA may give two orders the same pending authorization.
type Answers = BTreeMap<String, (String, BTreeSet<CertName>)>;

impl Listeners {
    /// Answers `proof`'s token at all `addresses`, bound if they are not yet.
    pub(super) async fn put_up(&self, name: &CertName, proof: &Proof, addresses: &[SocketAddr]) -> Result<(), Failure> {
        for address in in_order(addresses) {
            self.open(address).await?;
            let sites = self.sites.borrow();
            if let Some(site) = sites.get(&address) {
                let mut answers = lock(&site.answers);
                let entry = answers.entry(proof.token.clone()).or_default();
                entry.0.clone_from(&proof.key_authorization);
                entry.1.insert(name.clone());
            }
        }
        Ok(())
    }

    /// Forgets `proof`'s token, and closes listeners that have none left.
    pub(super) fn take_down(&self, name: &CertName, proof: &Proof, addresses: &[SocketAddr]) {
        let mut sites = self.sites.borrow_mut();
        for address in addresses {
            let Some(site) = sites.get(address) else { continue };
            let mut answers = lock(&site.answers);
            if let Some((_, owners)) = answers.get_mut(&proof.token) {
                owners.remove(name);
                if owners.is_empty() {
                    answers.remove(&proof.token);
                }
            }
        }
        sites.retain(|_, site| !lock(&site.answers).is_empty());
    }

    async fn open(&self, address: SocketAddr) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            if self.sites.borrow().contains_key(&address) {
                return Ok(());
            }
            match self.bind(address) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let holder = holder::of(address);
                    let passing = holder.as_ref().is_some_and(Holder::is_everleaf);
                    if !passing || start.elapsed() > PATIENCE {
                        return Err(in_use(address, holder.as_ref()));
                    }
                }
                Err(error) => return Err(cannot_bind(address, &error)),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Binds and starts to serve. Nothing is awaited here, so two certificates cannot bind the same address twice.
    fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let mut sites = self.sites.borrow_mut();
        let listener = match std::net::TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.ip().is_unspecified() => {
                // `[::]` takes IPv4 as well unless the system says otherwise; then there is nothing left to bind.
                let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
                let site = sites.get(&both).ok_or(error)?;
                let covered = Site { answers: Arc::clone(&site.answers), task: None };
                sites.insert(address, covered);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let answers = Arc::default();
        #[expect(clippy::disallowed_methods, reason = "strangers are answered while the loop waits for the CA")]
        let task = tokio::spawn(serve(listener, Arc::clone(&answers))).abort_handle();
        sites.insert(address, Site { answers, task: Some(task) });
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// IPv6 first, because `[::]` may cover `0.0.0.0`; nothing twice.
fn in_order(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ordered = addresses.to_vec();
    ordered.sort_by_key(|address| (address.is_ipv4(), *address));
    ordered.dedup();
    ordered
}

async fn serve(listener: TcpListener, answers: Arc<Mutex<Answers>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Beyond the limit a connection is closed unheard; a CA tries from several places and more than once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let answers = Arc::clone(&answers);
        #[expect(clippy::disallowed_methods, reason = "one slow stranger keeps no other waiting")]
        tokio::spawn(async move {
            let served = tokio::time::timeout(EXCHANGE, exchange(stream, &answers)).await;
            tracing::debug!(%peer, ?served, "http-01 request");
            drop(place);
        });
    }
}

async fn exchange(mut stream: TcpStream, answers: &Mutex<Answers>) -> io::Result<String> {
    let Some(head) = read_head(&mut stream).await? else {
        return finish(stream, reply("431 Request Header Fields Too Large", "", false)).await;
    };
    let answer = match asked(&head) {
        Asked::Malformed => reply("400 Bad Request", "", false),
        Asked::Method => reply("405 Method Not Allowed", "", false),
        Asked::Path { path, head } => match answer_to(path, answers) {
            Some(body) => reply("200 OK", &body, head),
            None => reply("404 Not Found", "", head),
        },
    };
    finish(stream, answer).await
}

fn answer_to(path: &str, answers: &Mutex<Answers>) -> Option<String> {
    let token = path.strip_prefix(super::path_of("").as_str())?;
    lock(answers).get(token).map(|(answer, _)| answer.clone())
}

async fn finish(mut stream: TcpStream, answer: String) -> io::Result<String> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(answer.split("\r\n").next().unwrap_or_default().to_owned())
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use(address: SocketAddr, holder: Option<&Holder>) -> Failure {
    let class = if holder.is_some_and(Holder::is_everleaf) { Class::Retry } else { Class::Operator };
    let who = holder.map_or_else(|| "another process, which cannot be seen from here".to_owned(), ToString::to_string);
    Failure::new(class, "solver:inUse", address.to_string(), format!("the address is in use by {who}")).advise(
        "Let that server answer instead: `webroot: DIR` if it serves files, `stateless: true` with a rule that answers \
         TOKEN.THUMBPRINT, or a proxy rule that passes /.well-known/acme-challenge/ to a `listen:` address of its own \
         (examples/edges/ has them for nginx and HAProxy).",
    )
}

fn cannot_bind(address: SocketAddr, error: &io::Error) -> Failure {
    let (class, code, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            Class::Operator,
            "solver:permission",
            "Ports below 1024 need root or CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit).",
        ),
        io::ErrorKind::AddrNotAvailable => {
            (Class::Operator, "solver:address", "No interface of this machine has the address: correct `listen:`.")
        }
        _ => (Class::Retry, "solver:bind", ""),
    };
    Failure::new(class, code, address.to_string(), format!("cannot listen for http-01: {error}")).advise(advice)
}
