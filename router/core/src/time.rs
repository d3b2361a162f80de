//! A point in time, as the caller's clock counts it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: microseconds since a start that the caller chose.
///
/// The core never reads a clock. Its caller does, once, and passes what it read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The caller's start.
    pub const ZERO: Self = Self(0);

    /// The point `us` microseconds after the start.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is not in the past.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates: a deadline of 99,999,999 hours is simply far away.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        let us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(us))
    }
}

/// The length from `earlier` to `self`; zero when `earlier` is later.
impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_timeout_saturates_instead_of_overflowing() {
        let far = Time::from_micros(7) + Duration::from_secs(99_999_999 * 3_600);
        assert!(far > Time::from_micros(7));
        assert_eq!(
            Time::from_micros(7) + Duration::MAX,
            Time::from_micros(u64::MAX)
        );
    }

    #[test]
    fn a_later_start_gives_a_length_of_zero() {
        assert_eq!(Time::ZERO - Time::from_micros(5), Duration::ZERO);
    }
}
