//! Generations that are kept, because a node may have them.

use super::*;

fn prunes(story: &Story) -> bool {
    names(&story.does()).contains(&"prune")
}

#[test]
fn what_a_node_may_have_is_kept_until_it_is_proven_what_it_has() {
    let mut story = Story::live();
    for number in 2..=4 {
        story.later(61 * DAY);
        story.issues(number);
        story.rolls_out(&[2]);
        // edge1 is told of each, and never shows any.
        story.deploys(1);
        story.reloads(1);
        story.decides();
        assert!(!prunes(&story), "of {number}, edge1 may serve any");
    }
    story.rolls_out(&[1]);
    story.decides();
    assert!(prunes(&story), "now it is known");
}

#[test]
fn what_was_wanted_on_a_node_may_lie_there_though_no_record_says_so() {
    let mut story = Story::live();
    for number in 2..=4 {
        story.later(61 * DAY);
        story.issues(number);
        // Each run was killed after it had written the files on edge1, and before it could write that down.
        story.rolls_out(&[2]);
        story.decides();
        assert!(!prunes(&story), "{number}");
    }
}

#[test]
fn without_confirmation_the_last_publication_is_what_is_known() {
    let mut story = Story::live();
    story.certificate().confirm = Confirm::None;
    for number in 2..=4 {
        story.later(61 * DAY);
        story.issues(number);
        for node in [1, 2] {
            story.deploys(node);
            story.reloads(node);
        }
        story.decides();
    }
    assert!(prunes(&story), "nobody waits for a proof that is never asked for");
}
