//! The tickets of one server.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::sync::{Mutex, PoisonError};

/// Tickets that are kept: servers give one to four at once.
const MOST: usize = 8;

/// What one server gave, whatever it was called: one name is asked for.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    closed: bool,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Tickets {
    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// While it is closed nothing is added or forgotten.
    pub(super) fn close(&self, closed: bool) {
        self.with(|kept| kept.closed = closed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.with(|kept| kept.tls12.is_none() && kept.tls13.is_empty())
    }

    /// How many bytes of early data the next ticket allows.
    pub(super) fn early_data(&self) -> Option<u32> {
        self.with(|kept| kept.tls13.last().map(Tls13ClientSessionValue::max_early_data_size))
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|kept| {
            if !kept.closed {
                kept.tls12 = Some(value);
            }
        });
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|kept| {
            if !kept.closed {
                kept.tls12 = None;
            }
        });
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|kept| {
            if !kept.closed && kept.tls13.len() < MOST {
                kept.tls13.push(value);
            }
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| kept.tls13.pop())
    }
}
