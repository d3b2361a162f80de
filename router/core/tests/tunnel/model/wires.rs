//! What the wire shows of a call, one direction at a time.

use std::collections::BTreeMap;

use crate::pair::{COMPLETE, HEAD, RESET, Wire};

/// One direction of one call, as its frames tell.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) started: bool,
    pub(super) ended: bool,
    pub(super) reset: bool,
    pub(super) data: usize,
    seq: u32,
}

/// All frames of one direction of a tunnel.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: usize,
    calls: BTreeMap<u64, Seen>,
}

impl Watch {
    pub(super) fn call(&self, id: u64) -> Seen {
        self.calls.get(&id).copied().unwrap_or_default()
    }

    /// Follows the frames that were sent since; each must be in its place. An instance says nothing more
    /// after its end, a gateway may still grant credit and reset.
    pub(super) fn follow(&mut self, wires: &[Wire], silent_after_end: bool) {
        for wire in &wires[self.read..] {
            if wire.what != "call" {
                continue;
            }
            let seen = self.calls.entry(wire.id).or_default();
            assert!(!seen.reset, "after a reset: {wire:?}");
            assert!(!(seen.ended && silent_after_end), "after the end: {wire:?}");
            if wire.flags & HEAD != 0 {
                assert!(!seen.started, "a second start: {wire:?}");
                seen.started = true;
            }
            if wire.data > 0 {
                assert!(seen.started, "data before the start: {wire:?}");
                assert!(!seen.ended, "data after the end: {wire:?}");
                assert_eq!(wire.seq, seen.seq, "{wire:?}");
                seen.seq += 1;
                seen.data += wire.data;
            }
            if wire.flags & COMPLETE != 0 {
                assert!(!seen.ended, "a second end: {wire:?}");
                seen.ended = true;
            }
            seen.reset |= wire.flags & RESET != 0;
        }
        self.read = wires.len();
    }
}
