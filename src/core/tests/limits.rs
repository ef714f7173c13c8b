//! Stories of limits: the budget, a CA that takes no order, and what a person may force.

use super::super::budget::Spent;
use super::super::event::IssuerEvent;
use super::*;
use crate::config::spec::Quota;
use crate::types::Seq;

#[test]
fn a_forced_order_goes_past_the_budget_and_stops_at_what_the_ca_allows() {
    let mut story = Story::live();
    let issuer = story.spec.issuers.values_mut().next().expect("an issuer");
    issuer.budget.per_set = Some(Quota { count: 1, per: Duration::from_secs(7 * DAY) });
    issuer.budget.allowed.per_set = Some(2);
    let issuer = issuer.clone();
    let one = Spent::new(&story.spec.certificates[&name()], &issuer, story.now, false);
    let spends = |story: &mut Story| {
        story.shared.issuers.entry(issuer.name.clone()).or_default().orders.push(one.clone());
    };
    spends(&mut story);
    story.certificate().key = KeyAlgorithm::EcdsaP384;
    story.later(1);
    assert!(story.waits_for(|why| matches!(why, Reason::Budget { .. })).is_some(), "by itself it waits");
    let force = |story: &mut Story, id: u8| {
        let ask = Ask::Renew { force: true, new_key: false, yes: true };
        story.happens(Event::Asked { id: RequestId::from_random([id; 16]), ask, by: "ann".into() });
    };
    force(&mut story, 1);
    assert!(matches!(story.does().as_slice(), [("make_key", _)]), "{:?}", story.does());
    spends(&mut story);
    let refused = story.plan().steps.into_iter().find_map(|step| match step.effect {
        Effect::Record(Event::AskClosed { why, .. }) => Some(why.to_string()),
        _ => None,
    });
    let refused = refused.expect("a refusal");
    assert!(refused.starts_with("ca allows 2 certificates for exactly these names in 7d"), "{refused}");
}

#[test]
fn a_limit_on_the_account_holds_its_other_certificates_and_no_open_order() {
    let mut story = Story::begins();
    let limited = Failure::new(Class::HoldUntil, "acme:rateLimited", "newOrder", "too many new orders");
    let limited = limited.wait(Some(Duration::from_secs(HOUR)));
    let limited = Failure { issuer_wide: true, ..limited };
    let event = IssuerEvent::Failed { failure: limited, settings: None };
    let facts = story.shared.issuers.entry("ca".parse().expect("name")).or_default();
    facts.apply(&Entry { seq: Seq(1), at: story.now, event });
    let until = story.now + Duration::from_secs(HOUR);
    assert_eq!(story.waits_for(|why| matches!(why, Reason::IssuerTrouble { limit: true, .. })), Some(until));
    assert!(story.does().is_empty(), "{:?}", story.does());
    let held = std::mem::take(&mut story.shared);
    let attempt = story.opens(true);
    story.shared = held;
    assert!(matches!(story.does().as_slice(), [("submit_csr", _)]), "{attempt}: {:?}", story.does());
}

#[test]
fn what_fails_after_a_person_forced_it_or_an_edit_waits_like_anything_else() {
    for forced in [true, false] {
        let mut story = Story::live();
        story.later(1);
        if forced {
            let ask = Ask::Renew { force: true, new_key: false, yes: true };
            story.happens(Event::Asked { id: RequestId::from_random([1; 16]), ask, by: "ann".into() });
        } else {
            story.certificate().key = KeyAlgorithm::EcdsaP384;
        }
        story.later(1);
        assert!(!story.does().is_empty());
        let failure = Failure::new(Class::Retry, "hook:exit", "pre", "exited with 1");
        let (certificate, issuer) =
            (&story.spec.certificates[&name()], story.spec.issuers.values().next().expect("an issuer"));
        let (spec_digest, settings) = (Some(certificate.digest(issuer)), Some(issuer.settings()));
        story.happens(Event::PreparationFailed { failure, spec_digest, settings });
        assert!(story.does().is_empty(), "a hook that fails is not run without end: {:?}", story.does());
        story.later(60);
        assert!(!story.does().is_empty(), "it is still wanted");
    }
}
