//! When a certificate is renewed.

use super::reason::Reason;
use crate::types::{CertName, Timestamp, Window, sha256};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// At ten days or less a certificate is short-lived: half its life is the backstop, not two thirds.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 86_400);

/// The last instant at which an automatic renewal may begin: `not_after − max(lifetime/20, min(1 day, lifetime/6))`.
/// No ARI answer moves a renewal past it.
#[must_use]
pub fn last_call(validity: Window) -> Timestamp {
    let lifetime = validity.width();
    validity.end - (lifetime / 20).max(DAY.min(lifetime / 6))
}

/// When to renew without ARI: 2/3 of the lifetime, 1/2 at ten days or less.
#[must_use]
pub fn fallback(validity: Window) -> Timestamp {
    let lifetime = validity.width();
    validity.start + if lifetime <= SHORT_LIVED { lifetime / 2 } else { lifetime * 2 / 3 }
}

/// The instant drawn from an ARI window: uniform over a fleet, the same every time for the same window, nothing to store.
#[must_use]
pub fn drawn(seed: &[u8; 32], name: &CertName, window: Window) -> Timestamp {
    let place = format!("{name} {} {}", window.start.as_millis(), window.end.as_millis());
    let digest = sha256(&[seed, place.as_bytes()]);
    let fraction = digest.as_bytes().iter().take(8).fold(0u128, |sum, octet| sum << 8 | u128::from(*octet));
    // width × fraction / 2^64, in whole milliseconds, is always below the width: the window is half open.
    let millis = (window.width().as_millis() * fraction) >> 64;
    window.start + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// What the schedule says of a certificate that nobody asked to renew.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// When to renew.
    pub at: Timestamp,
    /// Why then.
    pub why: Reason,
    /// The ARI window it was drawn from, when it was.
    pub window: Option<Window>,
    /// Whether that window begins before the certificate's first twentieth is over: such a one renews once.
    pub early_window: bool,
}

/// The instant at which a certificate with `validity` is renewed. `early_done`: an early window has renewed it already.
#[must_use]
pub fn schedule(
    seed: &[u8; 32],
    name: &CertName,
    validity: Window,
    window: Option<Window>,
    early_done: bool,
) -> Schedule {
    let last_call = last_call(validity);
    // A CA that calls each certificate back as soon as it is issued must not be obeyed for ever.
    let early = |window: &Window| window.start < validity.start + validity.width() / 20;
    let usable = window.filter(|window| !(early(window) && early_done));
    let (at, why) = match usable {
        Some(window) => (drawn(seed, name, window), Reason::Drawn { window }),
        None => (fallback(validity), Reason::Fallback),
    };
    if last_call < at {
        return Schedule { at: last_call, why: Reason::LastCall, window: None, early_window: false };
    }
    Schedule { at, why, window: usable, early_window: usable.as_ref().is_some_and(early) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(start: i64, end: i64) -> Window {
        Window::new(Timestamp::from_secs(start), Timestamp::from_secs(end)).expect("end after start")
    }

    fn name() -> CertName {
        "shop".parse().expect("name")
    }

    #[test]
    fn last_call_leaves_a_twentieth_or_a_day_or_a_sixth() {
        const DAY: i64 = 86_400;
        for (days, left) in [(90, DAY * 90 / 20), (45, DAY * 45 / 20), (10, DAY), (3, DAY / 2)] {
            assert_eq!(last_call(window(0, days * DAY)), Timestamp::from_secs(days * DAY - left), "{days} d");
        }
    }

    #[test]
    fn fallback_is_two_thirds_or_half() {
        assert_eq!(fallback(window(0, 90 * 86_400)), Timestamp::from_secs(60 * 86_400));
        assert_eq!(fallback(window(0, 160 * 3_600)), Timestamp::from_secs(80 * 3_600));
    }

    proptest! {
        #[test]
        fn the_drawn_instant_is_inside_and_always_the_same(seed: [u8; 32], start in 0i64..4_000_000_000, width in 1i64..100_000_000) {
            let window = window(start, start + width);
            let instant = drawn(&seed, &name(), window);
            prop_assert!(window.contains(instant));
            prop_assert_eq!(instant, drawn(&seed, &name(), window));
        }

        #[test]
        fn no_window_moves_a_renewal_past_last_call(seed: [u8; 32], life in 60i64..40_000_000, start in 0i64..100_000_000, width in 1i64..100_000_000) {
            let validity = window(1_000_000, 1_000_000 + life);
            let found = schedule(&seed, &name(), validity, Some(window(start, start + width)), false);
            prop_assert!(found.at <= last_call(validity));
        }
    }

    #[test]
    fn a_fleet_spreads_over_the_window() {
        let window = window(0, 1_000);
        let below = (0..1_000u32).filter(|n| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            drawn(&seed, &name(), window) < Timestamp::from_secs(500)
        });
        let below = below.count();
        assert!((400..600).contains(&below), "{below} of 1000 in the first half");
    }

    #[test]
    fn a_window_before_the_certificate_itself_renews_once() {
        let validity = window(1_000_000, 1_000_000 + 90 * 86_400);
        for past in [window(10, 20), window(1_000_001, 1_000_002)] {
            let first = schedule(&[0; 32], &name(), validity, Some(past), false);
            assert!(first.at < past.end && first.early_window);
            assert_eq!(schedule(&[0; 32], &name(), validity, Some(past), true).at, fallback(validity));
        }
    }
}
