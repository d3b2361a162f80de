//! What a tunnel counts of itself, for whoever watches it.

use std::time::Duration;

use crate::call::SendHalf;
use crate::time::Time;

use super::{Role, Tunnel};

/// The upper bounds of the ranges in which [`Meters::rtts`] counts. What took longer than the last is counted by the sum
/// and the count alone.
pub const RTT_BOUNDS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Counts of one tunnel since it was made. None of them is ever less than before, but for [`stalled`](Self::stalled).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meters {
    /// Bytes that came from the peer, of frames of all kinds.
    pub received: u64,
    /// Bytes that were handed to the transport.
    pub sent: u64,
    /// Calls that have data to send and no credit for it.
    pub stalled: u32,
    /// How long calls have been so, one after the other and at the same time, as of the last
    /// [`Tunnel::advance`](super::Tunnel::advance).
    pub stalled_for: Duration,
    /// Round trips of heartbeats.
    pub rtts: Rtts,
    now: Time,
}

/// Round trips, counted in ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rtts {
    /// Those up to each of [`RTT_BOUNDS`] that are above the bound before it.
    pub ranges: [u64; RTT_BOUNDS.len()],
    /// All of them.
    pub count: u64,
    /// All of them, one after the other.
    pub sum: Duration,
}

impl<R: Role> Tunnel<R> {
    /// What was counted of this tunnel.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Time has come to `now`: what stalls has stalled for so long. To be said before whatever else happens
    /// then, by who reads [`Meters::stalled_for`].
    pub fn advance(&mut self, now: Time) {
        self.meters.advance(now);
    }

    /// Bytes that wait in this tunnel: to be sent, and to be taken by the readers of calls. It goes through
    /// all calls.
    pub fn waiting_bytes(&self) -> (usize, usize) {
        let calls = self.calls.values();
        let queued = calls.map(|call| (call.send.queue.len(), call.recv.queued()));
        queued.fold(
            (self.lanes.queued(), 0),
            |(to_send, to_take), (send, recv)| (to_send + send, to_take + recv),
        )
    }

    pub(super) fn on_heartbeat(&mut self, now: Time, nonce: u64, reply_to: u64) {
        if let Some(rtt) = self.keepalive.on_heartbeat(now, nonce, reply_to) {
            self.meters.rtt(rtt);
        }
    }
}

impl Meters {
    pub(super) fn since(now: Time) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    pub(super) fn advance(&mut self, now: Time) {
        if self.stalled > 0 {
            self.stalled_for += (now - self.now) * self.stalled;
        }
        // Who read the clock earlier may have come to the tunnel's lock later.
        self.now = self.now.max(now);
    }

    /// Something of this half changed: it may have stalled, or go on.
    pub(super) fn look_at(&mut self, half: &mut SendHalf) {
        let stalled = !half.queue.is_empty() && half.window.available() == 0;
        match (std::mem::replace(&mut half.stalled, stalled), stalled) {
            (false, true) => self.stalled += 1,
            (true, false) => self.stalled -= 1,
            _ => {}
        }
    }

    pub(super) fn rtt(&mut self, rtt: Duration) {
        self.rtts.count += 1;
        self.rtts.sum += rtt;
        if let Some(range) = RTT_BOUNDS.iter().position(|bound| rtt <= *bound) {
            self.rtts.ranges[range] += 1;
        }
    }
}

/// Counts of several tunnels together.
impl std::ops::AddAssign<&Self> for Meters {
    fn add_assign(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.stalled += other.stalled;
        self.stalled_for += other.stalled_for;
        self.rtts.count += other.rtts.count;
        self.rtts.sum += other.rtts.sum;
        for (own, others) in self.rtts.ranges.iter_mut().zip(other.rtts.ranges) {
            *own += others;
        }
    }
}
