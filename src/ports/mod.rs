//! What everleaf asks of the world, as small traits by role.
//!
//! The agent knows these and nothing behind them; `wire` chooses what stands behind each. Adapters implement one trait,
//! know no other adapter, and never see facts. The simulation implements all of them over a synchronous world.
//!
//! Contract for every adapter: look, act, look again (an effect that is already done succeeds and says so); bounded waits on
//! the monotonic clock; a failure is a [`Failure`](crate::types::Failure) sorted by what to do next; dropping a future stops its work.

mod ca;
mod generations;
mod nodes;
mod people;
mod state;

pub use ca::*;
pub use generations::*;
pub use nodes::*;
pub use people::*;
pub use state::*;

use crate::types::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Work under way. Everything runs on one thread, so nothing need be `Send`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The only clock.
pub trait Clock {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Waits on the monotonic clock.
    fn sleep(&self, span: Duration) -> Pending<'_, ()>;
}
