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

    /// The same point in time, for tokio's timers.
    pub fn instant(&self, at: Time) -> tokio::time::Instant {
        self.start + at.since(Time::ZERO).min(Duration::from_secs(86_400 * 365))
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
