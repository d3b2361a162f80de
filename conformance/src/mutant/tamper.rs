//! What a mutant does to the frames of one tunnel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grpcrouter_proto::v1::{
    Drain, Epoch, ErrorResponse, Heartbeat, InstanceInfo, RegisterRequest, RegisterResponse,
    RpcCall, RpcResponse, register_request as up, register_response as down,
};

use super::Mutant;
use super::edit;
use super::flags::{REFUSED, RESET};
use super::ids::Ids;
use super::messages::Messages;
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
    /// Ids of instances that have a tunnel.
    present: Mutex<BTreeSet<String>>,
}

/// The state of one tunnel.
#[derive(Debug)]
pub struct Tamper {
    pub(super) mutant: Mutant,
    common: Arc<Common>,
    pub(super) calls: BTreeMap<u64, Call>,
    /// Credit with which calls begin: of requests, of responses.
    pub(super) windows: [u64; 2],
    /// Its instance, where it was the first of this id.
    own: Option<String>,
    /// To the instance, behind a call that has no credit.
    pub(super) stalled: VecDeque<RpcCall>,
    ids: Ids,
}

/// What is known of a call.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) request: Spool,
    pub(super) response: Spool,
    /// The messages of its request, and of its response.
    pub(super) asked: Messages,
    pub(super) answers: Messages,
    /// Frames with data that came, and that went on: of requests, of responses.
    pub(super) came: [u32; 2],
    pub(super) went: [u32; 2],
    /// Of the request, in bytes: what may be sent, and what was granted beyond the first window.
    pub(super) credit: i64,
    pub(super) granted: u32,
    /// The request has ended.
    pub(super) half_closed: bool,
    /// The head of a response that waits for data, or a frame that waits for the next.
    pub(super) held: Option<RpcResponse>,
    /// The call whose answers it gets.
    pub(super) partner: Option<u64>,
    pub(super) has_deadline: bool,
    pub(super) answered: bool,
    /// Nothing of it goes to the gateway any more.
    pub(super) muted: bool,
    /// Messages without bytes, and frames that were left out with them.
    pub(super) empty: u32,
    pub(super) dropped: u32,
    /// What a mutant does once to a call it has done.
    pub(super) done: bool,
    /// Memory that is of no use.
    pub(super) _hoard: Vec<u8>,
}

/// Which of the probe's methods it is, where that matters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    #[default]
    Other,
    ClientStream,
    Bidi,
}

impl Method {
    pub(super) fn of(path: &str) -> Self {
        match path.rsplit_once('/') {
            Some((_, "ClientStream")) => Self::ClientStream,
            Some((_, "Bidi")) => Self::Bidi,
            _ => Self::Other,
        }
    }
}

impl Tamper {
    pub(super) fn new(mutant: Mutant, common: Arc<Common>) -> Self {
        Self {
            mutant,
            common,
            calls: BTreeMap::new(),
            windows: [0; 2],
            own: None,
            stalled: VecDeque::new(),
            ids: Ids::default(),
        }
    }

    /// A frame on its way to the instance.
    pub fn down(&mut self, frame: RegisterResponse) -> Frames {
        let mut out = Frames::default();
        match frame.frame {
            Some(down::Frame::RpcCall(mut call)) if self.mutant == Mutant::ReusesIds => {
                self.ids.call(&mut call);
                out.down.push(response(down::Frame::RpcCall(call)));
            }
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
            Some(up::Frame::InstanceInfo(info))
                if self.mutant == Mutant::RefusesLater && !self.is_first(&info.instance_id) =>
            {
                out.down.push(stale());
            }
            Some(up::Frame::InstanceInfo(info)) => {
                let info = self.registration(info);
                out.up.push(request(up::Frame::InstanceInfo(info)));
            }
            Some(up::Frame::Heartbeat(beat)) if self.mutant == Mutant::LosesHeartbeats => {
                out.down
                    .extend(pong(&beat).map(|beat| response(down::Frame::Heartbeat(beat))));
            }
            Some(up::Frame::Heartbeat(mut beat)) if self.mutant == Mutant::LosesHealth => {
                beat.services.clear();
                out.up.push(request(up::Frame::Heartbeat(beat)));
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
        if let Some(id) = self.own.take() {
            lock(&self.common.present).remove(&id);
        }
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

    /// Whether nobody of this id is here; from now on somebody is.
    fn is_first(&mut self, id: &str) -> bool {
        let first = lock(&self.common.present).insert(id.to_owned());
        if first {
            self.own = Some(id.to_owned());
        }
        first
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
            Mutant::SwapsKeys if !info.keys.is_empty() => {
                std::mem::swap(&mut *lock(&self.common.keys), &mut info.keys);
            }
            _ => {}
        }
        info
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to a registration that is not the latest.
fn stale() -> RegisterResponse {
    const ALREADY_EXISTS: u32 = 6;
    response(down::Frame::Error(ErrorResponse {
        code: ALREADY_EXISTS,
        reason: "stale-epoch".to_owned(),
        message: String::new(),
    }))
}

/// The answer to a question.
fn pong(beat: &Heartbeat) -> Option<Heartbeat> {
    (beat.nonce != 0).then(|| Heartbeat {
        nonce: 0,
        reply_to: beat.nonce,
        services: Vec::new(),
    })
}

pub(super) fn request(frame: up::Frame) -> RegisterRequest {
    RegisterRequest { frame: Some(frame) }
}

pub(super) fn response(frame: down::Frame) -> RegisterResponse {
    RegisterResponse { frame: Some(frame) }
}
