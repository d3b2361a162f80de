//! Time: the one place where a clock is read.

use std::time::Duration;

use grpcrouter_core::Time;
use grpcrouter_proto::v1::Epoch;

/// A monotonic clock: tokio's, so that paused and simulated runtimes have their own time.
///
/// Jumps of the wall clock do not move it; deadlines travel as lengths, never as points in time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: tokio::time::Instant,
}

const YEAR: Duration = Duration::from_secs(86_400 * 365);

#[allow(clippy::disallowed_methods, reason = "this is the place")]
impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// The same point in time, for tokio's timers; not more than a year from now, which they can bear.
    pub fn instant(&self, at: Time) -> tokio::time::Instant {
        let now = self.now();
        self.start + now.since(Time::ZERO) + at.since(now).min(YEAR)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

/// The epoch of an instance's first registration: when its process started, by the wall clock, in
/// microseconds. Later attempts count up from it, so a reconnect always outranks what it replaces.
///
/// Under simulation give an epoch of your own instead.
#[allow(
    clippy::disallowed_methods,
    reason = "processes have no other clock in common"
)]
pub fn first_epoch() -> Epoch {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started_us = since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    });
    Epoch {
        started_us,
        attempt: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_lies_ahead_however_long_the_process_has_run() {
        let clock = Clock::start();
        tokio::time::advance(YEAR * 3).await;
        let ahead = clock.instant(clock.now() + Duration::from_secs(5));
        let sleep = tokio::time::sleep_until(ahead);
        assert!(!sleep.is_elapsed(), "five seconds from now");
        let far = clock.instant(Time::from_micros(u64::MAX));
        assert!(
            far > ahead,
            "and the farthest deadline is a time that timers can bear"
        );
    }
}
