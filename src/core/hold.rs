//! Waiting after trouble: how long, and how it survives clocks that jump.

use crate::types::{Class, Failure, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A wait, stored as when it was set and how long it is, so that a clock set back cannot make it endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it was set.
    pub set_at: Timestamp,
    /// How long it is, in milliseconds.
    pub millis: u64,
    /// Whether the other side asked for it, or for a part of it: `--force` does not skip that.
    pub demanded: bool,
    /// How much of it the other side asked for, in milliseconds; all of it when a demanded hold does not say.
    #[serde(default)]
    pub demanded_millis: Option<u64>,
}

/// No local backoff is longer: every certificate is tried daily whatever happened.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(86_400);
/// A CA that asks for more is asked again after this: Let's Encrypt's longest limit is a week.
pub const LONGEST_DEMAND: Duration = Duration::from_secs(8 * 86_400);
/// A shorter wait is part of one piece of work and is not trouble that people hear of.
pub const WORTH_TELLING: Duration = Duration::from_secs(60);

/// After an attempt that costs something: Let's Encrypt's integration guide (1, 10, 100 minutes, then daily).
const ATTEMPT_LADDER: [u64; 4] = [60, 600, 6_000, 86_400];
/// After a step that costs nothing: two quick repeats, then the same ladder.
const STEP_LADDER: [u64; 6] = [2, 10, 60, 600, 6_000, 86_400];

impl Hold {
    /// A hold of `span` that begins at `set_at`, or a longer one that the other side asked for.
    #[must_use]
    pub fn new(set_at: Timestamp, span: Duration, demanded: Option<Duration>) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let longest = demanded.map_or(span, |least| least.max(span));
        Self { set_at, millis: millis(longest), demanded: demanded.is_some(), demanded_millis: demanded.map(millis) }
    }

    /// The part that the other side asked for.
    fn demand(self) -> Option<Self> {
        self.demanded.then(|| Self { millis: self.demanded_millis.unwrap_or(self.millis), ..self })
    }

    /// How long it is.
    #[must_use]
    pub const fn span(&self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// Until when it lasts, or `None` when it is over. If `now` lies before it was set, it starts anew.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = if now < self.set_at { now + self.span() } else { self.set_at + self.span() };
        (now < until).then_some(until)
    }
}

/// Consecutive failures of one thing, the last one, and the wait it led to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// How many in a row.
    pub failures: u32,
    /// The last one.
    pub last: Option<Failure>,
    /// When the first of them was.
    pub since: Option<Timestamp>,
    /// The wait.
    pub hold: Option<Hold>,
}

impl Trouble {
    /// One more failure of something that costs nothing to repeat.
    pub fn step(&mut self, at: Timestamp, failure: &Failure) {
        self.fail(at, failure, &STEP_LADDER);
    }

    /// One more failure of something that costs something, or that failed after patience.
    pub fn attempt(&mut self, at: Timestamp, failure: &Failure) {
        self.fail(at, failure, &ATTEMPT_LADDER);
    }

    /// One more failure that is acted on at once.
    pub fn note(&mut self, at: Timestamp, failure: &Failure) {
        self.attempt(at, failure);
        self.hold = None;
    }

    fn fail(&mut self, at: Timestamp, failure: &Failure, ladder: &[u64]) {
        // A limit without a time is not asked after within seconds.
        let timeless = failure.class == Class::HoldUntil && failure.retry_after.is_none();
        let ladder = if timeless { &ATTEMPT_LADDER } else { ladder };
        let rung = usize::try_from(self.failures).unwrap_or(usize::MAX).min(ladder.len() - 1);
        let backoff = match failure.class {
            Class::Retry | Class::HoldUntil => Duration::from_secs(ladder[rung]),
            Class::Operator | Class::Spec => LONGEST_BACKOFF,
        };
        self.hold = Some(Hold::new(at, backoff, failure.retry_after.map(|least| least.min(LONGEST_DEMAND))));
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(at);
        self.last = Some(failure.clone());
    }

    /// It works again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A person asked: local backoff is skipped, a demanded wait is not.
    pub fn skip_backoff(&mut self) {
        self.hold = self.hold.and_then(Hold::demand);
    }

    /// Until when the other side asked to wait, whatever we would do ourselves.
    #[must_use]
    pub fn demanded_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.hold.and_then(Hold::demand)?.until(now)
    }

    /// Until when to wait where our own backoff must not be longer than `most`.
    #[must_use]
    pub fn until_within(&self, now: Timestamp, most: Duration) -> Option<Timestamp> {
        let hold = self.hold?;
        let own = Hold { millis: hold.millis.min(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)), ..hold };
        own.until(now).max(self.demanded_until(now))
    }

    /// Until when to wait.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.hold.and_then(|hold| hold.until(now))
    }

    /// Whether people should hear of it: it failed, and not merely once in a step that is repeated within seconds.
    #[must_use]
    pub fn worth_telling(&self) -> bool {
        self.failures > 0 && self.hold.is_none_or(|hold| hold.span() >= WORTH_TELLING)
    }
}

/// When the last orders that came to nothing were placed. However often a person asks, no more are placed in an hour than
/// Let's Encrypt allows failed validations of one name (<https://letsencrypt.org/docs/rate-limits/>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fruitless(Vec<Timestamp>);

