//! One instance at a naive gateway: its tunnel is read always, and what comes goes to the calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_proto::v1::{
    Drain, HealthStatus, Heartbeat, InstanceInfo, RegisterRequest, RegisterResponse,
    RegistrationAck, RpcCall, RpcResponse, ServiceInfo, register_request, register_response,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::interval_at;

use super::registry::{Entered, Registry};
use super::{Registered, ack, error, status};
use crate::tunnel::flow::Flow;
use crate::tunnel::lane::{Lane, lane};
use crate::tunnel::limits::{self, or};
use crate::tunnel::stream::{Inbound, StreamEnd, abort, decode};
use crate::tunnel::tap::{Tap, Way};
use crate::tunnel::{flags, response};
use crate::wait::now;

/// How long the end of a stream may take to reach the transport.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An answer as it comes.
pub(super) type ResponseFlow = Flow<Part, ResponseEnd>;

/// What an instance says of a call, in order.
#[derive(Debug)]
pub(super) enum Part {
    Head(RpcResponse),
    Data(Bytes),
}

/// How an answer ends.
#[derive(Debug, Clone)]
pub(super) enum ResponseEnd {
    Complete(Box<RpcResponse>),
    Reset(u32),
    Refused,
    Lost,
}

/// A call at an instance. Dropping it forgets the call: what still comes for it is ignored.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: Arc<Peer>,
    pub(super) id: u64,
    pub(super) flow: Arc<ResponseFlow>,
}

/// Why an instance that was picked gets no call.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoCall {
    /// It drains, or its tunnel is over.
    Gone,
    /// It runs as many as it may.
    Full,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(calls) = self.peer.calls().as_mut() {
            calls.remove(&self.id);
        }
    }
}

/// An instance that is registered.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) info: InstanceInfo,
    pub(super) tap: Tap,
    pub(super) lane: Lane<RegisterResponse>,
    health: Mutex<BTreeMap<String, i32>>,
    /// None once the tunnel is over.
    calls: Mutex<Option<BTreeMap<u64, Arc<ResponseFlow>>>>,
    next_id: AtomicU64,
    draining: AtomicBool,
    /// Held while a call is opened or a drain said, so that no OPEN comes behind Drain.
    gate: tokio::sync::Mutex<()>,
    superseded: Notify,
}

/// Serves one tunnel to its end.
pub(super) async fn run(registered: Registered, registry: Arc<Registry>) {
    let Registered { info, stream } = registered;
    let connection = stream.connection.clone();
    let (lane, writer) = lane(stream.outbound, stream.tap.clone());
    let writer = tokio::spawn(writer);
    let health = info.services.iter();
    let peer = Arc::new(Peer {
        health: Mutex::new(health.map(|own| (own.name.clone(), own.health)).collect()),
        info,
        tap: stream.tap,
        lane,
        calls: Mutex::new(Some(BTreeMap::new())),
        next_id: AtomicU64::new(fastrand::u64(..)),
        draining: AtomicBool::new(false),
        gate: tokio::sync::Mutex::default(),
        superseded: Notify::new(),
    });
    let settings = registry.settings();
    // In the queue before the registry knows it: nothing goes before it.
    let acknowledged = peer.gate.lock().await;
    match registry.enter(&peer) {
        Entered::Stale => peer.refuse(6, "stale-epoch").await,
        entered => {
            if let Entered::Replaces(old) = entered {
                old.superseded.notify_one();
            }
            let ack = RegistrationAck {
                call_window: settings.call_window,
                heartbeat_interval_ms: settings.heartbeat_ms,
                ..ack()
            };
            let sent = peer
                .lane
                .frame(response(register_response::Frame::Ack(ack)))
                .await;
            drop(acknowledged);
            if sent.is_ok() {
                peer.serve(stream.inbound, settings.heartbeat_ms).await;
            }
            registry.leave(&peer);
            peer.lose();
        }
    }
    if tokio::time::timeout(LAST_WORDS, writer).await.is_err() {
        let _ = abort(&connection).await;
    }
}

impl Peer {
    pub(super) fn declares(&self, service: &str) -> bool {
        self.info.services.iter().any(|own| own.name == service)
    }

    pub(super) fn is_healthy(&self, service: &str) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let own = health.get(service).or_else(|| health.get("*"));
        let takes = [HealthStatus::Unknown as i32, HealthStatus::Healthy as i32];
        own.is_some_and(|own| takes.contains(own))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn calls_open(&self) -> usize {
        self.calls().as_ref().map_or(0, BTreeMap::len)
    }

    /// Opens a call, unless the instance drains or runs as many as it may. The frame gets its id here.
    pub(super) async fn open(
        self: &Arc<Self>,
        mut open: RpcCall,
        window: u32,
    ) -> Result<Opened, NoCall> {
        let _gate = self.gate.lock().await;
        if self.is_draining() {
            return Err(NoCall::Gone);
        }
        let credit = or(self.info.call_window, limits::CALL_WINDOW);
        let flow = Arc::new(ResponseFlow::new(credit, window));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let max = or(self.info.max_calls, limits::MAX_CALLS) as usize;
        match self.calls().as_mut() {
            None => return Err(NoCall::Gone),
            Some(calls) if calls.len() >= max => return Err(NoCall::Full),
            Some(calls) => calls.insert(id, flow.clone()),
        };
        let opened = Opened {
            peer: self.clone(),
            id,
            flow,
        };
        open.request_id = id;
        opened.send(open).await.map_err(|_| NoCall::Gone)?;
        Ok(opened)
    }

