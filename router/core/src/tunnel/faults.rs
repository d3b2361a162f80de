//! How much of a peer's misbehaviour a tunnel bears.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::error::TunnelError;
use crate::time::Time;

/// Breaches within a minute that end the tunnel.
const BREACHES_MAX: u32 = 64;
const PERIOD: Duration = Duration::from_secs(60);

/// Counts breaches of calls' rules, frames long after a call's end among them.
#[derive(Debug, Default)]
pub(super) struct Faults {
    since: Time,
    breaches: u32,
}

impl Faults {
    /// The peer broke a rule of a call.
    pub(super) fn breach(&mut self, now: Time) -> Result<(), TunnelError> {
        if now - self.since >= PERIOD {
            *self = Self {
                since: now,
                breaches: 0,
            };
        }
        self.breaches += 1;
        if self.breaches >= BREACHES_MAX {
            return Err(TunnelError::TooManyBreaches(self.breaches));
        }
        Ok(())
    }
}

/// Frames without data that may follow a call's end: a head, an end and a few grants were under way.
const LATE_BARE: u32 = 64;

/// The calls that this side ended while the peer may still have had something to say, each with what
/// that may be: the grace set. A peer that did not know of the end had no more to send than its credit,
/// in whatever pieces, and a few frames without data.
#[derive(Debug)]
pub(super) struct Grace {
    left: BTreeMap<u64, u32>,
    /// The oldest first.
    order: VecDeque<u64>,
    max: usize,
}

impl Grace {
    /// Remembers the last `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            left: BTreeMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    /// A call has ended whose peer held `credit` bytes.
    pub(super) fn add(&mut self, id: u64, credit: u32) {
        let left = credit.saturating_add(LATE_BARE);
        if self.left.insert(id, left).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.left.remove(&oldest);
        }
    }

    /// A frame with this much data came for a call that is over. Whether it may have been under way when
    /// the call ended.
    pub(super) fn bears(&mut self, id: u64, data: usize) -> bool {
        let Some(left) = self.left.get_mut(&id) else {
            return false;
        };
        let cost = u32::try_from(data.max(1)).unwrap_or(u32::MAX);
        let borne = cost <= *left;
        *left = left.saturating_sub(cost);
        borne
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_borne_for_its_credit_and_forgotten_after_many_others() {
        let mut grace = Grace::new(2);
        grace.add(1, 100);
        assert!(grace.bears(1, 100), "all of its credit");
        for _ in 0..LATE_BARE {
            assert!(grace.bears(1, 0), "and a few frames without data");
        }
        assert!(!grace.bears(1, 0), "and no more");
        grace.add(2, 100);
        grace.add(2, 100);
        assert!(!grace.bears(1, 0), "it is remembered, but used up");
        grace.add(3, 100);
        grace.add(4, 100);
        assert!(!grace.bears(2, 0) && grace.bears(3, 0) && grace.bears(4, 0));
        assert_eq!((grace.left.len(), grace.order.len()), (2, 2), "bounded");
    }
}
