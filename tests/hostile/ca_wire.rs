//! A CA that misbehaves on the wire: what comes of it, how much is asked of the CA meanwhile, and what people read.

use crate::rig::scene::Scene;
use crate::rig::{Fault, FaultyCa, Kind, Times};

#[test]
fn a_connection_that_is_reset_is_a_passing_failure_and_the_next_run_goes_on() {
    let scene = Scene::easy();
    let ca = FaultyCa::before(&scene.pebble);
    ca.on(Kind::NewOrder, Times::ONCE, Fault::Reset);
    let ran = scene.run(&ca.serves(&scene.pebble, &scene.unproven(""))).exits(75);
    assert!(ran.err.contains("/order-plz") && ran.err.contains("reset"), "{}", ran.err);
    assert_eq!((ca.count(Kind::NewOrder), ca.count(Kind::Any)), (1, 4), "{:?}", ca.asked());
    scene.everleaf(&["renew", "shop"]).exits(0);
}
