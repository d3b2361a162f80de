//! What a mutant does to the frames of one tunnel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use grpcrouter_proto::v1::{
    Drain, Epoch, Heartbeat, InstanceInfo, RegisterRequest, RegisterResponse, RpcCall, RpcResponse,
    register_request as up, register_response as down,
};

use super::Mutant;
use super::edit;
use super::flags::{COMPLETE, HALF_CLOSE, HEAD, OPEN, REFUSED, RESET};
use super::ids::Ids;
use super::spool::Spool;

/// What goes on in place of a frame, either way.
#[derive(Debug, Default)]
pub struct Frames {
    /// To the instance.
    pub down: Vec<RegisterResponse>,
    /// To the gateway.
    pub up: Vec<RegisterRequest>,
}

/// What all tunnels of a mutant have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    registrations: AtomicU64,
    keys: Mutex<Vec<String>>,
}

/// The state of one tunnel.
#[derive(Debug)]
pub struct Tamper {
    mutant: Mutant,
    common: Arc<Common>,
    calls: BTreeMap<u64, Call>,
    /// Credit with which calls begin: of requests, of responses.
    windows: [u64; 2],
    /// To the instance, behind a call that has no credit.
    stalled: VecDeque<RpcCall>,
    ids: Ids,
}

#[derive(Debug, Default)]
struct Call {
    request: Spool,
    response: Spool,
    /// Frames with data that came, and that went on: of requests, of responses.
    came: [u32; 2],
    went: [u32; 2],
    /// Of the request, in bytes.
    credit: i64,
    /// The head of a response that waits for data, or a frame that waits for the next.
    held: Option<RpcResponse>,
    /// The call whose answers it gets.
    partner: Option<u64>,
    has_deadline: bool,
    answered: bool,
    /// Nothing of it goes to the gateway any more.
    muted: bool,
    empty: u32,
    /// Memory that is of no use.
    _hoard: Vec<u8>,
}

/// From this frame with data on a stream is a long one.
const LONG: u32 = 100;
/// A frame with data up to so many bytes holds small messages.
const SMALL: usize = 1024;

impl Tamper {
    pub(super) fn new(mutant: Mutant, common: Arc<Common>) -> Self {
        Self {
            mutant,
            common,
            calls: BTreeMap::new(),
            windows: [0; 2],
            stalled: VecDeque::new(),
            ids: Ids::default(),
        }
    }

    /// A frame on its way to the instance.
    pub fn down(&mut self, frame: RegisterResponse) -> Frames {
        let mut out = Frames::default();
        match frame.frame {
            Some(down::Frame::RpcCall(call)) => self.call(call, &mut out),
            Some(down::Frame::Heartbeat(beat)) if self.mutant == Mutant::LosesHeartbeats => {
                out.up
                    .extend(pong(&beat).map(|beat| request(up::Frame::Heartbeat(beat))));
            }
            Some(down::Frame::Ack(ack)) => {
                self.windows[1] = u64::from(ack.call_window);
                out.down.push(response(down::Frame::Ack(ack)));
            }
            Some(other) => out.down.push(response(other)),
            None => {}
        }
        out
    }

    /// A frame on its way to the gateway.
    pub fn up(&mut self, frame: RegisterRequest) -> Frames {
        let mut out = Frames::default();
        match frame.frame {
            Some(up::Frame::RpcResponse(answer)) if self.mutant == Mutant::ReusesIds => {
                let answer = self.ids.answer(answer);
                out.up.push(request(up::Frame::RpcResponse(answer)));
            }
            Some(up::Frame::RpcResponse(answer)) => self.answer(answer, &mut out),
            Some(up::Frame::InstanceInfo(info)) => {
                let info = self.registration(info);
                out.up.push(request(up::Frame::InstanceInfo(info)));
            }
            Some(up::Frame::Heartbeat(beat)) if self.mutant == Mutant::LosesHeartbeats => {
                out.down
                    .extend(pong(&beat).map(|beat| response(down::Frame::Heartbeat(beat))));
            }
            Some(up::Frame::Unregister(_)) if self.mutant == Mutant::LosesDrain => {
                let drain = Drain {
                    reason: String::new(),
                    answer: true,
                };
                out.down.push(response(down::Frame::Drain(drain)));
            }
            Some(other) => out.up.push(request(other)),
            None => {}
        }
        out
    }

    /// The instance is gone: the last words to the gateway.
    pub fn instance_lost(&mut self) -> Vec<RegisterRequest> {
        if self.mutant != Mutant::RetriesUnsafely {
            return Vec::new();
        }
        let open = std::mem::take(&mut self.calls).into_iter();
        let silent = open.filter(|(_, call)| !call.answered);
        let refused = silent.map(|(request_id, _)| RpcResponse {
            request_id,
            flags: RESET | REFUSED,
            reset_code: 7,
            ..RpcResponse::default()
        });
        refused
            .map(|frame| request(up::Frame::RpcResponse(frame)))
            .collect()
    }