impl Fruitless {
    /// How many, and within what.
    pub const MOST: usize = 5;
    const WITHIN: Duration = Duration::from_secs(3_600);

    /// One more.
    pub(super) fn add(&mut self, placed: Timestamp) {
        self.0.push(placed);
        let surplus = self.0.len().saturating_sub(Self::MOST);
        self.0.drain(..surplus);
    }

    /// An order brought what it was for.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Until when no further order is placed, whoever asks.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        // A record from the future counts as if it were of now: a clock set back lengthens nothing beyond the hour.
        let oldest = self.0.iter().map(|at| (*at).min(now)).min().filter(|_| self.0.len() >= Self::MOST)?;
        Some(oldest + Self::WITHIN).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: Class, wait: Option<u64>) -> Failure {
        Failure::new(class, "x", "there", "broke").wait(wait.map(Duration::from_secs))
    }

    #[test]
    fn attempts_are_repeated_after_1_10_100_minutes_then_daily() {
        let at = Timestamp::from_secs(1_000_000);
        let mut trouble = Trouble::default();
        let mut spans = Vec::new();
        for _ in 0..5 {
            trouble.attempt(at, &failure(Class::Retry, None));
            spans.push(trouble.hold.expect("held").span().as_secs());
        }
        assert_eq!(spans, [60, 600, 6_000, 86_400, 86_400]);
    }

    #[test]
    fn retry_after_is_a_minimum_and_is_capped() {
        let at = Timestamp::from_secs(1_000_000);
        let mut trouble = Trouble::default();
        trouble.attempt(at, &failure(Class::HoldUntil, Some(3_600)));
        assert_eq!(trouble.until(at), Some(at + Duration::from_secs(3_600)));
        trouble.skip_backoff();
        assert!(trouble.until(at).is_some(), "a demanded wait is not skipped");
        trouble.attempt(at, &failure(Class::HoldUntil, Some(u64::MAX / 2_000)));
        assert_eq!(trouble.until(at), Some(at + LONGEST_DEMAND));
    }

    #[test]
    fn only_what_was_asked_for_binds_a_person() {
        let at = Timestamp::from_secs(1_000_000);
        let mut trouble = Trouble::default();
        trouble.attempt(at, &failure(Class::Operator, Some(5)));
        assert_eq!(trouble.until(at), Some(at + LONGEST_BACKOFF));
        assert_eq!(trouble.demanded_until(at), Some(at + Duration::from_secs(5)));
        trouble.skip_backoff();
        assert_eq!(trouble.until(at), Some(at + Duration::from_secs(5)));
        let old: Hold = serde_json::from_str(r#"{"set_at":"2026-11-22T10:00:00Z","millis":9000,"demanded":true}"#)
            .expect("an older record");
        assert_eq!(old.demand().map(|hold| hold.span()), Some(Duration::from_secs(9)), "all of it");
    }

    #[test]
    fn a_short_life_shortens_our_own_backoff_and_nothing_else() {
        let (at, hour) = (Timestamp::from_secs(1_000_000), Duration::from_secs(3_600));
        let mut trouble = Trouble::default();
        trouble.attempt(at, &failure(Class::Operator, None));
        assert_eq!(trouble.until_within(at, hour), Some(at + hour));
        trouble.attempt(at, &failure(Class::HoldUntil, Some(7_200)));
        assert_eq!(trouble.until_within(at, hour), Some(at + hour * 2));
    }

    #[test]
    fn a_limit_without_a_time_is_not_asked_after_within_seconds() {
        let at = Timestamp::from_secs(1_000_000);
        let first = |class, wait| {
            let mut trouble = Trouble::default();
            trouble.step(at, &failure(class, wait));
            trouble.hold.map(|hold| hold.span().as_secs())
        };
        assert_eq!(first(Class::HoldUntil, None), Some(60));
        assert_eq!(first(Class::HoldUntil, Some(5)), Some(5));
        assert_eq!(first(Class::Retry, None), Some(2));
    }

    #[test]
    fn a_clock_set_back_starts_the_hold_anew_and_never_lengthens_it() {
        let hold = Hold::new(Timestamp::from_secs(1_000_000), Duration::from_secs(60), None);
        let earlier = Timestamp::from_secs(10);
        assert_eq!(hold.until(earlier), Some(earlier + Duration::from_secs(60)));
        assert_eq!(hold.until(Timestamp::from_secs(1_000_060)), None);
    }

    #[test]
    fn five_orders_an_hour_may_come_to_nothing() {
        let at = Timestamp::from_secs;
        let mut fruitless = Fruitless::default();
        for minute in [0, 10, 20, 30] {
            fruitless.add(at(minute * 60));
            assert_eq!(fruitless.until(at(2_000)), None);
        }
        fruitless.add(at(2_400));
        assert_eq!(fruitless.until(at(2_400)), Some(at(3_600)));
        assert_eq!(fruitless.until(at(3_600)), None);
        fruitless.add(at(3_600));
        assert_eq!(
            fruitless.until(at(3_600)),
            Some(at(4_200)),
            "the next place is free when the second is an hour old"
        );
        assert_eq!(fruitless.until(at(100)), Some(at(3_700)), "set back");
        fruitless.clear();
        assert_eq!(fruitless.until(at(3_600)), None);
    }
}
