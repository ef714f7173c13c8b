//! Solvers against real parts: Pebble's DNS, nginx, HAProxy, BIND.

#[path = "../rig/mod.rs"]
mod rig;

mod dns01;
mod edges;
mod issuing;
mod listener;
mod servers;
mod support;
mod tls_alpn;
