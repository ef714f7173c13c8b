//! The built-in listeners: bound only while challenges are up, shared by every certificate at their addresses.

use super::holder::{self, Holder};
use super::request::EXCHANGE;
use crate::types::{Class, Failure};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Connections served at once: a CA asks from a handful of places, and whoever else comes must not use up our files.
const MAX_CONNECTIONS: usize = 128;
/// The pause after a failed accept (out of files): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for another everleaf to give the address back: its challenges take a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often in a row nobody may be seen at an address in use, before it is somebody else's.
const UNSEEN: u32 = 3;
/// How often to try again meanwhile.
const RETRY: Duration = Duration::from_millis(250);

/// What is answered at an address, and how.
pub(super) trait Desk: Default + Send + 'static {
    /// The challenge, as CAs call it.
    const KIND: &'static str;
    /// What to do where the address is another server's.
    const SHARE: &'static str;
    /// Whether nothing is up.
    fn is_empty(&self) -> bool;
    /// Serves one connection, and says for the log what came of it.
    fn serve(desk: Arc<Mutex<Self>>, stream: TcpStream) -> impl Future<Output = io::Result<String>> + Send;
}

/// The listeners of this process for one kind of challenge, by address.
pub(super) struct Listeners<D> {
    sites: RefCell<BTreeMap<SocketAddr, Site<D>>>,
}

/// One bound address; closed when dropped.
struct Site<D> {
    desk: Arc<Mutex<D>>,
    /// `None`: the address is covered by the listener at `[::]` with the same port.
    task: Option<AbortHandle>,
}

impl<D> Default for Listeners<D> {
    fn default() -> Self {
        Self { sites: RefCell::default() }
    }
}

impl<D: Desk> Listeners<D> {
    /// Binds all `addresses` that are not bound yet.
    pub(super) async fn open_all(&self, addresses: &[SocketAddr]) -> Result<(), Failure> {
        for address in in_order(addresses) {
            self.open(address).await?;
        }
        Ok(())
    }

    /// Does something at the desk of each of these addresses that is bound.
    pub(super) fn at(&self, addresses: &[SocketAddr], mut act: impl FnMut(&mut D)) {
        let sites = self.sites.borrow();
        for site in addresses.iter().filter_map(|address| sites.get(address)) {
            act(&mut lock(&site.desk));
        }
    }

    /// Closes listeners that have nothing left to answer.
    pub(super) fn close_idle(&self) {
        self.sites.borrow_mut().retain(|_, site| !lock(&site.desk).is_empty());
    }

    async fn open(&self, address: SocketAddr) -> Result<(), Failure> {
        let start = Instant::now();
        let mut unseen = 0;
        loop {
            if self.sites.borrow().contains_key(&address) {
                return Ok(());
            }
            match self.bind(address) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let holder = holder::of(address);
                    unseen += u32::from(holder.is_none());
                    // Whoever cannot be seen may just have given it back.
                    let passing = holder.as_ref().map_or(unseen < UNSEEN, Holder::is_everleaf);
                    if !passing || start.elapsed() > PATIENCE {
                        return Err(in_use::<D>(address, holder.as_ref()));
                    }
                }
                Err(error) => return Err(cannot_bind(D::KIND, address, &error)),
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
                let covered = Site { desk: Arc::clone(&site.desk), task: None };
                sites.insert(address, covered);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let desk = Arc::<Mutex<D>>::default();
        #[expect(clippy::disallowed_methods, reason = "strangers are answered while the loop waits for the CA")]
        let task = tokio::spawn(serve(listener, Arc::clone(&desk))).abort_handle();
        sites.insert(address, Site { desk, task: Some(task) });
        Ok(())
    }
}

impl<D> Drop for Site<D> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// IPv6 first, because `[::]` may cover `0.0.0.0`; nothing twice.
pub(super) fn in_order(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ordered = addresses.to_vec();
    ordered.sort_by_key(|address| (address.is_ipv4(), *address));
    ordered.dedup();
    ordered
}

async fn serve<D: Desk>(listener: TcpListener, desk: Arc<Mutex<D>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Beyond the limit a connection is closed unheard; a CA tries from several places and more than once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let desk = Arc::clone(&desk);
        #[expect(clippy::disallowed_methods, reason = "one slow stranger keeps no other waiting")]
        tokio::spawn(async move {
            let served = tokio::time::timeout(EXCHANGE, D::serve(desk, stream)).await;
            tracing::debug!(%peer, ?served, "{} request", D::KIND);
            drop(place);
        });
    }
}

pub(super) fn lock<D>(desk: &Mutex<D>) -> MutexGuard<'_, D> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use<D: Desk>(address: SocketAddr, holder: Option<&Holder>) -> Failure {
    let class = if holder.is_some_and(Holder::is_everleaf) { Class::Retry } else { Class::Operator };
    let who = holder.map_or_else(|| "another process, which cannot be seen from here".to_owned(), ToString::to_string);
    Failure::new(class, "solver:inUse", address.to_string(), format!("the address is in use by {who}")).advise(D::SHARE)
}

fn cannot_bind(kind: &str, address: SocketAddr, error: &io::Error) -> Failure {
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
    Failure::new(class, code, address.to_string(), format!("cannot listen for {kind}: {error}")).advise(advice)
}
