//! What goes over a connection: a tunnel's bytes, or the frames of a client's calls.
//!
//! A client's connection is HTTP/2 in the product. Here it is what HTTP/2 means to a call: a window for
//! each stream and direction, order, resets, and pings.

use std::time::Duration;

use bytes::Bytes;

/// One piece under way.
#[derive(Debug)]
pub(super) enum Piece {
    /// Of a tunnel.
    Bytes(Bytes),
    /// Of a client's connection.
    Frame(Frame),
    /// The end of a connection, in order after what was written.
    Fin,
    /// The end of a connection, at once.
    Rst,
}

/// A frame of a client's connection. A stream has the number of its call.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// A call begins, with what of its request is there already.
    Open {
        call: u32,
        timeout: Option<Duration>,
        bytes: Bytes,
        end: bool,
    },
    /// Bytes of the request, or of the response.
    Data { call: u32, bytes: Bytes },
    /// The request ends.
    End { call: u32 },
    /// The call is over, both ways.
    Reset { call: u32 },
    /// Room for so many bytes more.
    Window { call: u32, bytes: u32 },
    /// The response begins.
    Head,
    /// The response ends.
    Trailers {
        call: u32,
        code: u32,
        reason: &'static str,
    },
    /// The peer lives.
    Ping,
}

/// What a frame costs beside its data, in bytes.
const OVERHEAD: usize = 32;

impl Piece {
    /// Its length, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Frame(Frame::Data { bytes, .. } | Frame::Open { bytes, .. }) => {
                OVERHEAD + bytes.len()
            }
            Self::Frame(_) => OVERHEAD,
            Self::Fin | Self::Rst => 0,
        }
    }
}
