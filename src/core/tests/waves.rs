//! Whose turn it is where a certificate goes to many nodes.

use super::*;
use crate::core::event::Alert;

const PAUSE: u64 = 10 * MINUTE;

/// A certificate that is live on so many nodes, with the next generation just accepted.
fn second_of(nodes: u8, shape: impl FnOnce(&mut Rollout)) -> Story {
    let mut story = Story::begins();
    story.spec.nodes = (1..=nodes).map(|number| (node(number), edge(number))).collect();
    let endpoints = (1..=nodes).map(endpoint).collect();
    let certificate = story.certificate();
    (certificate.nodes, certificate.endpoints) = ((1..=nodes).map(node).collect(), endpoints);
    shape(&mut certificate.rollout);
    story.issues(1);
    story.rolls_out(&(1..=nodes).collect::<Vec<_>>());
    story.decides();
    story.later(61 * DAY);
    story.issues(2);
    story.decides();
    story
}

/// The nodes that are published to now.
fn begins(story: &Story) -> Vec<NodeName> {
    let nodes = story.plan().steps.into_iter().filter_map(|step| match step.effect {
        Effect::Deploy { node, .. } => Some(node),
        _ => None,
    });
    nodes.collect()
}

fn nodes(numbers: &[u8]) -> Vec<NodeName> {
    numbers.iter().map(|number| node(*number)).collect()
}

fn fails(story: &mut Story, number: u8) {
    let epoch = story.aim(number).0;
    story.happens(Event::DeployFailed { node: node(number), epoch, failure: lost() });
}

fn comes_through(story: &mut Story, numbers: &[u8]) {
    story.rolls_out(numbers);
    story.decides();
}

fn pauses(story: &Story) -> Option<Timestamp> {
    story.waits_for(|why| matches!(why, Reason::Paused { .. }))
}

fn stops(story: &Story) -> Option<Vec<NodeName>> {
    story.plan().wakes.into_iter().find_map(|wake| match wake.why {
        Reason::Stopped { nodes, .. } => Some(nodes),
        _ => None,
    })
}

#[test]
fn without_a_pause_one_begins_when_another_is_through() {
    let mut story = second_of(6, |rollout| rollout.parallel = 2);
    assert_eq!(begins(&story), nodes(&[1, 2]));
    comes_through(&mut story, &[2]);
    assert_eq!(begins(&story), nodes(&[1, 3]));
    fails(&mut story, 1);
    assert_eq!(begins(&story), nodes(&[3, 4]), "one that is held takes no place");
    assert!(story.facts.ledger.wave.is_none(), "nothing is written down about it");
}

#[test]
fn a_pause_lies_between_waves_and_counts_from_the_last_node() {
    let mut story = second_of(6, |rollout| {
        (rollout.canaries, rollout.parallel, rollout.pause) = (vec![node(3)], 2, Duration::from_secs(PAUSE));
    });
    assert_eq!(begins(&story), nodes(&[3]));
    comes_through(&mut story, &[3]);
    assert_eq!((begins(&story), pauses(&story)), (vec![], Some(story.now + Duration::from_secs(PAUSE))));
    story.later(PAUSE);
    story.decides();
    assert_eq!(begins(&story), nodes(&[1, 2]));
    comes_through(&mut story, &[1]);
    assert_eq!((begins(&story), pauses(&story)), (nodes(&[2]), None), "the others wait for all of the wave");
    story.later(5 * MINUTE);
    comes_through(&mut story, &[2]);
    story.later(PAUSE - 1);
    story.decides();
    assert_eq!(begins(&story), []);
    story.later(1);
    story.decides();
    assert_eq!(begins(&story), nodes(&[4, 5]));
}

#[test]
fn a_pause_survives_clocks_that_jump() {
    let mut story = second_of(3, |rollout| (rollout.parallel, rollout.pause) = (1, Duration::from_secs(PAUSE)));
    comes_through(&mut story, &[1]);
    story.later(60);
    let before = story.now;
    story.now = Timestamp::from_secs(before.as_secs() - 2 * 86_400);
    story.decides();
    assert_eq!(pauses(&story), Some(story.now + Duration::from_secs(PAUSE)), "it begins anew, and is no longer");
    story.later(PAUSE);
    story.decides();
    assert_eq!(begins(&story), nodes(&[2]));
    comes_through(&mut story, &[2]);
    story.later(2 * DAY);
    story.decides();
    assert_eq!(begins(&story), nodes(&[3]), "set ahead: it is over");
}

