//! Watches a burst: shows it, and remembers what became of requests.

use crate::agent::Observer;
use crate::core::{Event, Work};
use crate::report::{LOOKED, Progress, happened};
use crate::types::{CertName, Printable, RequestId};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Shows progress, and remembers which requests were refused.
pub struct Watch {
    progress: Progress,
    json: bool,
    closed: RefCell<BTreeMap<RequestId, Printable>>,
}

impl Watch {
    /// Shows through `progress`; with `json`, events are logged and not shown.
    #[must_use]
    pub fn new(progress: Progress, json: bool) -> Self {
        Self { progress, json, closed: RefCell::default() }
    }

    /// Takes a moving line away.
    pub fn done(&self) {
        self.progress.done();
    }

    /// How many certificates stand how, where many are counted.
    #[must_use]
    pub fn counts(&self) -> Option<String> {
        self.progress.counts()
    }

    /// Why a request was refused, if it was.
    pub(super) fn refusal(&self, id: &RequestId) -> Option<Printable> {
        self.closed.borrow().get(id).cloned()
    }
}

impl Observer for Watch {
    fn began(&self, work: &Work) {
        self.progress.began(work);
    }

    fn happened(&self, name: &CertName, event: &Event) {
        if let Event::AskClosed { id, why } = event
            && why.as_str() != LOOKED
        {
            self.closed.borrow_mut().insert(id.clone(), why.clone());
        }
        if !self.json {
            return self.progress.happened(name, event);
        }
        if let Some(text) = happened(name, event) {
            tracing::info!(certificate = %name, "{text}");
        }
    }
}
