//! CRLs, fetched from where certificates say they are. Bounded in time and size, and fetched once for all certificates that name the
//! same place.

use crate::net::http::{Http, Options, Plain, Request};
use crate::pki::Certificate;
use crate::types::{Class, Failure};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// The largest list that is read: near a million entries. CAs that sign by the million cut theirs into pieces of a few megabytes.
pub const MAX_CRL: usize = 32 << 20;
/// The same in passing, where nobody asked for it.
const MAX_IN_PASSING: usize = 8 << 20;
/// How long a list, or that there was none, is remembered: a daemon lives longer than a list counts.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Places tried for one certificate, one after another until one answers.
const PLACES: usize = 2;
/// Certificates of one chain that are looked up.
const CERTIFICATES: usize = 4;
/// Lists under way at once.
const AT_ONCE: usize = 2;
/// Lists kept for others that name them, and how large they may be together.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 2 * MAX_CRL;

/// What came from where one certificate says that its issuer's CRL is.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The certificate's position in what was sent; the leaf is at 0.
    pub position: usize,
    /// Where it was asked for.
    pub url: String,
    /// The list, or why there is none.
    pub list: Result<Bytes, Failure>,
}

type Slot = Rc<OnceCell<Result<Bytes, Failure>>>;

/// A list that was asked for.
struct Kept {
    url: String,
    since: Instant,
    slot: Slot,
}

/// Fetches lists, and keeps them for those who ask again.
pub struct Lists {
    http: Http,
    most: usize,
    kept: RefCell<VecDeque<Kept>>,
    slots: Semaphore,
}

impl Default for Lists {
    /// For who asks for them: 5 s to connect, 10 s for one list, redirects and the whole reply included, [`MAX_CRL`].
    fn default() -> Self {
        Self::bounded(Duration::from_secs(5), Duration::from_secs(10), MAX_CRL)
    }
}

impl Lists {
    /// For who has other business: 2 s to connect, 4 s for one list, 8 MiB.
    #[must_use]
    pub fn in_passing() -> Self {
        Self::bounded(Duration::from_secs(2), Duration::from_secs(4), MAX_IN_PASSING)
    }

    fn bounded(connect: Duration, request: Duration, most: usize) -> Self {
        let options = Options { connect, request, ca_bundle: None, plain: Plain::Anywhere };
        Self { http: Http::new(options), most, kept: RefCell::default(), slots: Semaphore::new(AT_ONCE) }
    }

    /// The lists that the certificates `sent` point to, the leaf's first. A certificate that points nowhere has none.
    pub async fn of(&self, sent: &[Certificate]) -> Vec<Fetched> {
        let pointing = sent.iter().enumerate().filter(|(_, it)| !it.crl_urls.is_empty()).take(CERTIFICATES);
        let each = pointing.map(async |(position, certificate)| {
            let mut fetched = None;
            for url in certificate.crl_urls.iter().take(PLACES) {
                let list = self.fetch(url.as_str()).await;
                let found = list.is_ok();
                fetched = Some(Fetched { position, url: url.to_string(), list });
                if found {
                    break;
                }
            }
            fetched
        });
        join_all(each).await.into_iter().flatten().collect()
    }

    /// What lies at `url`, asked for at most once while it is kept.
    ///
    /// # Errors
    /// As [`Http::send`], and `crl:status` for a reply other than 200.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, Failure> {
        let slot = self.slot(url);
        let list = slot.get_or_init(|| self.ask(url)).await.clone();
        self.forget();
        list
    }

    async fn ask(&self, url: &str) -> Result<Bytes, Failure> {
        // Never closed: an error cannot come.
        let _slot = self.slots.acquire().await;
        let reply = self.http.send(Request { limit: self.most, ..Request::new(Method::GET, url) }).await?;
        if reply.status != 200 {
            let message = format!("the server answers with status {}", reply.status);
            return Err(Failure::new(Class::Retry, "crl:status", url, message));
        }
        Ok(reply.body)
    }

    fn slot(&self, url: &str) -> Slot {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|it| it.since.elapsed() < REMEMBERED);
        if let Some(known) = kept.iter().find(|it| it.url == url) {
            return Rc::clone(&known.slot);
        }
        let slot = Slot::default();
        kept.push_back(Kept { url: url.to_owned(), since: Instant::now(), slot: Rc::clone(&slot) });
        slot
    }

    /// Lets go of the oldest lists beyond the bounds.
    fn forget(&self) {
        let mut kept = self.kept.borrow_mut();
        let size = |slot: &Slot| slot.get().map_or(0, |list| list.as_ref().map_or(0, Bytes::len));
        let mut bytes: usize = kept.iter().map(|it| size(&it.slot)).sum();
        while kept.len() > KEPT || bytes > KEPT_BYTES {
            let Some(oldest) = kept.pop_front() else { break };
            bytes -= size(&oldest.slot);
        }
    }
}
