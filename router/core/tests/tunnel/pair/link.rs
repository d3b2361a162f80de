//! One direction of the network: it delays, holds, cuts and takes no more than it has room for.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use grpcrouter_core::Time;
use grpcrouter_core::tunnel::Batch;

use super::wire::{Peek, Wire};

pub(crate) struct Link {
    under_way: VecDeque<(Time, Bytes)>,
    /// Bytes that the transport still takes.
    pub(crate) room: usize,
    /// While true nothing arrives; it does after.
    pub(crate) held: bool,
    /// While true what is sent is lost.
    pub(crate) cut: bool,
    /// Deliver in pieces of at most so many bytes.
    pub(crate) piece: usize,
    /// Every frame that was sent.
    pub(crate) wires: Vec<Wire>,
    tapped: BytesMut,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            room: usize::MAX,
            held: false,
            cut: false,
            piece: usize::MAX,
            wires: Vec::new(),
            tapped: BytesMut::new(),
        }
    }
}

impl Link {
    pub(crate) fn take<R: Peek>(&mut self, now: Time, arrives: Time, mut batch: Batch) {
        let len = batch.len();
        if self.room != usize::MAX {
            self.room = self.room.saturating_sub(len);
        }
        let mut bytes = batch.copy_to_bytes(len);
        self.tapped.extend_from_slice(&bytes);
        while let Some(body) = split_message(&mut self.tapped) {
            self.wires.push(R::peek(now, len, body));
        }
        if self.cut {
            return;
        }
        while !bytes.is_empty() {
            let piece = bytes.split_to(self.piece.min(bytes.len()));
            self.under_way.push_back((arrives, piece));
        }
    }

    /// What has arrived by now.
    pub(crate) fn arrived(&mut self, now: Time) -> Vec<Bytes> {
        let mut arrived = Vec::new();
        while !self.held
            && let Some((at, _)) = self.under_way.front()
            && *at <= now
        {
            arrived.extend(self.under_way.pop_front().map(|(_, bytes)| bytes));
        }
        arrived
    }

    pub(crate) fn next_arrival(&self) -> Option<Time> {
        let (at, _) = self.under_way.front().filter(|_| !self.held)?;
        Some(*at)
    }

    /// The frames of calls, in the order in which they were sent.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Wire> {
        self.wires.iter().filter(|wire| wire.what == "call")
    }

    /// Bytes of data sent for the call with this id.
    pub(crate) fn sent(&self, id: u64) -> usize {
        let own = self.calls().filter(|wire| wire.id == id);
        own.map(|wire| wire.data).sum()
    }

    /// Credit granted for the call with this id.
    pub(crate) fn granted(&self, id: u64) -> usize {
        let own = self.calls().filter(|wire| wire.id == id);
        own.map(|wire| wire.window as usize).sum()
    }
}

fn split_message(tapped: &mut BytesMut) -> Option<Bytes> {
    let (_, len) = tapped.get(..5)?.split_at(1);
    let len = u32::from_be_bytes(len.try_into().expect("four bytes")) as usize;
    if tapped.len() < 5 + len {
        return None;
    }
    tapped.advance(5);
    Some(tapped.split_to(len).freeze())
}
