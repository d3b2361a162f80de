//! Connections between hosts: two byte pipes each, over links that can be held, partitioned and slow.
//!
//! A pipe is what TCP gives: what goes in comes out in order, late, cut anywhere, or not at all from some
//! point on. There is no retransmission: a pipe that lost something to a partition stays silent, which is
//! what a peer that is gone looks like.

use std::collections::VecDeque;
use std::time::Duration;

use grpcrouter_core::Time;

/// A host's number among all hosts.
pub(super) type HostId = usize;
/// A connection's number.
pub(super) type ConnId = usize;

/// Events after which an end of a tunnel takes in no more of what arrived, before it has dealt with them: few, so that
/// there often is a rest.
pub(super) const TURN: usize = 3;

/// What connects two hosts, both ways. Index 0 is towards the gateway.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Faults that hold it, by direction: it delivers again when there is none.
    pub(super) held: [u32; 2],
    /// Faults that partition it.
    pub(super) parted: [u32; 2],
    /// What faults add to its latency.
    pub(super) slowed: Duration,
    /// Bytes a second at most, where a fault says so.
    pub(super) rate: Option<u64>,
}

impl Link {
    /// Whether a fault is on it.
    pub(super) fn is_touched(&self) -> bool {
        let faults = self.held.iter().chain(&self.parted).sum::<u32>();
        faults > 0 || self.slowed > Duration::ZERO || self.rate.is_some()
    }

    pub(super) fn is_parted(&self) -> bool {
        self.parted.iter().sum::<u32>() > 0
    }
}

/// A connection: whom it joins, and a pipe each way.
#[derive(Debug)]
pub(super) struct Conn<T> {
    /// Who dialled, and the gateway.
    pub(super) hosts: [HostId; 2],
    pub(super) link: usize,
    /// Whether each end is still there.
    pub(super) open: [bool; 2],
    /// Whether each end has said goodbye in order, and hears the other one out.
    pub(super) parting: [bool; 2],
    /// The pipe from each end.
    pub(super) pipes: [Pipe<T>; 2],
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe<T> {
    /// What is under way, with its length and when it is due.
    queue: VecDeque<(Time, usize, T)>,
    /// Bytes under way.
    bytes: usize,
    last_due: Time,
    /// It lost something, and gives nothing any more.
    pub(super) broken: bool,
    /// Pieces due that a held link keeps.
    pub(super) parked: u32,
}

impl<T> Conn<T> {
    pub(super) fn new(dialler: HostId, gateway: HostId, link: usize) -> Self {
        Self {
            hosts: [dialler, gateway],
            link,
            open: [true; 2],
            parting: [false; 2],
            pipes: [Pipe::new(), Pipe::new()],
        }
    }
}

impl<T> Pipe<T> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            last_due: Time::ZERO,
            broken: false,
            parked: 0,
        }
    }

    /// Bytes under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a piece under way, not to overtake what is. Gives when it is due.
    pub(super) fn push(&mut self, due: Time, len: usize, piece: T) -> Time {
        self.last_due = self.last_due.max(due);
        self.bytes += len;
        self.queue.push_back((self.last_due, len, piece));
        self.last_due
    }

    /// How many pieces are under way.
    pub(super) fn pieces(&self) -> usize {
        self.queue.len()
    }

    /// Whether the next piece is due.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.queue.front().is_some_and(|(due, ..)| *due <= now)
    }

    /// Nothing that is under way is due later than this any more.
    pub(super) fn hurry(&mut self, due: Time) {
        for piece in &mut self.queue {
            piece.0 = piece.0.min(due);
        }
        self.last_due = self.last_due.min(due);
    }

    /// When the last piece that is under way is due.
    pub(super) fn last_due(&self) -> Time {
        self.last_due
    }

    /// The next piece.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, len, piece) = self.queue.pop_front()?;
        self.bytes -= len;
        Some(piece)
    }

    /// Loses all that is under way.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.parked = 0;
    }
}