    fn registration(&mut self, mut info: InstanceInfo) -> InstanceInfo {
        self.windows[0] = u64::from(info.call_window);
        match self.mutant {
            Mutant::AcceptsStaleEpochs => {
                let attempt = self.common.registrations.fetch_add(1, Ordering::Relaxed);
                info.epoch = Some(Epoch {
                    started_us: 4_000_000_000_000_000,
                    attempt,
                });
            }
            Mutant::LogsTokens => edit::log(&info),
            Mutant::SwapsKeys => {
                let mut keys = self
                    .common
                    .keys
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut *keys, &mut info.keys);
            }
            _ => {}
        }
        info
    }

    fn call(&mut self, mut frame: RpcCall, out: &mut Frames) {
        if self.mutant == Mutant::ReusesIds {
            self.ids.call(&mut frame);
        }
        let id = frame.request_id;
        if frame.flags & OPEN != 0 {
            self.open(id, frame.timeout_us > 0);
        }
        edit::call(self.mutant, &mut frame);
        let Some(call) = self.calls.get_mut(&id) else {
            return out.down.push(response(down::Frame::RpcCall(frame)));
        };
        if !frame.data.is_empty() {
            call.came[0] += 1;
            call.credit -= frame.data.len() as i64;
        }
        let reset = frame.flags & RESET != 0;
        match self.mutant {
            Mutant::IgnoresCancel if reset => call.muted = true,
            Mutant::IgnoresDeadline if reset && call.has_deadline => call.muted = true,
            Mutant::LosesHalfClose
                if frame.flags == HALF_CLOSE && frame.data.is_empty() && call.came[0] > 1 =>
            {
                frame.flags = 0;
                self.pass_call(frame, out);
            }
            Mutant::GrantsOnReceipt | Mutant::BuffersRequests | Mutant::BuffersResponses
                if !reset =>
            {
                self.spool_call(frame, out);
            }
            Mutant::StallsSiblings => {
                self.stalled.push_back(frame);
                self.release(out);
            }
            _ => self.pass_call(frame, out),
        }
    }

    fn open(&mut self, id: u64, has_deadline: bool) {
        let to_the_end = |mutant| self.mutant == mutant;
        let mut call = Call {
            request: Spool::new(self.windows[0], to_the_end(Mutant::BuffersRequests)),
            response: Spool::new(self.windows[1], to_the_end(Mutant::BuffersResponses)),
            credit: self.windows[0] as i64,
            has_deadline,
            _hoard: edit::hoard(self.mutant),
            ..Call::default()
        };
        if self.mutant == Mutant::SwapsCalls {
            let single = |(_, call): &(&u64, &mut Call)| call.partner.is_none();
            if let Some((other, partner)) = self.calls.iter_mut().find(single) {
                partner.partner = Some(id);
                call.partner = Some(*other);
            }
        }
        self.calls.insert(id, call);
    }

    /// Takes all of a request at once, and passes it on as the instance takes it.
    fn spool_call(&mut self, mut frame: RpcCall, out: &mut Frames) {
        let Some(call) = self.calls.get_mut(&frame.request_id) else {
            return;
        };
        let data = std::mem::take(&mut frame.data);
        if !data.is_empty() {
            call.request.push(&data);
            let granted = RpcResponse {
                request_id: frame.request_id,
                window: data.len() as u32,
                ..RpcResponse::default()
            };
            out.up.push(request(up::Frame::RpcResponse(granted)));
        }
        call.request.ended |= frame.flags & HALF_CLOSE != 0;
        call.response.grant(std::mem::take(&mut frame.window));
        frame.flags &= !HALF_CLOSE;
        if frame.flags != 0 {
            out.down.push(response(down::Frame::RpcCall(frame.clone())));
        }
        self.drain(frame.request_id, out);
    }

    /// Passes on what the other side takes by now.
    fn drain(&mut self, id: u64, out: &mut Frames) {
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
    fn release(&mut self, out: &mut Frames) {
        let dry = self.calls.iter().find(|(_, call)| call.credit <= 0);
        let dry = dry.map(|(id, _)| *id);
        for frame in std::mem::take(&mut self.stalled) {
            match dry {
                Some(id) if frame.request_id != id => self.stalled.push_back(frame),
                _ => self.pass_call(frame, out),
            }
        }
    }

    fn answer(&mut self, mut frame: RpcResponse, out: &mut Frames) {
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
            Mutant::GrantsOnReceipt | Mutant::BuffersRequests | Mutant::BuffersResponses
                if !reset =>
            {
                self.spool_answer(frame, out);
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
        call.request.grant(std::mem::take(&mut frame.window));
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
        if frame.flags != 0 {
            out.up.push(request(up::Frame::RpcResponse(frame)));
        }
        self.drain(id, out);
    }

    fn pass_answer(&mut self, mut frame: RpcResponse, out: &mut Frames) {
        let id = frame.request_id;
        let Some(call) = self.calls.get_mut(&id) else {
            return out.up.push(request(up::Frame::RpcResponse(frame)));
        };
        match self.mutant {
            Mutant::Overspends => frame.window *= 2,
            Mutant::LeaksCredit => frame.window /= 2,
            Mutant::DropsEmpty => drop_empty(&mut frame, &mut call.empty),
            Mutant::ClearsCompression if frame.data.first() == Some(&1) => {
                let mut data = frame.data.to_vec();
                data[0] = 0;
                frame.data = data.into();
            }
            _ => {}
        }
        let held = call.held.take();
        let ends = frame.flags & (COMPLETE | RESET) != 0;
        let repeat = self.mutant == Mutant::Repeats
            && call.came[1] == LONG
            && is_small(&frame.data)
            && !ends;
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
            None if repeat => all.extend([frame.clone(), frame]),
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

/// The answer to a question.
fn pong(beat: &Heartbeat) -> Option<Heartbeat> {
    (beat.nonce != 0).then(|| Heartbeat {
        nonce: 0,
        reply_to: beat.nonce,
        services: Vec::new(),
    })
}

fn request(frame: up::Frame) -> RegisterRequest {
    RegisterRequest { frame: Some(frame) }
}

fn response(frame: down::Frame) -> RegisterResponse {
    RegisterResponse { frame: Some(frame) }
}
