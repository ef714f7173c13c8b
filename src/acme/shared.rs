//! Something that is made once and shared by everybody who waits for it, its failure too.

use crate::types::Failure;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a failure answers for those who waited beside the one who met it: many orders begun at once must not become as
/// many registrations, and a person's next try must be a real one.
const FAILURE_SHARED: Duration = Duration::from_secs(2);

/// A value made by one caller at a time, and made anew when it has grown old.
pub(super) struct Shared<T> {
    turn: tokio::sync::Mutex<()>,
    made: RefCell<Option<Made<T>>>,
    fresh: Duration,
}

/// What came of the last making, and when.
type Made<T> = (Instant, Result<Rc<T>, Failure>);

impl<T> Shared<T> {
    /// Nothing yet; a value is good for `fresh`.
    pub(super) fn new(fresh: Duration) -> Self {
        Self { turn: tokio::sync::Mutex::default(), made: RefCell::default(), fresh }
    }

    /// The value, made by `make` if there is none. Dropping the maker lets the next one make it.
    ///
    /// # Errors
    /// What `make` answered, to everybody who waited for it.
    pub(super) async fn get(&self, make: impl Future<Output = Result<T, Failure>>) -> Result<Rc<T>, Failure> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let outcome = make.await.map(Rc::new);
        self.made.replace(Some((Instant::now(), outcome.clone())));
        outcome
    }

    fn known(&self) -> Option<Result<Rc<T>, Failure>> {
        let made = self.made.borrow();
        let (at, outcome) = made.as_ref()?;
        let good_for = if outcome.is_ok() { self.fresh } else { FAILURE_SHARED };
        (at.elapsed() < good_for).then(|| outcome.clone())
    }
}
