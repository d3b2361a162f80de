//! What can go wrong, sorted by who is at fault and by what it ends: a call, or the tunnel.

use crate::frame::{Breach as FrameBreach, Reset};
use crate::message::MessageTooLarge;
use crate::sabotage::{self, Sabotage};
use crate::window::{Overspent, WindowOverflow};

/// Why a call ended without its peer's own end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// The peer reset the call.
    #[error("reset by the peer with code {}", .0.code)]
    Reset(Reset),
    /// The peer broke a rule of the call.
    #[error("the peer broke the protocol: {0}")]
    Breach(Breach),
    /// A message exceeds the configured limit.
    #[error(transparent)]
    TooLarge(#[from] MessageTooLarge),
    /// The call's deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The tunnel ended.
    #[error("the tunnel ended")]
    Lost {
        /// False where the call's first frame provably never reached the transport.
        sent: bool,
    },
}

impl CallFault {
    /// Whether the call provably reached no handler, so that it can be sent elsewhere.
    pub fn never_dispatched(&self) -> bool {
        match self {
            Self::Reset(reset) => reset.refused,
            Self::Lost { sent } => !sent || sabotage::is(Sabotage::RetriedWhenSent),
            _ => false,
        }
    }
}

/// A rule of one call that the peer broke. It ends that call; a peer that keeps doing it loses its tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// More data than credit.
    #[error(transparent)]
    Overspent(#[from] Overspent),
    /// More credit than a window holds.
    #[error(transparent)]
    WindowOverflow(#[from] WindowOverflow),
    /// A gap or a repeat in the sequence of data frames.
    #[error("data frame {got} where {expected} was due")]
    Sequence {
        /// The number that was due.
        expected: u32,
        /// The number that came.
        got: u32,
    },
    /// Data before the head of a response.
    #[error("data before the head")]
    DataBeforeHead,
    /// A second head, or a second OPEN.
    #[error("a second head")]
    SecondHead,
    /// Anything but credit or a reset after the end.
    #[error("a frame after the end")]
    AfterEnd,
    /// A frame whose content is not allowed.
    #[error(transparent)]
    Content(#[from] FrameBreach),
}

/// Why a call could not be opened. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The tunnel takes no new calls: it drains, or ended, or is not registered yet.
    #[error("the tunnel takes no new calls")]
    NotLive,
    /// As many calls are open as the two sides agreed on.
    #[error("{0} calls are open on the tunnel, its limit")]
    TooManyCalls(u32),
    /// As much is queued for the transport as may be.
    #[error("{0} bytes are queued for the tunnel, its limit")]
    QueueFull(usize),
    /// The deadline has passed already.
    #[error("the deadline passed")]
    Expired,
    /// The call's metadata does not fit the peer's longest frame.
    #[error("metadata of {size} bytes exceeds {max}, the longest that the peer takes")]
    MetadataTooLarge {
        /// Encoded length in bytes.
        size: usize,
        /// The most that fits, in bytes.
        max: usize,
    },
}

impl OpenError {
    /// Whether it says something of this tunnel rather than of the call: another may take the call.
    pub fn is_of_tunnel(self) -> bool {
        match self {
            Self::NotLive | Self::TooManyCalls(_) | Self::QueueFull(_) => true,
            Self::Expired | Self::MetadataTooLarge { .. } => false,
        }
    }
}

/// Why a tunnel ended. All its calls end with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// The peer sent bytes that are no frame.
    #[error("the peer sent a frame that does not decode: {0}")]
    Malformed(String),
    /// The peer sent a frame for a call that it was never given.
    #[error("the peer sent a frame for a call that was never opened: {0:#x}")]
    UnknownCall(u64),
    /// The peer opened a call under an id that is in use.
    #[error("the peer opened a call twice: {0:#x}")]
    DuplicateCall(u64),
    /// The peer broke the rules of too many calls.
    #[error("the peer broke the protocol {0} times within a minute")]
    TooManyBreaches(u32),
    /// The peer makes us answer faster than it reads.
    #[error("the peer does not read: {0} bytes are queued for it")]
    NotReading(usize),
    /// The peer sent a chunk of descriptors that no honest peer sends.
    #[error("a chunk of descriptors: {0}")]
    Descriptors(&'static str),
    /// The first frames were wrong.
    #[error("handshake: {0}")]
    Handshake(String),
    /// The instance's first frame breaks a rule of its own, whatever the registry thinks of it.
    #[error("registration: {0}")]
    BadRegistration(String),
    /// The peer speaks no revision that we do.
    #[error("the peer speaks revisions {min} to {max}, this side {ours_min} to {ours_max}")]
    Revision {
        /// The peer's oldest.
        min: u32,
        /// The peer's newest.
        max: u32,
        /// Our oldest.
        ours_min: u32,
        /// Our newest.
        ours_max: u32,
    },
    /// The handshake took too long.
    #[error("no registration within {0} ms")]
    HandshakeTimeout(u128),
    /// Nothing came from the peer for two heartbeat intervals.
    #[error("the peer was silent for {0} ms")]
    Silent(u128),
    /// The gateway refused or ended the registration.
    #[error("{message} ({reason})")]
    Refused {
        /// gRPC status code.
        code: u32,
        /// Machine-readable reason, such as `superseded`.
        reason: String,
        /// For people.
        message: String,
    },
    /// The transport ended.
    #[error("the connection ended: {0}")]
    Transport(String),
}

impl TunnelError {
    /// The gRPC status code and the token with which a gateway ends a tunnel for this. The token is empty
    /// where the instance ended it, which is no error.
    pub fn verdict(&self) -> (u32, &str) {
        const OK: u32 = 0;
        const INVALID_ARGUMENT: u32 = 3;
        const DEADLINE_EXCEEDED: u32 = 4;
        const RESOURCE_EXHAUSTED: u32 = 8;
        const FAILED_PRECONDITION: u32 = 9;
        const INTERNAL: u32 = 13;
        const UNAVAILABLE: u32 = 14;
        match self {
            Self::Refused { code, reason, .. } => (*code, reason),
            Self::Transport(_) => (OK, ""),
            Self::Silent(_) => (UNAVAILABLE, "heartbeat-lost"),
            Self::BadRegistration(_) => (INVALID_ARGUMENT, "bad-registration"),
            Self::Revision { .. } => (FAILED_PRECONDITION, "revision"),
            Self::HandshakeTimeout(_) => (DEADLINE_EXCEEDED, "handshake-timeout"),
            Self::NotReading(_) => (RESOURCE_EXHAUSTED, "limit"),
            Self::Malformed(_)
            | Self::UnknownCall(_)
            | Self::DuplicateCall(_)
            | Self::TooManyBreaches(_)
            | Self::Descriptors(_)
            | Self::Handshake(_) => (INTERNAL, "protocol-error"),
        }
    }
}

/// Why a set of descriptors that was asked for did not come. The instance's fault, or its line's; it costs
/// the instance its reflection and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// What came is not what was announced.
    #[error("the descriptors have another hash than was announced")]
    HashMismatch,
    /// It was not whole in time.
    #[error("the descriptors were not whole within {0} ms")]
    Late(u128),
}