#[test]
fn a_node_that_failed_holds_up_no_wave() {
    let mut story = second_of(5, |rollout| (rollout.parallel, rollout.pause) = (2, Duration::from_secs(PAUSE)));
    fails(&mut story, 1);
    comes_through(&mut story, &[2]);
    assert!(pauses(&story).is_some());
    story.later(PAUSE);
    story.decides();
    assert_eq!(begins(&story), nodes(&[1, 3]), "it is tried again, in a place of its own");
}

#[test]
fn what_is_about_to_end_waits_for_no_pause() {
    let mut story = second_of(4, |rollout| (rollout.parallel, rollout.pause) = (1, Duration::from_secs(PAUSE)));
    comes_through(&mut story, &[1]);
    assert_eq!(begins(&story), []);
    story.later(28 * DAY);
    story.shows(1, Shown::Wanted);
    assert_eq!(begins(&story), nodes(&[2]), "one at a time all the same");
}

#[test]
fn who_waits_for_a_canary_that_failed_is_told() {
    let mut story = second_of(4, |rollout| rollout.canaries = vec![node(2)]);
    let told = |story: &Story| {
        let standing = outcome::standing(&story.spec, &name(), &story.facts, &story.shared, &story.plan(), story.now);
        standing.troubles.into_iter().find(|trouble| trouble.code == "rollout:canary")
    };
    assert_eq!((begins(&story), told(&story)), (nodes(&[2]), None));
    fails(&mut story, 2);
    let trouble = told(&story).expect("people are told");
    assert_eq!(
        trouble.message.as_str(),
        "edge2 failed, and canaries go first, so 3 of 4 nodes have not begun: edge1, edge3 and edge4"
    );
    assert_eq!(begins(&story), []);
    story.later(2 * MINUTE);
    comes_through(&mut story, &[2]);
    assert_eq!((begins(&story), told(&story)), (nodes(&[1, 3, 4]), None), "it goes on by itself");
}

#[test]
fn more_failures_than_may_be_stop_the_roll_out() {
    let mut story = second_of(6, |rollout| (rollout.parallel, rollout.max_failures) = (2, Some(1)));
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[2, 3]), None));
    story.deploys(2);
    fails(&mut story, 3);
    assert_eq!(names(&story.does()), ["reload"], "what was begun comes to its end");
    assert_eq!(stops(&story), Some(nodes(&[4, 5, 6])));
    let standing = outcome::standing(&story.spec, &name(), &story.facts, &story.shared, &story.plan(), story.now);
    let told = standing.troubles.iter().find(|trouble| trouble.code == "rollout:stopped").expect("people are told");
    assert_eq!(
        told.message.as_str(),
        "2 of its nodes failed, and max_failures is 1, so 3 of 6 nodes have not begun: edge4, edge5 and edge6"
    );
    assert!(told.advice.as_str().contains("mend edge1 and edge3"), "{}", told.advice);
    // It goes on by itself: those that failed are tried again, and one of them is well.
    story.later(2 * MINUTE);
    comes_through(&mut story, &[2]);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[1, 3]), Some(nodes(&[4, 5, 6]))));
    comes_through(&mut story, &[1]);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[3, 4]), None));
}

#[test]
fn people_hear_once_that_a_roll_out_stopped_and_once_that_it_goes_on() {
    let mut story = second_of(4, |rollout| (rollout.parallel, rollout.max_failures) = (1, Some(0)));
    let notifier: crate::types::NotifierName = "ops".parse().expect("name");
    let hook =
        Hook { argv: vec!["x".into()], shell: false, timeout: Duration::from_secs(1), certbot: false, unit: None };
    let kind = crate::config::spec::NotifierKind::Exec(hook);
    story.spec.notifiers = [(notifier.clone(), crate::config::spec::Notifier { name: notifier.clone(), kind })].into();
    let told = |story: &Story| {
        let tells = story.plan().steps.into_iter().filter_map(|step| match step.effect {
            Effect::Tell { alert, recovered, summary, .. } => Some((alert, recovered, summary)),
            _ => None,
        });
        tells.collect::<Vec<_>>()
    };
    fails(&mut story, 1);
    let mut heard = Vec::new();
    while let Some((alert, recovered, summary)) = told(&story).pop() {
        story.happens(Event::Told { notifier: notifier.clone(), alert: alert.clone(), recovered });
        heard.push((alert, summary.to_string()));
    }
    let stopped = heard.iter().find(|(alert, _)| *alert == Alert::Rollout).expect("it is told");
    assert_eq!(
        stopped.1,
        "the roll-out of shop stopped: 1 of its nodes failed, and max_failures is 0, so 3 of 4 nodes have not begun: edge2, edge3 and edge4"
    );
    story.later(2 * MINUTE);
    comes_through(&mut story, &[1]);
    let over: Vec<_> = told(&story).into_iter().map(|(alert, recovered, _)| (alert, recovered)).collect();
    assert!(over.iter().all(|(_, recovered)| *recovered) && !over.is_empty(), "{over:?}");
}

