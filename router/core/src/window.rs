//! Credit: how many bytes of `data` one side may still send on a call.
//!
//! The two ends of one credit account. [`SendWindow`] is what this side may spend; it asserts that it
//! holds what it spends, because overspending would be our own bug. [`RecvWindow`] is what this side
//! has granted; a peer that overspends gets an error.

use std::time::Duration;

use crate::sabotage::{self, Sabotage};
use crate::time::Time;

/// The credit this side holds for one call and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWindow(u32);

impl SendWindow {
    /// Credit of `bytes` at the start of a call: the peer's `call_window`.
    pub const fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// Bytes that may be sent now.
    pub fn available(self) -> usize {
        if sabotage::is(Sabotage::CreditIgnored) {
            return i32::MAX as usize;
        }
        self.0 as usize
    }

    /// The peer granted `bytes` more. Fails when the sum exceeds what a window can hold, 2^31 - 1.
    pub fn grant(&mut self, bytes: u32) -> Result<(), WindowOverflow> {
        match self.0.checked_add(bytes) {
            Some(sum) if sum <= i32::MAX as u32 => {
                self.0 = sum;
                Ok(())
            }
            _ => Err(WindowOverflow),
        }
    }

    /// Spends `bytes`, which the caller has seen to be [available](Self::available).
    pub fn spend(&mut self, bytes: usize) {
        assert!(
            bytes <= self.available(),
            "spent {bytes} bytes of a credit of {}",
            self.0
        );
        self.0 = if sabotage::is(Sabotage::CreditIgnored) {
            self.0.saturating_sub(bytes as u32)
        } else {
            self.0 - bytes as u32
        };
    }
}

/// The credit this side has given to the peer for one call and direction.
#[derive(Debug, Clone, Copy)]
pub struct RecvWindow {
    /// What the peer may have unconsumed at most; grows by doubling.
    size: u32,
    /// What the peer may still send.
    left: u32,
    /// Consumed here, not yet granted again.
    owed: u32,
    /// Growth: what was granted since `measured_from`.
    granted: u32,
    measured_from: Time,
}

/// When a receive window may grow.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// The largest window, in bytes. Equal to the first window where growth is off.
    pub max: u32,
    /// The smallest round trip seen lately; none while it is unknown.
    pub rtt: Option<Duration>,
}

/// Below this round trip a larger window brings no throughput, only bytes in flight.
const GROWTH_MIN_RTT: Duration = Duration::from_millis(2);

impl RecvWindow {
    /// A window of `size` bytes, all of it granted by the handshake.
    pub const fn new(size: u32) -> Self {
        Self {
            size,
            left: size,
            owed: 0,
            granted: 0,
            measured_from: Time::ZERO,
        }
    }

    /// The window's present size in bytes.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Bytes that the peer may still send.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// The peer sent `bytes`. Fails when it had no credit for them.
    pub fn receive(&mut self, bytes: usize) -> Result<(), Overspent> {
        if sabotage::is(Sabotage::CreditIgnored) {
            return Ok(());
        }
        if bytes > self.left as usize {
            return Err(Overspent {
                sent: bytes,
                credit: self.left,
            });
        }
        self.left -= bytes as u32;
        Ok(())
    }

    /// `bytes` left for the next hop. Returns whether a grant is now due: half a window is owed.
    pub fn consume(&mut self, mut bytes: usize) -> bool {
        if sabotage::is(Sabotage::CreditIgnored) {
            return false;
        }
        if sabotage::is(Sabotage::CreditLeaked) {
            bytes /= 2;
        }
        self.owed += bytes as u32;
        debug_assert!(
            self.left + self.owed <= self.size,
            "consumed more than was received"
        );
        self.owed >= self.size / 2
    }

    /// The credit to grant now, which may include the window's growth. Zero when nothing is owed.
    pub fn take_grant(&mut self, now: Time, growth: Growth) -> u32 {
        let mut grant = self.owed;
        self.owed = 0;
        grant += self.grow(now, grant, growth);
        self.left += grant;
        grant
    }

    /// Doubles the window when more than half of it went by within one round trip.
    fn grow(&mut self, now: Time, grant: u32, growth: Growth) -> u32 {
        let Some(rtt) = growth.rtt.filter(|rtt| *rtt >= GROWTH_MIN_RTT) else {
            return 0;
        };
        if now - self.measured_from > rtt {
            self.measured_from = now;
            self.granted = 0;
        }
        self.granted = self.granted.saturating_add(grant);
        if self.granted <= self.size / 2 || self.size >= growth.max {
            return 0;
        }
        let more = self.size.min(growth.max - self.size);
        self.size += more;
        self.granted = 0;
        more
    }
}

/// A grant took a window past 2^31 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("credit granted past 2147483647 bytes")]
pub struct WindowOverflow;

/// The peer sent more than it held credit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{sent} bytes sent against a credit of {credit}")]
pub struct Overspent {
    /// Bytes in the offending frame.
    pub sent: usize,
    /// Credit that was left, in bytes.
    pub credit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Growth = Growth {
        max: 100,
        rtt: None,
    };

    #[test]
    fn credit_is_granted_at_half_a_window_and_only_for_what_was_consumed() {
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        assert!(!window.consume(49));
        assert!(window.consume(1), "half a window is due");
        assert_eq!(window.take_grant(Time::ZERO, OFF), 50);
        assert_eq!(
            window.receive(51),
            Err(Overspent {
                sent: 51,
                credit: 50
            })
        );
        window.receive(50).unwrap();
    }

    #[test]
    fn a_window_grows_only_while_half_of_it_goes_by_per_round_trip() {
        let growth = Growth {
            max: 400,
            rtt: Some(Duration::from_millis(10)),
        };
        let mut window = RecvWindow::new(100);
        let mut now = Time::from_micros(1_000_000);
        window.receive(100).unwrap();
        window.consume(50);
        assert_eq!(
            window.take_grant(now, growth),
            50,
            "exactly half is not more than half"
        );
        window.consume(50);
        assert_eq!(
            window.take_grant(now, growth),
            150,
            "50 owed and 100 of growth"
        );
        assert_eq!(window.size(), 200);
        now = now + Duration::from_secs(1);
        window.receive(100).unwrap();
        window.consume(100);
        assert_eq!(
            window.take_grant(now, growth),
            100,
            "a slow reader gets no more"
        );
    }

    #[test]
    fn no_growth_below_two_milliseconds() {
        let growth = Growth {
            max: 400,
            rtt: Some(Duration::from_micros(1_999)),
        };
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        window.consume(100);
        assert_eq!(window.take_grant(Time::ZERO, growth), 100);
    }

    #[test]
    fn a_grant_past_the_largest_window_is_refused() {
        let mut window = SendWindow::new(1);
        assert_eq!(window.grant(i32::MAX as u32), Err(WindowOverflow));
        window.grant(i32::MAX as u32 - 1).unwrap();
    }

    #[test]
    #[should_panic(expected = "spent 2 bytes of a credit of 1")]
    fn spending_credit_that_is_not_held_is_our_own_bug() {
        SendWindow::new(1).spend(2);
    }
}
