//! Everleaf's edges on real parts: hooks as processes, `hooks/deploy-ssh` over a real sshd, a recording systemd, a webhook's
//! receiver.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

#[path = "../rig/mod.rs"]
mod rig;

mod deploy;
mod deploy_ssh;
mod haproxy;
mod hooks;
mod notify;
mod receive;
mod reload;
mod ssh;
mod sudo;
mod support;
mod swaps;
mod systemd;
