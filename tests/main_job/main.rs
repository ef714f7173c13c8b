//! The main job on real parts: the built program with Pebble, nginx, HAProxy and sshd; what the simulation plays, asserted
//! once against the world.
#![cfg(test)]

#[path = "../rig/mod.rs"]
mod rig;

mod around;
mod far;
mod fleet;
mod incident;
mod issuing;
mod judging;
mod proving;
mod receiving;
mod rehearsing;
mod rolling;
mod sandbox;
mod telling;
mod together;
mod vantage;
