//! What this side sends on a call.

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::message::MessageLimit;
use crate::window::SendWindow;

/// The sending half of a call.
///
/// ```text
///   Idle --start--> Open --end--> Ending --last byte sent--> Ended
///     \______________end______________________________________^
/// ```
/// A reset, sent or received, takes every state to `Ended` and drops what is queued.
#[derive(Debug)]
pub struct SendHalf {
    /// Where the half is.
    pub state: SendState,
    /// Credit that the peer gave.
    pub window: SendWindow,
    /// Number of the next frame that carries data.
    pub seq: u32,
    /// Bytes that wait for credit or for their turn.
    pub queue: Buffer,
    /// The fields of END, encoded, while END waits behind the queue.
    pub end: Option<Bytes>,
    /// Whether the call stands in the second lane.
    pub in_lane: bool,
    /// Whether it counts as one that has data to send and no credit.
    pub stalled: bool,
    /// Bytes that got credit and left the queue since the caller last asked.
    pub passed: usize,
    /// Holds messages to a length, where one is set.
    pub limit: Option<MessageLimit>,
}

/// The states of a sending half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendState {
    /// START has not been sent.
    Idle,
    /// START has been sent.
    Open,
    /// END has been given and waits behind queued data.
    Ending,
    /// END or a reset has been sent.
    Ended,
}

impl SendHalf {
    /// A half that has sent nothing and holds `credit`.
    pub fn new(credit: u32, limit: Option<MessageLimit>) -> Self {
        Self {
            state: SendState::Idle,
            window: SendWindow::new(credit),
            seq: 0,
            queue: Buffer::default(),
            end: None,
            in_lane: false,
            stalled: false,
            passed: 0,
            limit,
        }
    }

    /// Whether queued data could go now, if the transport took it.
    pub fn sendable(&self) -> bool {
        !self.queue.is_empty() && self.window.available() > 0
    }

    /// The number for a frame that carries `bytes` of data, whose credit is spent by this.
    pub fn next_data(&mut self, bytes: usize) -> u32 {
        if bytes == 0 {
            return 0;
        }
        self.window.spend(bytes);
        self.passed += bytes;
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        seq
    }

    /// Nothing more will be sent.
    pub fn stop(&mut self) {
        self.state = SendState::Ended;
        self.queue.clear();
        self.end = None;
    }
}
