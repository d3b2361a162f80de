//! One call on a tunnel: its two halves, and the table that holds all calls.
//!
//! A call is the same thing on both sides of a tunnel. What one side sends, START, data and END, is
//! OPEN, data and HALF_CLOSE from a gateway and HEAD, data and COMPLETE from an instance.

mod recv;
mod send;
mod table;

pub use recv::{Received, RecvHalf, RecvState};
pub use send::{SendHalf, SendState};
pub use table::{Key, Table, Tenancy};

use crate::message::MessageLimit;
use crate::time::Time;

/// A call: `S` is the START that this side receives, `E` the END.
#[derive(Debug)]
pub struct Call<S, E> {
    /// The number on the wire.
    pub id: u64,
    /// What this side sends.
    pub send: SendHalf,
    /// What the peer sends.
    pub recv: RecvHalf<S, E>,
    /// When the call ends by itself.
    pub deadline: Option<Time>,
    /// Whether, and by whose doing, nothing more is to be said about this call.
    pub over: Over,
    /// Bytes that had been queued for the transport when the call's first frame was queued.
    pub opened_at: u64,
    /// Whether an event that says so is waiting, so that there is one at a time.
    pub readable_told: bool,
    /// As `readable_told`, for the sending half.
    pub writable_told: bool,
}

/// Whether a call is over, and who ended it: the other side may not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It goes on.
    No,
    /// This side ended it; frames that are under way are ignored.
    ByUs,
    /// The peer ended it, or the tunnel did; the peer has nothing more to say.
    ByPeer,
}

impl Over {
    /// Whether the call goes on.
    pub fn is_open(self) -> bool {
        self == Self::No
    }
}

impl<S, E> Call<S, E> {
    /// A call of which nothing has been sent or received.
    pub fn new(id: u64, send: SendHalf, recv: RecvHalf<S, E>) -> Self {
        Self {
            id,
            send,
            recv,
            deadline: None,
            over: Over::No,
            opened_at: 0,
            readable_told: false,
            writable_told: false,
        }
    }

    /// Whether this side may still send START, data or END.
    pub fn takes_parts(&self) -> bool {
        self.over.is_open() && matches!(self.send.state, SendState::Idle | SendState::Open)
    }

    /// Whether a fault may still become the call's outcome: the first one stays, and every reader gets one
    /// end, but for an instance's, which after the request's end is still told that the call failed.
    pub fn awaits_outcome(&self) -> bool {
        self.recv.fault().is_none() && (self.over.is_open() || !self.recv.is_done())
    }

    /// Whether the peer can still use credit.
    pub fn takes_credit(&self) -> bool {
        self.over.is_open() && self.recv.state != RecvState::Ended
    }
}

/// A limit for each direction, where the configuration sets one.
pub fn message_limit(max: Option<u32>) -> Option<MessageLimit> {
    max.map(MessageLimit::new)
}
