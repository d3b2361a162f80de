//! What waits for the transport: a first lane of encoded frames, a second of calls with bulk data.
//!
//! The first lane holds control frames and small frames of calls that have nothing in the second; it is
//! first in, first out, and leaves whole. The second is a round robin over calls, a chunk each. So a
//! bulk stream costs its neighbours one chunk of delay, never its queue.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::frame::{FrameHeader, RPC_FIELD, write_frame};
use crate::table::Key;

use super::batch::Batch;
use super::places::push;

/// Data longer than this is its own segment of a batch; shorter is copied beside its header.
const INLINE_MAX: usize = 4 * 1024;

/// What a batch's memory is at first, in bytes: some small frames, so that it need not grow with each of them.
const BATCH_MIN: usize = 1024;

#[derive(Debug)]
pub(super) struct Lanes {
    first: BytesMut,
    /// Bytes ever appended to the first lane, and how many of them were taken.
    appended: u64,
    taken: u64,
    second: VecDeque<Key>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            first: BytesMut::new(),
            appended: 0,
            taken: 0,
            second: VecDeque::new(),
        }
    }

    /// Bytes in the first lane.
    pub(super) fn queued(&self) -> usize {
        self.first.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.first = BytesMut::new();
        self.second.clear();
    }

    /// Where the next frame of the first lane will stand, for [`Lanes::was_taken`].
    pub(super) fn position(&self) -> u64 {
        self.appended
    }

    /// Whether a frame that was appended at `position` was handed to the transport, or part of it.
    pub(super) fn was_taken(&self, position: u64) -> bool {
        self.taken > position
    }

    /// Appends a call's frame to the first lane; its data is copied.
    pub(super) fn frame(&mut self, header: &FrameHeader, fields: &[u8], data: &[u8]) {
        if self.first.is_empty() {
            self.first.reserve(BATCH_MIN);
        }
        let before = self.first.len();
        write_frame(&mut self.first, RPC_FIELD, header, fields, data.len());
        self.first.extend_from_slice(data);
        self.appended += (self.first.len() - before) as u64;
    }

    /// Appends a control frame to the first lane.
    pub(super) fn control(&mut self, message: &impl prost::Message) {
        let before = self.first.len();
        crate::frame::encode_control(&mut self.first, message);
        self.appended += (self.first.len() - before) as u64;
    }

    /// Puts a call at the end of the second lane.
    pub(super) fn enlist(&mut self, key: Key) {
        push(&mut self.second, key);
    }

    /// Takes the call whose turn it is.
    pub(super) fn next_in_turn(&mut self) -> Option<Key> {
        self.second.pop_front()
    }

    /// Begins a batch: everything in the first lane is in it.
    pub(super) fn begin_batch(&mut self) -> Batch {
        self.taken = self.appended;
        Batch::default()
    }

    /// Adds a call's chunk to the batch that [`Lanes::begin_batch`] began.
    pub(super) fn chunk(
        &mut self,
        batch: &mut Batch,
        header: &FrameHeader,
        fields: &[u8],
        data: Bytes,
    ) {
        write_frame(&mut self.first, RPC_FIELD, header, fields, data.len());
        if data.len() <= INLINE_MAX {
            self.first.extend_from_slice(&data);
        } else {
            batch.push(self.first.split().freeze());
            batch.push(data);
        }
    }

    /// Ends the batch.
    pub(super) fn end_batch(&mut self, batch: &mut Batch) {
        // The whole allocation goes with it: a lane that was once full would keep megabytes.
        batch.push(std::mem::take(&mut self.first).freeze());
    }
}
