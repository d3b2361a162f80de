//! What a mutant does to the frames of requests.

use super::Mutant;
use super::answer::reset_of;
use super::edit;
use super::flags::{HALF_CLOSE, OPEN, RESET};
use super::spool::Spool;
use super::tamper::{Call, Frames, Method, Tamper, request, response};

use grpcrouter_proto::v1::{
    RegisterRequest, RpcCall, RpcResponse, register_request as up, register_response as down,
};

/// A request of more messages is reset, in [`Mutant::CountsMessages`].
const MANY: u32 = 10_000;
/// HTTP/2's code for what went wrong at the peer.
const INTERNAL_ERROR: u32 = 2;
/// Credit that no instance granted, in [`Mutant::Overspends`], in bytes.
const UNEARNED: u32 = 256 * 1024;

impl Tamper {
    /// A frame on its way to the instance.
    pub(super) fn call(&mut self, mut frame: RpcCall, out: &mut Frames) {
        let id = frame.request_id;
        if frame.flags & OPEN != 0 {
            self.open(&frame);
        }
        edit::call(self.mutant, &mut frame);
        let Some(call) = self.calls.get_mut(&id) else {
            return out.down.push(response(down::Frame::RpcCall(frame)));
        };
        call.asked.pass(&frame.data);
        call.half_closed |= frame.flags & HALF_CLOSE != 0;
        if !frame.data.is_empty() {
            call.came[0] += 1;
            call.credit -= frame.data.len() as i64;
        }
        let reset = frame.flags & RESET != 0;
        match self.mutant {
            Mutant::IgnoresCancel if reset => call.muted = true,
            Mutant::IgnoresDeadline if reset && call.has_deadline => call.muted = true,
            Mutant::LosesHalfClose if call.method == Method::Bidi && call.asked.begun == 1 => {
                frame.flags &= !HALF_CLOSE;
                self.pass_call(frame, out);
            }
            Mutant::CompletesMessages if frame.flags & HALF_CLOSE != 0 => {
                complete(&mut frame, call);
                self.pass_call(frame, out);
            }
            // Its instance never hears of it.
            Mutant::CutsCalls => {
                self.calls.remove(&id);
                out.up.push(request(up::Frame::RpcResponse(reset_of(
                    id,
                    INTERNAL_ERROR,
                ))));
            }
            Mutant::CountsMessages if call.asked.begun > MANY => self.cut(id, out),
            Mutant::Overspends if !reset && !call.done && is_upload(call) => {
                call.done = true;
                out.up.push(granted(id, UNEARNED));
                self.pass_call(frame, out);
            }
            Mutant::GrantsOnReceipt if !reset && call.method != Method::Other => {
                self.spool_call(frame, out);
            }
            Mutant::BuffersRequests if !reset => self.spool_call(frame, out),
            Mutant::BuffersResponses if !reset => {
                call.response.grant(std::mem::take(&mut frame.window));
                self.pass_call(frame, out);
                self.drain(id, out);
            }
            Mutant::StallsSiblings => {
                self.stalled.push_back(frame);
                self.release(out);
            }
            _ => self.pass_call(frame, out),
        }
    }

    fn open(&mut self, frame: &RpcCall) {
        let id = frame.request_id;
        let to_the_end = |mutant| self.mutant == mutant;
        let method = Method::of(&frame.method);
        let mut call = Call {
            method,
            request: Spool::new(self.windows[0], to_the_end(Mutant::BuffersRequests)),
            response: Spool::new(self.windows[1], to_the_end(Mutant::BuffersResponses)),
            credit: self.windows[0] as i64,
            has_deadline: frame.timeout_us > 0,
            _hoard: edit::hoard(self.mutant),
            ..Call::default()
        };
        // Calls of other kinds are too short to say which of them run at the same time.
        if self.mutant == Mutant::SwapsCalls && method == Method::Bidi {
            // One whose messages have come may be cancelled, and that not have come.
            let single = |(_, call): &(&u64, &mut Call)| {
                call.partner.is_none() && call.method == Method::Bidi && call.came[1] == 0
            };
            if let Some((other, partner)) = self.calls.iter_mut().find(single) {
                partner.partner = Some(id);
                call.partner = Some(*other);
            }
        }
        self.calls.insert(id, call);
    }

