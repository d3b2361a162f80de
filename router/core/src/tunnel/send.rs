//! What leaves a tunnel: frames into the lanes, batches out of them.

use bytes::Bytes;
use grpcrouter_proto::v1::Heartbeat;
use http::{HeaderMap, HeaderName};

use crate::call::{Over, SendState};
use crate::config::{CHUNK, SMALL};
use crate::error::{Breach, CallFault, OpenError};
use crate::frame::{Flags, FrameHeader};
use crate::metadata::entry_size;
use crate::sabotage::{self, Sabotage};
use crate::table::Key;
use crate::time::Time;

use super::{Batch, Phase, Role, Tunnel, reset_code};

/// A batch holds all of the first lane and about this much of the second, in bytes.
const BULK_PER_BATCH: usize = 32 * 1024;

/// What a frame keeps free of metadata: room for a chunk, its header and some more, in bytes.
const FRAME_RESERVE: usize = 24 * 1024;

/// A part of a call to be sent. The fields of its START and END, encoded, stand in `Tunnel::fields`,
/// the END's from `end_at` on.
pub(super) struct Part {
    pub(super) start: bool,
    pub(super) data: Bytes,
    pub(super) end: Option<usize>,
}

impl<R: Role> Tunnel<R> {
    /// Whether there is anything for [`Tunnel::poll_transmit`] to give.
    pub fn has_transmit(&self) -> bool {
        let due = !self.grants.is_empty() || self.keepalive.is_due();
        !self.lanes.is_empty() || self.handover.is_due() || (due && self.phase != Phase::Closed)
    }

