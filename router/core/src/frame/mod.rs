//! Frames: what one message on a tunnel says, and how it is written and read.
//!
//! The two hot messages, `RpcCall` and `RpcResponse`, are read and written by hand: in one pass,
//! without copying payload, and straight between the wire and [`HeaderMap`]s. Everything else on a
//! tunnel is small and rare, and prost does it.
//!
//! - [`Frame`] and its parts: a hot frame, always well formed once it exists
//! - [`decode_request`], [`decode_response`]: a message body to a frame
//! - [`write_frame`] and the `encode_*` functions: the way back
//! - [`Deframer`]: the byte stream to message bodies
//!
//! Nothing here knows about calls in progress: order, sequence numbers and credit are checked by
//! the tunnel.

use std::{
    ops::{BitOr, BitOrAssign},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

mod control;
mod decode;
mod deframe;
mod encode;
mod status;
pub(crate) mod wire;

pub use control::{
    Direction, Inbound, InboundOf, ToGateway, ToInstance, decode, decode_request, decode_response,
    encode_control,
};
pub use decode::{Breach, DecodeError, Limits, Part};
pub use deframe::{DeframeError, Deframer, PREFIX_LEN};
pub use encode::{
    FrameHeader, encode_head, encode_open, encode_status, encode_trailers, write_frame,
};

/// The number of the hot message in the `oneof` of both directions: `rpc_response`, `rpc_call`.
pub const RPC_FIELD: u32 = 4;

/// The content type that is not sent: a call or answer without one has this.
pub const DEFAULT_CONTENT_TYPE: &str = "application/grpc";

/// A frame of a call, gateway to instance: OPEN is `start`, HALF_CLOSE is `end`.
pub type CallFrame = Frame<Open, ()>;

/// A frame of a call, instance to gateway: HEAD is `start`, COMPLETE is `end`.
pub type ResponseFrame = Frame<Head, Trailers>;

/// One frame of a call. Its parts take effect in the order of the fields here: a frame may carry
/// a whole unary call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<S, E> {
    /// The call, as the gateway named it.
    pub id: u64,
    /// The number of this frame among those of its call and direction that carry data.
    pub seq: u32,
    /// Credit granted to the receiver of this frame, in bytes of `data`. 0 grants nothing.
    pub window: u32,
    /// The begin of this direction of the call.
    pub start: Option<S>,
    /// Raw length-prefixed gRPC bytes, cut anywhere. Empty when the frame carries none.
    pub data: Bytes,
    /// The end of this direction of the call.
    pub end: Option<E>,
    /// The call is over both ways. Never together with `start`, `data` or `end`.
    pub reset: Option<Reset>,
}

/// The begin of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// `/package.Service/Method`: begins with `/`, without spaces or control characters.
    pub method: String,
    /// The `:authority` that the client asked for; may be empty.
    pub authority: String,
    /// What is left of the call's time when the frame is written; never zero.
    pub timeout: Option<Duration>,
    /// `None` is [`DEFAULT_CONTENT_TYPE`].
    pub content_type: Option<HeaderValue>,
    /// The client's metadata without reserved headers.
    pub metadata: HeaderMap,
}

/// The begin of an answer: its initial metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `None` is [`DEFAULT_CONTENT_TYPE`].
    pub content_type: Option<HeaderValue>,
    /// The handler's initial metadata without reserved headers.
    pub metadata: HeaderMap,
}

/// The end of an answer: its status and trailing metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers {
    /// A gRPC status code, 0 to 16. What lies outside arrives as 2, UNKNOWN.
    pub status: u32,
    /// `grpc-message` as on the wire, percent-encoded. May hold any bytes.
    pub message: Bytes,
    /// `grpc-status-details-bin`, decoded.
    pub details: Bytes,
    /// The handler's trailing metadata without reserved headers.
    pub metadata: HeaderMap,
}

/// The end of a call both ways, at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reset {
    /// Why, as an HTTP/2 error code.
    pub code: u32,
    /// The call was never dispatched: it is safe to send it elsewhere. Only an instance says so.
    pub refused: bool,
}

/// The `flags` of a frame. Bits without a name here are ignored when read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Nothing but data or credit.
    pub const NONE: Self = Self(0);
    /// The begin of a call.
    pub const OPEN: Self = Self(1);
    /// The begin of an answer.
    pub const HEAD: Self = Self(1);
    /// The client sends no more.
    pub const HALF_CLOSE: Self = Self(2);
    /// The answer is complete.
    pub const COMPLETE: Self = Self(2);
    /// The call is over both ways.
    pub const RESET: Self = Self(4);
    /// With RESET, from an instance: the call was never dispatched.
    pub const REFUSED: Self = Self(8);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
