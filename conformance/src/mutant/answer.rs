//! What a mutant does to the frames of responses.

use grpcrouter_proto::v1::{
    RpcCall, RpcResponse, register_request as up, register_response as down,
};

use super::Mutant;
use super::content::{self, Holds};
use super::edit;
use super::flags::{COMPLETE, HEAD, REFUSED, RESET};
use super::tamper::{Frames, Method, Tamper, request, response};

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
        // A head says nothing yet of what the handler has done.
        call.answered |= frame.flags & !HEAD != 0 || !frame.data.is_empty();
        call.came[1] += u32::from(!frame.data.is_empty());
        call.credit += i64::from(frame.window);
        let ends = frame.flags & (COMPLETE | RESET) != 0;
        let reset = frame.flags & RESET != 0;
        let holds = content::change(self.mutant, &mut frame, call);
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
            // As requests: those that are streams, and all of them.
            Mutant::GrantsOnReceipt if call.method == Method::Other => {
                self.pass_answer(frame, out);
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
            Mutant::Reorders if holds == Holds::LateOne && !ends && !call.done => {
                call.done = true;
                call.held = Some(frame);
            }
            // A frame with parts of messages is none that could be waited for.
            Mutant::WaitsForNext
                if call.came[1] > 1 && holds != Holds::Other && !ends && call.held.is_none() =>
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
        let held = call.held.take();
        let ends = frame.flags & (COMPLETE | RESET) != 0;
        let mut all = Vec::new();
        match held {
            // It is overtaken, by what has data too.
            Some(held) if self.mutant == Mutant::Reorders && frame.data.is_empty() && !ends => {
                call.held = Some(held);
                all.push(frame);
            }
            Some(mut held) if self.mutant == Mutant::Reorders && !ends => {
                std::mem::swap(&mut held.seq, &mut frame.seq);
                all.extend([frame, held]);
            }
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
        let all = all.into_iter().map(up::Frame::RpcResponse);
        out.up.extend(all.map(request));
        if ends {
            self.calls.remove(&id);
        }
        if self.mutant == Mutant::StallsSiblings {
            self.release(out);
        }
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
