//! The main job on real parts: Pebble, nginx and HAProxy; what the simulation plays, asserted once against the world.

#[path = "../rig/mod.rs"]
mod rig;

mod issuing;
mod rolling;
mod scene;