    /// Resets a call at both ends.
    fn cut(&mut self, id: u64, out: &mut Frames) {
        self.calls.remove(&id);
        out.up.push(request(up::Frame::RpcResponse(reset_of(
            id,
            INTERNAL_ERROR,
        ))));
        out.down.push(response(down::Frame::RpcCall(RpcCall {
            request_id: id,
            flags: RESET,
            reset_code: INTERNAL_ERROR,
            ..RpcCall::default()
        })));
    }

    /// Takes all of a request at once, and passes it on as the instance takes it.
    fn spool_call(&mut self, mut frame: RpcCall, out: &mut Frames) {
        let Some(call) = self.calls.get_mut(&frame.request_id) else {
            return;
        };
        let data = std::mem::take(&mut frame.data);
        if !data.is_empty() {
            call.request.push(&data);
            out.up.push(granted(frame.request_id, data.len() as u32));
        }
        call.request.ended |= frame.flags & HALF_CLOSE != 0;
        frame.flags &= !HALF_CLOSE;
        if frame.flags != 0 || frame.window > 0 {
            out.down.push(response(down::Frame::RpcCall(frame.clone())));
        }
        self.drain(frame.request_id, out);
    }

    /// Passes on what the other side takes by now.
    pub(super) fn drain(&mut self, id: u64, out: &mut Frames) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        while let Some(data) = call.request.next() {
            let frame = RpcCall {
                request_id: id,
                seq: call.went[0],
                data,
                ..RpcCall::default()
            };
            call.went[0] += 1;
            out.down.push(response(down::Frame::RpcCall(frame)));
        }
        if call.request.is_done() {
            call.request.ended = false;
            let end = RpcCall {
                request_id: id,
                flags: HALF_CLOSE,
                ..RpcCall::default()
            };
            out.down.push(response(down::Frame::RpcCall(end)));
        }
        while let Some(data) = call.response.next() {
            let frame = RpcResponse {
                request_id: id,
                seq: call.went[1],
                data,
                ..RpcResponse::default()
            };
            call.went[1] += 1;
            out.up.push(request(up::Frame::RpcResponse(frame)));
        }
        if call.response.is_done()
            && let Some(end) = call.held.take()
        {
            out.up.push(request(up::Frame::RpcResponse(end)));
            self.calls.remove(&id);
        }
    }

    fn pass_call(&mut self, frame: RpcCall, out: &mut Frames) {
        if frame.flags & RESET != 0 {
            self.calls.remove(&frame.request_id);
        }
        out.down.push(response(down::Frame::RpcCall(frame)));
    }

    /// What waits goes on, unless a call is without credit: then only what is its own.
    pub(super) fn release(&mut self, out: &mut Frames) {
        let dry = self.calls.iter().find(|(_, call)| call.credit <= 0);
        let dry = dry.map(|(id, _)| *id);
        for frame in std::mem::take(&mut self.stalled) {
            match dry {
                Some(id) if frame.request_id != id => self.stalled.push_back(frame),
                _ => self.pass_call(frame, out),
            }
        }
    }
}

/// Whether a request is a long one in messages of 16 KiB, which is how cases fill windows: there it shows for sure
/// that credit was overspent, and is not a race between sender and reader.
fn is_upload(call: &Call) -> bool {
    let long = |size: &usize| (16_000..17_000).contains(size);
    call.asked.first.len() == 2 && call.asked.first.iter().all(long)
}

/// Fills up the message within which a request ends.
fn complete(frame: &mut RpcCall, call: &Call) {
    let missing = call.asked.missing();
    if missing == 0 {
        return;
    }
    if frame.data.is_empty() {
        frame.seq = call.came[0];
    }
    frame.data = [&frame.data[..], &vec![0; missing]].concat().into();
}

/// Credit for a request.
fn granted(request_id: u64, window: u32) -> RegisterRequest {
    request(up::Frame::RpcResponse(RpcResponse {
        request_id,
        window,
        ..RpcResponse::default()
    }))
}
