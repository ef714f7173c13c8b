//! Nodes on their way to what is wanted there.

use super::*;

/// Both nodes have the second generation; edge2 serves it, edge1 was reloaded and has had the time to.
fn edge1_shows_something_else() -> (Story, GenId) {
    let mut story = Story::live();
    story.later(61 * DAY);
    let second = story.issues(2);
    story.rolls_out(&[2]);
    story.deploys(1);
    story.reloads(1);
    story.later(61);
    (story, second)
}

#[test]
fn a_canary_goes_first() {
    let mut story = Story::live();
    story.certificate().rollout.canaries = vec![node(2)];
    story.later(61 * DAY);
    story.issues(2);
    let epoch = story.aim(2).0;
    assert_eq!(story.does(), [("deploy", Reason::NotDeployed { node: node(2), epoch })]);
    assert!(story.waits_for(|why| *why == Reason::Wave { node: node(1) }).is_some());
    story.rolls_out(&[2]);
    story.decides();
    assert_eq!(story.does(), [("deploy", Reason::NotDeployed { node: node(1), epoch })]);
}

#[test]
fn a_node_that_breaks_on_the_new_one_goes_back_and_stays_there() {
    let (mut story, second) = edge1_shows_something_else();
    story.shows(1, Story::broken());
    assert_eq!(names(&story.does()), ["inspect", "record"], "edge1 is looked into; edge2 is confirmed");
    story.lies_there(1, second);
    story.decides();
    assert_eq!((story.aim(1).1.number(), story.aim(2).1.number()), (1, 2));
    story.rolls_out(&[1]);
    story.decides();
    assert_eq!(story.does(), [], "the next pass does not undo it");
}

#[test]
fn the_old_leaf_after_a_reload_is_reloaded_again_with_patience() {
    let (mut story, second) = edge1_shows_something_else();
    let old = story.old_leaf();
    story.shows(1, old.clone());
    story.lies_there(1, second);
    story.decides();
    assert_eq!(story.aim(1).1, second, "the old leaf is no reason to go back");
    assert!(story.waits_for(|why| matches!(why, Reason::Held { what: "serving it", .. })).is_some());
    story.later(2 * MINUTE);
    story.shows(1, old);
    story.lies_there(1, second);
    assert_eq!(story.does(), [("reload", Reason::StillOld { node: node(1) })]);
}

#[test]
fn what_drifts_twice_is_not_reloaded_without_end() {
    let mut story = Story::live();
    let first = story.aim(1).1;
    for turn in 0..2 {
        story.later(61);
        story.shows(1, Story::broken());
        story.lies_there(1, first);
        story.decides();
        if turn == 0 {
            assert_eq!(story.does(), [("reload", Reason::StillOld { node: node(1) })], "drift is mended at once");
            story.reloads(1);
        }
    }
    assert_eq!(story.does(), [], "and then with patience");
}

#[test]
fn a_proof_older_than_a_lag_is_none() {
    let mut story = Story::live();
    let before = story.facts.seen.clone();
    let epoch = story.aim(1).0;
    story.happens(Event::Lagging { node: node(1), epoch, drift: true, failure: lost() });
    // A crash brings an older `seen.json` back.
    story.facts.seen = before;
    story.later(61);
    assert_eq!(names(&story.does()), ["look"]);
}

#[test]
fn behind_a_balancer_lagging_and_confirming_do_not_chase_each_other() {
    let mut story = Story::begins();
    story.certificate().endpoints.truncate(1);
    story.certificate().endpoints[0].node = None;
    let first = story.issues(1);
    story.deploys(1);
    story.deploys(2);
    story.reloads(1);
    story.reloads(2);
    story.later(61);
    story.shows(1, Story::broken());
    story.lies_there(1, first);
    story.lies_there(2, first);
    story.decides();
    story.shows(1, Shown::Wanted);
    story.decides();
    assert!(story.facts.ledger.live.is_some());
}

fn nobody() -> Shown {
    Shown::Unreachable {
        failure: Failure::new(Class::Retry, "tcp_refused", "192.0.2.1:443", "the connection is refused"),
    }
}

