//! How much of a peer's misbehaviour a tunnel bears.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::TunnelError;
use crate::time::Time;

/// Breaches within a minute that end the tunnel.
const BREACHES_MAX: u32 = 64;
/// Late frames within a minute that end the tunnel. A window of tiny messages may be under way for each
/// of thousands of calls when they are cancelled together.
const LATE_MAX: u32 = 1_000_000;
const PERIOD: Duration = Duration::from_secs(60);

/// Counts breaches of calls' rules and frames for calls that are over.
#[derive(Debug, Default)]
pub(super) struct Faults {
    since: Time,
    breaches: u32,
    late: u32,
}

impl Faults {
    /// The peer broke a rule of a call.
    pub(super) fn breach(&mut self, now: Time) -> Result<(), TunnelError> {
        self.turn(now);
        self.breaches += 1;
        self.verdict()
    }

    /// A frame came for a call that had just ended.
    pub(super) fn late(&mut self, now: Time) -> Result<(), TunnelError> {
        self.turn(now);
        self.late += 1;
        self.verdict()
    }

    fn turn(&mut self, now: Time) {
        if now - self.since >= PERIOD {
            *self = Self {
                since: now,
                ..Self::default()
            };
        }
    }

    fn verdict(&self) -> Result<(), TunnelError> {
        if self.breaches >= BREACHES_MAX || self.late >= LATE_MAX {
            return Err(TunnelError::TooManyBreaches(self.breaches.max(self.late)));
        }
        Ok(())
    }
}

/// The calls that this side ended while the peer may still have had something to say: the grace set.
#[derive(Debug)]
pub(super) struct Grace {
    ids: VecDeque<u64>,
    max: usize,
}

impl Grace {
    /// Remembers the last `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            ids: VecDeque::new(),
            max,
        }
    }

    pub(super) fn add(&mut self, id: u64) {
        if self.ids.len() == self.max {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    /// Newest first: a late frame is seldom very late. Only late frames pay for the search.
    pub(super) fn contains(&self, id: u64) -> bool {
        self.ids.iter().rev().any(|ended| *ended == id)
    }
}