    /// The next bytes for the transport: everything in the first lane and a share of the second. Ask
    /// again as long as the transport has room; `None` when nothing is left.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Batch> {
        if self.phase != Phase::Closed {
            self.write_heartbeat(now);
            self.write_grants(now);
        }
        if self.lanes.is_empty() && !self.handover.is_due() {
            return None;
        }
        let mut batch = self.lanes.begin_batch();
        let mut bulk = 0;
        while bulk < BULK_PER_BATCH
            && let Some(key) = self.lanes.next_in_turn()
        {
            bulk += self.write_chunk(&mut batch, key);
        }
        self.write_descriptors();
        self.lanes.end_batch(&mut batch);
        self.meters.sent += batch.len() as u64;
        (!batch.is_empty()).then_some(batch)
    }

    /// Whether data may be sent on a call: it goes on, and its messages keep to their limit. Past the limit
    /// the call fails.
    pub(super) fn admit(&mut self, key: Key, data: &[u8]) -> bool {
        let Some(call) = self.calls.get_mut(key) else {
            return false;
        };
        if !call.takes_parts() {
            return false;
        }
        let limit = call.send.limit.as_mut();
        if let Err(fault) = limit.map_or(Ok(()), |limit| limit.check(data)) {
            self.abort(key, CallFault::TooLarge(fault));
            return false;
        }
        true
    }

    /// Holds a list of metadata to what both sides take. To send more than the peer takes would be a
    /// breach.
    pub(super) fn check_metadata(
        &self,
        headers: &HeaderMap,
        is_forwarded: fn(&HeaderName) -> bool,
    ) -> Result<(), OpenError> {
        let own = headers.iter().filter(|(name, _)| is_forwarded(name));
        let size = own
            .map(|(name, value)| entry_size(name.as_str().len(), value.len()))
            .sum();
        let max = self.config.max_metadata.min(self.peer.max_metadata);
        if size > max {
            return Err(OpenError::MetadataTooLarge { size, max });
        }
        Ok(())
    }

    /// Holds the encoded fields of one frame to what the peer's longest frame has room for beside data.
    pub(super) fn check_fields(&self, size: usize) -> Result<(), OpenError> {
        let max = self.peer.max_frame as usize - FRAME_RESERVE;
        if size > max {
            return Err(OpenError::MetadataTooLarge { size, max });
        }
        Ok(())
    }

    /// Sends a part of a call: at once where it is small and nothing stands before it, else as credit
    /// and turn allow.
    pub(super) fn push(&mut self, key: Key, part: Part) {
        let mut fields = std::mem::take(&mut self.fields);
        self.push_fields(key, part, &fields);
        fields.clear();
        self.fields = fields;
    }

    fn push_fields(&mut self, key: Key, part: Part, fields: &[u8]) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if !call.takes_parts() {
            return;
        }
        let room = self.lanes.queued() < self.config.tunnel_queue;
        let small = part.data.len() <= SMALL && part.data.len() <= call.send.window.available();
        let first = call.send.queue.is_empty() || sabotage::is(Sabotage::LanesReordered);
        let at_once = first && (part.data.is_empty() || (small && room));
        let end_at = part.end.unwrap_or(fields.len());
        let id = call.id;
        if part.start {
            call.send.state = SendState::Open;
        }
        let lost = part.end.is_some() && part.data.is_empty() && !part.start && !R::RESPONDS;
        if lost && sabotage::is(Sabotage::HalfCloseLost) {
            return;
        }
        if at_once {
            let flags = flags(part.start, part.end.is_some());
            if flags == Flags::NONE && part.data.is_empty() {
                return;
            }
            let seq = call.send.next_data(part.data.len());
            let header = FrameHeader {
                id,
                flags,
                seq,
                ..FrameHeader::default()
            };
            self.lanes.frame(&header, fields, &part.data);
            if part.end.is_some() {
                self.end_sent(key);
            }
            return;
        }
        if part.start {
            let header = FrameHeader {
                id,
                flags: flags(true, false),
                ..FrameHeader::default()
            };
            self.lanes.frame(&header, &fields[..end_at], &[]);
        }
        call.send.queue.push(part.data);
        if part.end.is_some() && sabotage::is(Sabotage::EndBeforeData) {
            let header = FrameHeader {
                id,
                flags: flags(false, true),
                ..FrameHeader::default()
            };
            self.lanes.frame(&header, &fields[end_at..], &[]);
            return self.end_sent(key);
        }
        if part.end.is_some() {
            call.send.state = SendState::Ending;
            call.send.end = Some(Bytes::copy_from_slice(&fields[end_at..]));
        }
        self.enlist(key);
    }

    /// Gives a call its place in the second lane, if it can use it.
    pub(super) fn enlist(&mut self, key: Key) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        self.meters.look_at(&mut call.send);
        if call.send.sendable() && !std::mem::replace(&mut call.send.in_lane, true) {
            self.lanes.enlist(key);
        }
    }

    /// Sends one chunk of the call whose turn it is. Returns its length in bytes.
    fn write_chunk(&mut self, batch: &mut Batch, key: Key) -> usize {
        let Some(call) = self.calls.get_mut(key) else {
            return 0;
        };
        call.send.in_lane = false;
        if !call.send.sendable() {
            return 0;
        }
        let mut data = call.send.queue.pop(CHUNK.min(call.send.window.available()));
        if sabotage::is(Sabotage::ByteFlipped) {
            data = sabotage::flipped(&data);
        }
        if sabotage::is(Sabotage::ChunkDropped) && data.len() == CHUNK {
            call.send.window.spend(data.len());
            call.send.passed += data.len();
            self.enlist(key);
            self.tell_writable(key);
            return CHUNK;
        }
        let twice =
            sabotage::is(Sabotage::ChunkTwice) && data.len() <= call.send.window.available() / 2;
        if twice {
            let header = FrameHeader {
                id: call.id,
                seq: call.send.next_data(data.len()),
                ..FrameHeader::default()
            };
            self.lanes.chunk(batch, &header, &[], data.clone());
        }
        let seq = call.send.next_data(data.len());
        let end = call
            .send
            .queue
            .is_empty()
            .then(|| call.send.end.take())
            .flatten();
        let header = FrameHeader {
            id: call.id,
            flags: flags(false, end.is_some()),
            seq,
            ..FrameHeader::default()
        };
        let len = data.len();
        self.lanes
            .chunk(batch, &header, end.as_deref().unwrap_or_default(), data);
        if end.is_some() {
            self.end_sent(key);
        }
        self.enlist(key);
        self.tell_writable(key);
        len
    }

    fn end_sent(&mut self, key: Key) {
        if R::RESPONDS {
            self.finish(key, Over::ByUs);
        } else if let Some(call) = self.calls.get_mut(key) {
            call.send.state = SendState::Ended;
        }
    }

    pub(super) fn write_reset(&mut self, id: u64, code: u32, refused: bool) {
        if sabotage::is(Sabotage::ResetLost) && !refused {
            return;
        }
        let flags = if refused {
            Flags::RESET | Flags::REFUSED
        } else {
            Flags::RESET
        };
        let header = FrameHeader {
            id,
            flags,
            reset_code: code,
            ..FrameHeader::default()
        };
        self.lanes.frame(&header, &[], &[]);
    }

    fn write_heartbeat(&mut self, now: Time) {
        if let Some((nonce, reply_to)) = self.keepalive.take_due(now) {
            R::heartbeat(
                self,
                Heartbeat {
                    nonce,
                    reply_to,
                    services: Vec::new(),
                },
            );
        }
    }

    fn write_grants(&mut self, now: Time) {
        let growth = self.growth(now);
        while let Some(key) = self.grants.pop_front() {
            let Some(call) = self.calls.get_mut(key) else {
                continue;
            };
            call.recv.grant_due = false;
            if !call.takes_credit() {
                continue;
            }
            let window = call.recv.window.take_grant(now, growth);
            let header = FrameHeader {
                id: call.id,
                window,
                ..FrameHeader::default()
            };
            if window > 0 {
                self.lanes.frame(&header, &[], &[]);
            }
        }
    }

    /// Ends a call for a fault found here, and tells the peer.
    pub(super) fn abort(&mut self, key: Key, fault: CallFault) {
        let code = match &fault {
            CallFault::Breach(Breach::Overspent(_) | Breach::WindowOverflow(_)) => {
                reset_code::FLOW_CONTROL_ERROR
            }
            CallFault::Breach(_) => reset_code::PROTOCOL_ERROR,
            CallFault::TooLarge(_) => reset_code::ENHANCE_YOUR_CALM,
            _ => reset_code::CANCEL,
        };
        self.fail(key, fault);
        self.reset(key, code);
    }
}

fn flags(start: bool, end: bool) -> Flags {
    let mut flags = Flags::default();
    if start {
        flags |= Flags::OPEN;
    }
    if end {
        flags |= Flags::HALF_CLOSE;
    }
    flags
}