#[test]
fn a_node_that_was_built_anew_gets_its_files_though_its_server_cannot_start_yet() {
    let mut story = Story::live();
    let (epoch, first) = story.aim(1);
    story.later(2 * HOUR);
    story.shows(1, nobody());
    assert_eq!(story.does(), [("inspect", Reason::StillOld { node: node(1) })], "what lies there can be looked at");
    story.finds(1, Some(Published { generation: None, epoch: None, intact: false }));
    story.decides();
    assert_eq!(
        story.does(),
        [("deploy", Reason::Drifted { node: node(1) })],
        "nothing does, so it is brought back at once"
    );
    story.deploys(1);
    assert_eq!(names(&story.does()), ["reload"]);
    story.reloads(1);
    story.later(61);
    story.shows(1, nobody());
    story.lies_there(1, first);
    story.decides();
    assert_eq!(story.does(), [], "a server that is still away is waited for");
    assert_eq!(story.aim(1), (epoch, first));
}

#[test]
fn a_server_that_is_away_is_told_of_and_nothing_is_done_to_what_lies_there() {
    for found in [Some(Published { generation: None, epoch: None, intact: true }), None] {
        let mut story = Story::live();
        let first = story.aim(1).1;
        story.later(2 * HOUR);
        story.shows(1, nobody());
        // It lies there whole, or nobody can say.
        story.finds(1, found.map(|found| Published { generation: Some(first), ..found }));
        story.decides();
        assert_eq!(story.does(), []);
        let told = story.facts.ledger.nodes[&node(1)].serve.last.clone().expect("trouble");
        assert_eq!(told.code, "tcp_refused", "{told}");
    }
}

#[test]
fn a_node_that_cannot_be_reached_is_not_inspected_for_each_certificate() {
    let mut story = Story::live();
    story.later(2 * HOUR);
    let mut trouble = hold::Trouble::default();
    trouble.attempt(story.now, &lost());
    story.shared.nodes.insert(node(1), shared::NodeFacts { trouble, ..shared::NodeFacts::default() });
    story.shows(1, nobody());
    story.decides();
    assert_eq!(story.does(), []);
    assert!(story.facts.ledger.nodes[&node(1)].lagging.is_some(), "people are told all the same");
}

fn blind() -> Shown {
    Shown::NotLooked { failure: Failure::new(Class::Retry, "ssh:unreachable", "ssh://far", "connection refused") }
}

#[test]
fn where_nobody_could_look_nothing_is_reloaded_and_people_are_told_why() {
    let mut story = Story::begins();
    let first = story.issues(1);
    for number in [1, 2] {
        story.deploys(number);
        story.reloads(number);
    }
    story.shows(2, Shown::Wanted);
    story.later(61);
    story.shows(1, blind());
    story.lies_there(1, first);
    story.decides();
    assert!(story.facts.ledger.live.is_none(), "nothing is live that was not seen");
    assert!(!names(&story.does()).iter().any(|it| matches!(*it, "reload" | "deploy")), "{:?}", story.does());
    let told = story.facts.ledger.nodes[&node(1)].serve.last.clone().expect("trouble");
    assert_eq!(told.code, "ssh:unreachable");
    assert!(told.message.as_str().starts_with("cannot tell yet what is served there: ssh://far: "), "{told}");
    for _ in 0..4 {
        story.later(2 * HOUR);
        story.shows(1, blind());
        story.lies_there(1, first);
        story.decides();
        assert!(
            !names(&story.does()).iter().any(|it| matches!(*it, "reload" | "deploy" | "inspect")),
            "{:?}",
            story.does()
        );
    }
    story.shows(1, Shown::Wanted);
    story.decides();
    assert!(story.facts.ledger.live.is_some(), "once it was seen it is live");
}

#[test]
fn what_is_live_stays_live_while_its_vantage_is_away() {
    let mut story = Story::live();
    story.later(7 * HOUR);
    story.shows(1, blind());
    story.decides();
    assert!(story.facts.ledger.nodes[&node(1)].lagging.is_none());
    assert!(
        !names(&story.does()).iter().any(|it| matches!(*it, "reload" | "deploy" | "inspect")),
        "{:?}",
        story.does()
    );
}
