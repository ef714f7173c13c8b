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

/// To open a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For one list, redirects and the whole reply included.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// The largest list that is read: near a million entries. CAs that sign by the million cut theirs into pieces of a few megabytes.
pub const MAX_CRL: usize = 32 << 20;
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

/// Fetches lists, and keeps them for the length of a run.
pub struct Lists {
    http: Http,
    kept: RefCell<VecDeque<(String, Slot)>>,
    slots: Semaphore,
}

impl Default for Lists {
    fn default() -> Self {
        let options = Options { connect: CONNECT_LIMIT, request: FETCH_LIMIT, ca_bundle: None, plain: Plain::Anywhere };
        Self { http: Http::new(options), kept: RefCell::default(), slots: Semaphore::new(AT_ONCE) }
    }
}

impl Lists {
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
        let reply = self.http.send(Request { limit: MAX_CRL, ..Request::new(Method::GET, url) }).await?;
        if reply.status != 200 {
            let message = format!("the server answers with status {}", reply.status);
            return Err(Failure::new(Class::Retry, "crl:status", url, message));
        }
        Ok(reply.body)
    }

    fn slot(&self, url: &str) -> Slot {
        let mut kept = self.kept.borrow_mut();
        if let Some((_, slot)) = kept.iter().find(|(known, _)| known == url) {
            return Rc::clone(slot);
        }
        let slot = Slot::default();
        kept.push_back((url.to_owned(), Rc::clone(&slot)));
        slot
    }

    /// Lets go of the oldest lists beyond the bounds.
    fn forget(&self) {
        let mut kept = self.kept.borrow_mut();
        let size = |slot: &Slot| slot.get().map_or(0, |list| list.as_ref().map_or(0, Bytes::len));
        let mut bytes: usize = kept.iter().map(|(_, slot)| size(slot)).sum();
        while kept.len() > KEPT || bytes > KEPT_BYTES {
            let Some((_, oldest)) = kept.pop_front() else { break };
            bytes -= size(&oldest);
        }
    }
}
