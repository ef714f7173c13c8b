//! Time as data. Nothing here reads a clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant on the wall clock, in milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RFC 3339 time")]
pub struct InvalidTimestamp(String);

/// The last instant that can be written in every time zone; X.509's "no end" (the last of 9999) is clamped to it.
const LAST_MILLIS: i64 = 253_402_207_200_000;
/// The first instant of year 1, the least RFC 3339 can say without a sign.
const FIRST_MILLIS: i64 = -62_135_596_800_000;

impl Timestamp {
    /// The latest instant that can be written.
    pub const MAX: Self = Self(LAST_MILLIS);

    /// An instant from seconds since 1970, clamped to what RFC 3339 can write.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// An instant from milliseconds since 1970, clamped to what RFC 3339 can write.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(FIRST_MILLIS, LAST_MILLIS))
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp(text.chars().take(64).collect()))?;
        Ok(Self::from_millis(instant.as_millisecond()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;
    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(instant: Timestamp) -> Self {
        instant.to_string()
    }
}

/// A half-open interval `[start, end)`: an ARI suggested window (RFC 9773 §4.2) or a validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant after.
    pub end: Timestamp,
}

impl Window {
    /// A window, or nothing when `end` is not after `start`.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// How long the window is.
    #[must_use]
    pub fn width(self) -> Duration {
        self.end.since(self.start)
    }

    /// Whether `instant` lies inside.
    #[must_use]
    pub fn contains(self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// A span for people: the two largest units, such as `3d 4h` or `12m 5s`.
#[must_use]
pub fn humane(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let secs = span.as_secs();
    let Some(first) = UNITS.iter().position(|(size, _)| secs >= *size) else {
        return format!("{}ms", span.as_millis());
    };
    let (size, unit) = UNITS[first];
    let rest = UNITS.get(first + 1).map(|(next, name)| (secs % size / next, name)).filter(|(count, _)| *count > 0);
    match rest {
        Some((count, name)) => format!("{}{unit} {count}{name}", secs / size),
        None => format!("{}{unit}", secs / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_rfc_3339_and_read_back() {
        let instant = Timestamp::from_millis(1_795_341_600_250);
        assert_eq!(instant.to_string(), "2026-11-22T10:00:00.25Z");
        assert_eq!(instant.to_string().parse(), Ok(instant));
        assert_eq!(Timestamp::from_secs(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string().parse(), Ok(Timestamp::MAX));
    }

    #[test]
    fn a_window_is_half_open_and_never_empty() {
        let at = Timestamp::from_secs;
        let window = Window::new(at(10), at(20)).expect("end after start");
        assert!(window.contains(at(10)) && !window.contains(at(20)));
        assert_eq!(Window::new(at(10), at(10)), None);
    }

    #[test]
    fn spans_for_people() {
        for (secs, text) in [(0, "0ms"), (59, "59s"), (60, "1m"), (90, "1m 30s"), (86_400 * 3 + 7_200, "3d 2h")] {
            assert_eq!(humane(Duration::from_secs(secs)), text);
        }
    }
}