    /// Says that no OPEN comes any more: by itself, or as the answer to UnregisterRequest.
    pub(super) async fn drain(&self, answer: bool) {
        let _gate = self.gate.lock().await;
        self.draining.store(true, Ordering::Release);
        let drain = Drain {
            reason: String::new(),
            answer,
        };
        // Where the tunnel is gone there is nothing to drain.
        let _ = self
            .lane
            .frame(response(register_response::Frame::Drain(drain)))
            .await;
    }

    async fn serve(self: &Arc<Self>, mut inbound: Inbound, heartbeat_ms: u32) {
        let period = Duration::from_millis(or(heartbeat_ms, limits::HEARTBEAT_MS).into());
        let mut beats = interval_at(now() + period, period);
        let mut silent_at = now() + 2 * period;
        // What must not keep the tunnel from being read.
        let mut tasks = JoinSet::new();
        loop {
            loop {
                let ready = inbound.ready();
                let frame = match ready {
                    Ok(None) => break,
                    Ok(Some(message)) => decode::<RegisterRequest>(&message),
                    Err(end) => Err(end),
                };
                let Ok(frame) = frame else {
                    return self.refuse(13, "protocol-error").await;
                };
                self.frame(frame, &mut tasks);
            }
            tokio::select! {
                biased;
                () = self.superseded.notified() => return self.refuse(10, "superseded").await,
                Some(_) = tasks.join_next() => {}
                _ = beats.tick() => self.beat(Heartbeat {
                    nonce: fastrand::u64(1..),
                    ..Heartbeat::default()
                }),
                read = inbound.read() => match read {
                    Ok(()) => silent_at = now() + 2 * period,
                    Err(StreamEnd::HalfClosed) if self.is_draining() && self.has_ended_all() => {
                        return self.lane.trailers(status(0)).await;
                    }
                    Err(_) => {
                        return self.lane.trailers(status(14)).await;
                    }
                },
                () = tokio::time::sleep_until(silent_at) => {
                    return self.refuse(14, "heartbeat-lost").await;
                }
            }
        }
    }

    fn frame(self: &Arc<Self>, frame: RegisterRequest, tasks: &mut JoinSet<()>) {
        self.tap.saw(Way::Received, &frame);
        match frame.frame {
            Some(register_request::Frame::Heartbeat(heartbeat)) => {
                self.reported(heartbeat.services);
                if heartbeat.nonce != 0 {
                    self.beat(Heartbeat {
                        reply_to: heartbeat.nonce,
                        ..Heartbeat::default()
                    });
                }
            }
            Some(register_request::Frame::Unregister(_)) => {
                let peer = self.clone();
                tasks.spawn(async move { peer.drain(true).await });
            }
            Some(register_request::Frame::RpcResponse(part)) => self.part(part),
            _ => {}
        }
    }

    /// What an instance says is believed, whatever it is.
    fn part(&self, mut part: RpcResponse) {
        let calls = self.calls();
        let flow = calls.as_ref().and_then(|calls| calls.get(&part.request_id));
        let Some(flow) = flow.cloned() else {
            return;
        };
        drop(calls);
        if part.flags & flags::RESET != 0 {
            flow.silence();
            flow.cut(match part.flags & flags::REFUSED != 0 {
                true => ResponseEnd::Refused,
                false => ResponseEnd::Reset(part.reset_code),
            });
            return;
        }
        if part.window > 0 {
            flow.grant(part.window);
        }
        let data = std::mem::take(&mut part.data);
        let complete = part.flags & flags::COMPLETE != 0;
        if part.flags & flags::HEAD != 0 {
            flow.push(Part::Head(part.clone()));
        }
        if !data.is_empty() {
            flow.push(Part::Data(data));
        }
        if complete {
            flow.silence();
            flow.end(ResponseEnd::Complete(Box::new(part)));
        }
    }

    fn reported(&self, services: Vec<ServiceInfo>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        for service in services {
            if let Some(own) = health.get_mut(&service.name) {
                *own = service.health;
            }
        }
    }

    fn beat(&self, heartbeat: Heartbeat) {
        self.lane
            .urgent(response(register_response::Frame::Heartbeat(heartbeat)));
    }

    async fn refuse(&self, code: u32, reason: &str) {
        let error = self.lane.frame(error(code, reason, ""));
        if tokio::time::timeout(LAST_WORDS, error).await.is_ok() {
            self.lane.trailers(status(code)).await;
        }
    }

    /// Whether the instance has ended each of its calls, though clients may still be reading.
    fn has_ended_all(&self) -> bool {
        let calls = self.calls();
        let mut flows = calls.iter().flat_map(BTreeMap::values);
        flows.all(|flow| flow.over().load(Ordering::Acquire))
    }

    /// The tunnel is over: so is every call that its instance has not ended.
    fn lose(&self) {
        self.draining.store(true, Ordering::Release);
        for flow in self.calls().take().unwrap_or_default().values() {
            if !flow.over().load(Ordering::Acquire) {
                flow.silence();
                flow.cut(ResponseEnd::Lost);
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, Option<BTreeMap<u64, Arc<ResponseFlow>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
