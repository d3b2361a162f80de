//! How much silence each side of a link bears.

use std::time::Duration;

/// Between two signs of life, where links are watched closely.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// Silence is noticed after two intervals. On a busy machine that may take three times as long.
pub(crate) const NOTICED: Duration = INTERVAL.saturating_mul(3 * 2);

/// How much each side bears.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between heartbeats of a tunnel. Twice as long is its limit.
    pub(crate) heartbeat: Duration,
    /// How long a client's connection may be silent before it is pinged, and a ping unanswered; both ends ping.
    pub(crate) keepalive: Duration,
}

impl Patience {
    /// Longer than any test: nobody gives a link up.
    pub(crate) const ENDLESS: Self = Self::of(Duration::from_secs(60));
    /// Both links are watched closely.
    pub(crate) const SHORT: Self = Self::of(INTERVAL);

    /// The same for both links.
    pub(crate) const fn of(interval: Duration) -> Self {
        Self {
            heartbeat: interval,
            keepalive: interval,
        }
    }
}
