//! A queue without a bound, with credit granted on receipt: what zero buffering forbids.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of one call in one direction that wait for credit of the next hop.
#[derive(Debug, Default)]
pub(super) struct Spool {
    waits: BytesMut,
    /// What the next hop takes, in bytes.
    credit: u64,
    /// Nothing is passed on before the end has come.
    pub(super) to_the_end: bool,
    /// The end has come.
    pub(super) ended: bool,
}

/// Bytes of a frame at the most.
const CHUNK: u64 = 16 * 1024;

impl Spool {
    pub(super) fn new(credit: u64, to_the_end: bool) -> Self {
        Self {
            credit,
            to_the_end,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        self.waits.extend_from_slice(data);
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit += u64::from(bytes);
    }

    /// The next bytes that may be passed on.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        if self.to_the_end && !self.ended {
            return None;
        }
        let len = (self.waits.remaining() as u64).min(self.credit).min(CHUNK);
        self.credit -= len;
        (len > 0).then(|| self.waits.split_to(len as usize).freeze())
    }

    /// Whether the end has come, and nothing waits before it.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.waits.is_empty()
    }
}
