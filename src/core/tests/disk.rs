//! What this machine's disk refuses: whoever mends it tells nobody, so the next run tries again what costs nothing.

use super::*;

fn refused() -> Failure {
    Failure::new(Class::Operator, "state:eacces", "/var/lib/everleaf", "permission denied")
}

fn next_run(story: &mut Story) {
    story.later(1);
    story.horizon.began = Some(story.now);
}

#[test]
fn what_the_disk_refuses_keeps_the_order_and_is_tried_again_by_the_next_run() {
    let mut story = Story::begins();
    next_run(&mut story);
    story.happens(Event::PreparationFailed { failure: refused(), spec_digest: None, settings: None });
    assert_eq!(story.does(), [], "not twice in one run");
    next_run(&mut story);
    assert_eq!(story.does(), [("make_key", Reason::First)]);
    story.happens(Event::KeyMade { key: key(), algorithm: KeyAlgorithm::EcdsaP256 });
    let attempt = story.opens(true);
    story.happens(Event::StepFailed { attempt, failure: refused() });
    story.decides();
    assert!(story.facts.ledger.order.is_some(), "the order is no worse for it");
    assert_eq!(story.does(), []);
    next_run(&mut story);
    assert_eq!(names(&story.does()), ["submit_csr"]);
    // What ended an order cost one: the next run is no reason to spend another.
    story.happens(Event::OrderFailed { attempt, failure: refused() });
    next_run(&mut story);
    assert_eq!(story.does(), []);
}

#[test]
fn an_order_that_the_ca_never_heard_of_has_cost_nothing() {
    let mut story = Story::begins();
    next_run(&mut story);
    let attempt = story.intends();
    story.happens(Event::StepFailed { attempt, failure: refused() });
    story.decides();
    assert_eq!(story.does(), [], "not twice in one run");
    next_run(&mut story);
    assert_eq!(names(&story.does()), ["open_order"]);
    // What may have reached the CA waits.
    let attempt = story.intends();
    story.happens(Event::StepFailed { attempt, failure: lost() });
    story.decides();
    next_run(&mut story);
    assert_eq!(story.does(), []);
}

#[test]
fn each_run_tries_to_take_challenges_down() {
    let mut story = Story::begins();
    next_run(&mut story);
    let attempt = story.opens(false);
    let proofs = vec![proof()];
    story.happens(Event::ChallengesOffered { attempt, proofs: proofs.clone() });
    story.happens(Event::ChallengesIntended { attempt, proofs });
    story.happens(Event::OrderFailed { attempt, failure: lost() });
    assert_eq!(story.does(), [("take_down", Reason::LeftBehind)]);
    story.happens(Event::CleanupFailed { attempt, failure: refused() });
    assert_eq!(story.does(), [], "not twice in one run");
    next_run(&mut story);
    assert_eq!(story.does(), [("take_down", Reason::LeftBehind)]);
    story.spec.certificates.clear();
    assert_eq!(names(&story.does())[0], "take_down", "also when nobody wants it any more");
}

/// What a CA handed out is judged by roots that lie here: a file that could not be read for a moment costs no certificate.
#[test]
fn roots_that_cannot_be_read_are_read_by_the_next_run() {
    let mut story = Story::begins();
    next_run(&mut story);
    let attempt = story.downloads(1);
    let failure = Failure::new(Class::Spec, "roots:unreadable", "/etc/roots.pem", "permission denied");
    story.happens(Event::StepFailed { attempt, failure });
    story.decides();
    assert_eq!(story.does(), [], "not twice in one run");
    next_run(&mut story);
    assert_eq!(names(&story.does()), ["judge"]);
}