#[test]
fn a_stopped_roll_out_goes_on_where_somebody_asks() {
    let mut story = second_of(4, |rollout| (rollout.parallel, rollout.max_failures) = (1, Some(0)));
    fails(&mut story, 1);
    assert_eq!(begins(&story), []);
    story.asks(1, Ask::Deploy { node: Some(node(3)) });
    story.decides();
    assert_eq!(begins(&story), nodes(&[1, 3]), "the one that was named, and the one that failed");
    comes_through(&mut story, &[3]);
    assert_eq!(stops(&story), Some(nodes(&[2, 4])), "the others are held as before");
    story.asks(2, Ask::Deploy { node: None });
    story.decides();
    assert_eq!((begins(&story), stops(&story)), (nodes(&[1]), None), "all of it is tried again");
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (vec![], Some(nodes(&[2, 3, 4]))));
}

#[test]
fn going_back_waits_for_nothing_and_begins_where_the_new_one_lies() {
    let mut story = second_of(5, |rollout| {
        (rollout.canaries, rollout.parallel) = (vec![node(4)], 1);
        (rollout.pause, rollout.max_failures) = (Duration::from_secs(PAUSE), Some(0));
    });
    comes_through(&mut story, &[4]);
    story.later(PAUSE);
    story.decides();
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (vec![], Some(nodes(&[2, 3, 5]))));
    story.asks(1, Ask::Rollback { to: None, node: None });
    story.decides();
    assert_eq!(begins(&story), nodes(&[4]));
    comes_through(&mut story, &[4]);
    assert_eq!(begins(&story), nodes(&[1]));
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[2]), None));
}

#[test]
fn what_is_about_to_end_is_replaced_though_the_roll_out_stopped() {
    let mut story = second_of(3, |rollout| (rollout.parallel, rollout.max_failures) = (1, Some(0)));
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (vec![], Some(nodes(&[2, 3]))));
    story.later(28 * DAY);
    fails(&mut story, 1);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[2]), None));
}

#[test]
fn a_node_found_out_of_reach_counts_as_failed() {
    let mut story = second_of(3, |rollout| (rollout.parallel, rollout.max_failures) = (1, Some(0)));
    story.later(1);
    let mut trouble = hold::Trouble::default();
    trouble.attempt(story.now, &lost());
    story.shared.nodes.insert(node(1), shared::NodeFacts { trouble, ..shared::NodeFacts::default() });
    assert_eq!(stops(&story), Some(nodes(&[2, 3])));
    story.later(2 * MINUTE);
    assert_eq!(begins(&story), nodes(&[1]), "it is tried again, nothing else is begun");
    story.shared.nodes.clear();
    comes_through(&mut story, &[1]);
    assert_eq!((begins(&story), stops(&story)), (nodes(&[2]), None));
}

#[test]
fn a_node_out_of_reach_is_not_begun_where_others_stopped_the_roll_out() {
    let mut story = second_of(3, |rollout| (rollout.parallel, rollout.max_failures) = (1, Some(0)));
    fails(&mut story, 1);
    let mut trouble = hold::Trouble::default();
    trouble.attempt(story.now, &lost());
    story.shared.nodes.insert(node(2), shared::NodeFacts { trouble, ..shared::NodeFacts::default() });
    story.later(2 * MINUTE);
    assert!(!begins(&story).contains(&node(2)), "another certificate found it so, and it was not tried");
    assert_eq!(stops(&story), Some(nodes(&[2, 3])));
}
