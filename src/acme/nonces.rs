//! One pool of nonces for a directory (RFC 8555 §6.5): every reply's nonce is used by some later request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The nonces kept: as many as requests can be under way at once in the widest run.
const MAX_NONCES: usize = 128;
/// The longest nonce taken: CAs' are under 100 characters.
const LONGEST_NONCE: usize = 512;
/// How long a reply under way is waited for before a nonce is asked for. Most come within a round trip, which asking costs as
/// well; one that takes longer, such as a slow finalize, must not hold up the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pool.
pub(super) struct Nonces {
    held: Mutex<Vec<String>>,
    /// As many permits as nonces are held; a permit that is taken entitles to one of them.
    available: Semaphore,
    /// The signed requests under way, each of which will bring a nonce.
    under_way: AtomicUsize,
    /// Those waiting for one of these.
    waiting: AtomicUsize,
}

/// Counts while it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Nonces {
    pub(super) fn new() -> Self {
        let (under_way, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { held: Mutex::default(), available: Semaphore::new(0), under_way, waiting }
    }

    /// The newest nonce held (after badNonce that is the error's own), or one that a request under way brings soon, each
    /// waited for by one request at most. `None`: ask for one.
    pub(super) async fn take(&self) -> Option<String> {
        if let Ok(permit) = self.available.try_acquire() {
            return self.pop(permit);
        }
        let _waiting = self.wait_turn()?;
        let permit = tokio::time::timeout(PATIENCE, self.available.acquire()).await.ok()?;
        self.pop(permit.ok()?)
    }

    /// Keeps a reply's nonce if it is one (base64url, RFC 8555 §6.5.1).
    pub(super) fn put(&self, nonce: &str) {
        if !is_nonce(nonce) {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == MAX_NONCES {
            held.remove(0);
        } else {
            self.available.add_permits(1);
        }
        held.push(nonce.to_owned());
    }

    /// Marks a request that will bring a nonce, until this is dropped.
    pub(super) fn promise(&self) -> Counted<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Counted(&self.under_way)
    }

    fn wait_turn(&self) -> Option<Counted<'_>> {
        if self.waiting.load(Ordering::Relaxed) >= self.under_way.load(Ordering::Relaxed) {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Counted(&self.waiting))
    }

    fn pop(&self, permit: SemaphorePermit<'_>) -> Option<String> {
        permit.forget();
        self.held.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Whether this may be a nonce.
pub(super) fn is_nonce(text: &str) -> bool {
    (1..=LONGEST_NONCE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join;

    #[tokio::test]
    async fn the_newest_is_used_first_and_each_once() {
        let nonces = Nonces::new();
        for nonce in ["one", "two", "not a nonce", ""] {
            nonces.put(nonce);
        }
        assert_eq!(nonces.take().await.as_deref(), Some("two"));
        assert_eq!(nonces.take().await.as_deref(), Some("one"));
        assert_eq!(nonces.take().await, None, "nothing under way: none is waited for");
    }

    #[tokio::test]
    async fn the_pool_is_bounded_and_forgets_the_oldest() {
        let nonces = Nonces::new();
        for number in 0..=MAX_NONCES {
            nonces.put(&format!("n{number}"));
        }
        let mut taken = Vec::new();
        while let Some(nonce) = nonces.take().await {
            taken.push(nonce);
        }
        assert_eq!(taken.len(), MAX_NONCES);
        assert!(!taken.contains(&"n0".to_owned()));
    }

    #[tokio::test]
    async fn a_promised_nonce_is_waited_for_by_one() {
        let nonces = Nonces::new();
        assert_eq!(nonces.take().await, None);
        let promise = nonces.promise();
        let ((first, second), ()) = join(join(nonces.take(), nonces.take()), async {
            nonces.put("brought");
        })
        .await;
        assert_eq!((first.as_deref(), second), (Some("brought"), None));
        drop(promise);
        assert_eq!(nonces.take().await, None);
    }

    #[tokio::test]
    async fn a_promise_that_is_not_kept_costs_little() {
        let nonces = Nonces::new();
        let _promise = nonces.promise();
        let begun = tokio::time::Instant::now();
        assert_eq!(nonces.take().await, None);
        assert!((PATIENCE..10 * PATIENCE).contains(&begun.elapsed()));
    }

    #[test]
    fn a_nonce_is_base64url_and_bounded() {
        for good in ["a", "oFvnlFP1wIhRlYS2jTaXbA", "a-b_c=="] {
            assert!(is_nonce(good), "{good}");
        }
        for bad in ["", "a b", "a\"b", "ä", &"a".repeat(LONGEST_NONCE + 1)] {
            assert!(!is_nonce(bad), "{bad}");
        }
    }
}
