//! What a mutant does to the frames of responses.

use std::ops::Range;

use bytes::Bytes;
use grpcrouter_proto::v1::{
    RpcCall, RpcResponse, register_request as up, register_response as down,
};

use super::Mutant;
use super::edit;
use super::flags::{COMPLETE, HEAD, REFUSED, RESET};
use super::tamper::{Frames, Method, Tamper, request, response};

/// From this frame with data on a stream is a long one.
const LONG: u32 = 100;
/// A frame with data up to so many bytes holds small messages; a message with fewer is a small one.
const SMALL: usize = 1024;
/// The first message that may be repeated, counted from 1.
const REPEATED: u32 = 500;
/// Credit that calls are given beyond their first window, in [`Mutant::LeaksCredit`], in bytes.
const LEAKS_AFTER: u32 = 2 << 20;
/// HTTP/2's code for what nobody wants any more.
const CANCEL: u32 = 8;

impl Tamper {
    /// A frame on its way to the gateway.
    pub(super) fn answer(&mut self, mut frame: RpcResponse, out: &mut Frames) {
        let id = frame.request_id;
        edit::response(self.mutant, &mut frame);
        let Some(call) = self.calls.get_mut(&id) else {
            return out.up.push(request(up::Frame::RpcResponse(frame)));
        };
        call.answered |= frame.flags != 0 || !frame.data.is_empty();
        call.came[1] += u32::from(!frame.data.is_empty());
        call.credit += i64::from(frame.window);
        let ends = frame.flags & (COMPLETE | RESET) != 0;
        let reset = frame.flags & RESET != 0;
        match self.mutant {
            _ if call.muted => {
                if ends {
                    self.calls.remove(&id);
                }
            }
            Mutant::SwapsCalls => {
                frame.request_id = call.partner.unwrap_or(id);
                out.up.push(request(up::Frame::RpcResponse(frame)));
                if ends {
                    self.calls.remove(&id);
                }
            }
            Mutant::GrantsOnReceipt | Mutant::BuffersRequests => {
                call.request.grant(std::mem::take(&mut frame.window));
                self.pass_answer(frame, out);
                self.drain(id, out);
            }
            Mutant::BuffersResponses if !reset => self.spool_answer(frame, out),
            Mutant::ResetsEarlyEnds
                if call.method == Method::ClientStream && !call.half_closed && ends && !reset =>
            {
                self.pass_answer(reset_of(id, CANCEL), out);
            }
            Mutant::HidesAborts if reset && frame.flags & REFUSED == 0 => {
                frame.flags = COMPLETE;
                self.pass_answer(frame, out);
            }
            Mutant::GluesHead
                if frame.flags == HEAD && frame.data.is_empty() && call.held.is_none() =>
            {
                call.held = Some(frame);
            }
            Mutant::Reorders if call.came[1] == LONG && is_small(&frame.data) && !ends => {
                call.held = Some(frame);
            }
            Mutant::WaitsForNext
                if call.came[1] > 1 && !frame.data.is_empty() && !ends && call.held.is_none() =>
            {
                call.held = Some(frame);
            }
            _ => self.pass_answer(frame, out),
        }
    }

    /// Takes all of a response at once, and passes it on as the gateway takes it.
    fn spool_answer(&mut self, mut frame: RpcResponse, out: &mut Frames) {
        let id = frame.request_id;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let data = std::mem::take(&mut frame.data);
        if !data.is_empty() {
            call.response.push(&data);
            let granted = RpcCall {
                request_id: id,
                window: data.len() as u32,
                ..RpcCall::default()
            };
            out.down.push(response(down::Frame::RpcCall(granted)));
        }
        if frame.flags & COMPLETE != 0 {
            call.response.ended = true;
            let mut end = frame.clone();
            end.flags = COMPLETE;
            end.metadata.clear();
            if frame.flags & HEAD == 0 || call.came[1] > 0 {
                call.held = Some(end);
                frame.flags &= !COMPLETE;
            } else {
                // Head and end in one frame, without data.
                call.held = Some(frame.clone());
                frame.flags = 0;
            }
        }
        if frame.flags != 0 || frame.window > 0 {
            out.up.push(request(up::Frame::RpcResponse(frame)));
        }
        self.drain(id, out);
    }

    fn pass_answer(&mut self, mut frame: RpcResponse, out: &mut Frames) {
        let id = frame.request_id;
        let Some(call) = self.calls.get_mut(&id) else {
            return out.up.push(request(up::Frame::RpcResponse(frame)));
        };
        let found = call.answers.pass(&frame.data);
        match self.mutant {
            Mutant::LeaksCredit => {
                frame.window = frame.window.min(LEAKS_AFTER - call.granted);
                call.granted += frame.window;
            }
            Mutant::DropsEmpty => drop_empty(&mut frame, &mut call.empty),
            Mutant::ClearsCompression => {
                let mut data = frame.data.to_vec();
                for flag in found.flags {
                    data[flag] = 0;
                }
                frame.data = data.into();
            }
            Mutant::Repeats if !call.done => {
                let late =
                    |(n, range): &&(u32, Range<usize>)| *n >= REPEATED && range.len() < SMALL;
                if let Some((_, range)) = found.whole.iter().find(late) {
                    let (start, end) = (range.start, range.end);
                    frame.data = [&frame.data[..end], &frame.data[start..]].concat().into();
                    call.done = true;
                }
            }
            _ => {}
        }
        let held = call.held.take();
        let ends = frame.flags & (COMPLETE | RESET) != 0;
        let mut all = Vec::new();
        match held {
            // It is overtaken.
            Some(held) if self.mutant == Mutant::Reorders && !ends => all.extend([frame, held]),
            Some(mut held) if self.mutant == Mutant::GluesHead => {
                held.data = frame.data;
                held.flags |= frame.flags;
                held.window += frame.window;
                (held.status, held.message, held.details, held.trailers) =
                    (frame.status, frame.message, frame.details, frame.trailers);
                all.push(held);
            }
            Some(held) => all.extend([held, frame]),
            None => all.push(frame),
        }
        for mut frame in all {
            if self.mutant.renumbers() {
                number(&frame.data, &mut frame.seq, &mut call.went[1]);
            }
            out.up.push(request(up::Frame::RpcResponse(frame)));
        }
        if ends {
            self.calls.remove(&id);
        }
        if self.mutant == Mutant::StallsSiblings {
            self.release(out);
        }
    }
}

/// Numbers a frame by what went before it.
fn number(data: &Bytes, seq: &mut u32, went: &mut u32) {
    if data.is_empty() {
        *seq = 0;
    } else {
        *seq = *went;
        *went += 1;
    }
}

/// The end of a call by its instance.
pub(super) fn reset_of(request_id: u64, reset_code: u32) -> RpcResponse {
    RpcResponse {
        request_id,
        flags: RESET,
        reset_code,
        ..RpcResponse::default()
    }
}

fn is_small(data: &Bytes) -> bool {
    (1..=SMALL).contains(&data.len())
}

/// Leaves out messages without bytes, after the first few.
fn drop_empty(frame: &mut RpcResponse, seen: &mut u32) {
    const EMPTY: &[u8] = &[0; 5];
    if frame.data.is_empty() || !frame.data.chunks(5).all(|message| message == EMPTY) {
        return;
    }
    let messages = (frame.data.len() / 5) as u32;
    let kept = messages.min(10_u32.saturating_sub(*seen));
    *seen += messages;
    frame.data.truncate(kept as usize * 5);
}
