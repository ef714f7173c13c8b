//! Solvers against real parts: Pebble, nginx, HAProxy, BIND.

#[path = "../rig/mod.rs"]
mod rig;

mod servers;
