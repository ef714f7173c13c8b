//! The state directory and the live directory on a real file system: killed at every system call that changes something, refused by it with
//! every error a disk gives, and read for the order in which it makes things durable.
//!
//! A test starts this binary anew under strace, for the one test `helper::helper`, which does what its environment says.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

mod faults;
mod helper;
mod journals;
mod kills;
mod order;
mod site;
#[path = "../rig/strace.rs"]
mod strace;
mod trace;
