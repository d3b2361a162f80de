//! The calls that are over and may still be heard of.

use super::places::PLACES;

/// Frames without data that may follow a call's end: a head, an end and a few grants were under way.
pub(super) const LATE_BARE: u32 = 64;

/// The calls that this side ended while the peer may still have had something to say, each with what
/// that may be: the grace set. A peer that did not know of the end had no more to send than its credit,
/// in whatever pieces, and a few frames without data.
///
/// All of it lies in two pieces of memory. They are large from the first call that ends: see [`PLACES`].
#[derive(Debug)]
pub(super) struct Grace {
    /// In the order in which they ended, from `oldest` on and around.
    calls: Vec<Past>,
    oldest: usize,
    /// Where a bucket's calls begin, as [`Past::next`]; as many as a power of two, or none yet.
    buckets: Vec<u32>,
    max: usize,
}

#[derive(Debug)]
struct Past {
    id: u64,
    left: u32,
    /// Where the next call of the same bucket is in `calls`, counted from one.
    next: u32,
}

/// Where a bucket ends. Zero, so that the system gives memory for a bucket when it is first used.
const END: u32 = 0;
/// The most calls that are remembered.
const CALLS_MAX: usize = 1 << 20;

impl Grace {
    /// Remembers the last `max` calls, or [`CALLS_MAX`].
    pub(super) fn new(max: usize) -> Self {
        let max = max.clamp(1, CALLS_MAX);
        Self {
            calls: Vec::new(),
            oldest: 0,
            buckets: Vec::new(),
            max,
        }
    }

    /// A call has ended whose peer held `credit` bytes.
    pub(super) fn add(&mut self, id: u64, credit: u32) {
        let left = credit.saturating_add(LATE_BARE);
        if let Some(past) = self.find(id) {
            past.left = left;
            return;
        }
        let past = Past {
            id,
            left,
            next: END,
        };
        let mut at = self.calls.len();
        if at < self.max {
            if at == self.buckets.len() {
                self.grow();
            }
            self.calls.push(past);
        } else {
            at = self.oldest;
            self.oldest = (at + 1) % self.max;
            self.unlink(at);
            self.calls[at] = past;
        }
        self.link(at);
    }

    /// A frame with this much data came for a call that is over. Whether it may have been under way when
    /// the call ended.
    pub(super) fn bears(&mut self, id: u64, data: usize) -> bool {
        let Some(Past { left, .. }) = self.find(id) else {
            return false;
        };
        let cost = u32::try_from(data.max(1)).unwrap_or(u32::MAX);
        let borne = cost <= *left;
        *left = left.saturating_sub(cost);
        borne
    }

    /// Doubles what there is room for, up to all that is ever needed.
    fn grow(&mut self) {
        let all = self.max.next_power_of_two();
        let places = (self.buckets.len() * 2).max(PLACES).min(all);
        self.calls
            .reserve_exact(places.min(self.max) - self.calls.len());
        self.buckets = vec![END; places];
        for at in 0..self.calls.len() {
            self.link(at);
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Past> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut next = self.buckets[self.bucket(id)];
        while next != END {
            let at = next as usize - 1;
            if self.calls[at].id == id {
                return Some(&mut self.calls[at]);
            }
            next = self.calls[at].next;
        }
        None
    }

    fn link(&mut self, at: usize) {
        let bucket = self.bucket(self.calls[at].id);
        self.calls[at].next = std::mem::replace(&mut self.buckets[bucket], at as u32 + 1);
    }

    fn unlink(&mut self, at: usize) {
        let Past { id, next, .. } = self.calls[at];
        let bucket = self.bucket(id);
        let this = at as u32 + 1;
        let mut before = self.buckets[bucket];
        if before == this {
            self.buckets[bucket] = next;
            return;
        }
        while self.calls[before as usize - 1].next != this {
            before = self.calls[before as usize - 1].next;
        }
        self.calls[before as usize - 1].next = next;
    }

    /// Ids differ in their lowest bits, by slot, and in their highest, by generation.
    fn bucket(&self, id: u64) -> usize {
        let mixed = (id ^ id >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.buckets.len() - 1)
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
        assert_eq!(grace.calls.len(), 2, "bounded");
    }

    #[test]
    fn exactly_the_last_calls_are_remembered_whatever_their_ids() {
        let id = |n: u64| ((n / 100 + 1) << 32) | ((n * 7_919) % 100);
        let max = 5_000;
        let mut grace = Grace::new(max);
        assert!(!grace.bears(id(0), 0), "no call has ended yet");
        for n in 0..5 * max as u64 {
            grace.add(id(n), 100);
            if n.is_multiple_of(499) {
                let first = (n + 1).saturating_sub(max as u64);
                assert!((first..=n).all(|n| grace.bears(id(n), 0)));
                assert!(!(0..first).any(|n| grace.bears(id(n), 0)));
            }
        }
    }
}
