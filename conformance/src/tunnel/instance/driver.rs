//! A well-behaved instance's tunnel: reads it always, answers at once, and runs its calls.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_proto::v1::{
    Heartbeat, InstanceInfo, RegisterRequest, RegisterResponse, RegistrationAck, RpcCall,
    RpcResponse, UnregisterRequest, register_request, register_response,
};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval_at;
use tower_service::Service;

use super::answer::{self, Answer};
use super::body::IncomingBody;
use super::calls::{Calls, RequestFlow, Wrong};
use super::served::{Order, Shared};
use crate::tunnel::lane::Lane;
use crate::tunnel::limits::or;
use crate::tunnel::stream::{Inbound, StreamEnd, decode};
use crate::tunnel::tap::Way;
use crate::tunnel::{flags, limits, part, request, reset};
use crate::wait::now;

/// What it needs to run.
pub(super) struct Driver<S> {
    pub(super) inbound: Inbound,
    pub(super) lane: Lane<RegisterRequest>,
    pub(super) service: S,
    pub(super) info: InstanceInfo,
    pub(super) ack: RegistrationAck,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Calls,
    pub(super) tasks: JoinSet<u64>,
    pub(super) drain: Drain,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// None was asked for.
    No,
    /// UnregisterRequest was sent: every OPEN is still served.
    Asked,
    /// The gateway sends no OPEN any more.
    Agreed,
    /// This side of the stream has ended.
    HalfClosed,
}

impl<S, B> Driver<S>
where
    S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display + Send,
{
    /// Runs to the end of the tunnel: how it ended.
    pub(super) async fn run(mut self) -> StreamEnd {
        let period = or(self.ack.heartbeat_interval_ms, limits::HEARTBEAT_MS);
        let period = Duration::from_millis(period.into());
        let mut beats = interval_at(now() + period, period);
        let mut silent_at = now() + 2 * period;
        loop {
            while let Some(message) = match self.inbound.ready() {
                Ok(message) => message,
                Err(end) => return self.ended(end).await,
            } {
                let frame = decode::<RegisterResponse>(&message);
                let handled = frame.and_then(|frame| self.frame(frame));
                if let Err(end) = handled {
                    return self.ended(end).await;
                }
            }
            if self.drain == Drain::Agreed && self.calls.len() == 0 {
                self.drain = Drain::HalfClosed;
                // The queue in front of the writer has frames of no call any more.
                self.lane.half_close().await;
            }
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Drain) => self.unregister(),
                    Some(Order::Health(services)) => self.beat(Heartbeat {
                        nonce: nonce(),
                        services,
                        ..Heartbeat::default()
                    }),
                    None => return self.ended(StreamEnd::Connection("dropped".to_owned())).await,
                },
                Some(done) = self.tasks.join_next() => if let Ok(id) = done {
                    self.calls.close(id);
                    self.shared.open(self.calls.len());
                },
                _ = beats.tick() => self.beat(Heartbeat { nonce: nonce(), ..Heartbeat::default() }),
                read = self.inbound.read() => match read {
                    Ok(()) => silent_at = now() + 2 * period,
                    Err(end) => return self.ended(end).await,
                },
                () = tokio::time::sleep_until(silent_at) => {
                    self.lane.reset(reset::CANCEL).await;
                    return self.ended(StreamEnd::Connection("silent for two intervals".to_owned())).await;
                }
            }
        }
    }

    fn frame(&mut self, frame: RegisterResponse) -> Result<(), StreamEnd> {
        self.shared.tap.saw(Way::Received, &frame);
        match frame.frame {
            Some(register_response::Frame::Heartbeat(heartbeat)) if heartbeat.nonce != 0 => {
                self.beat(Heartbeat {
                    reply_to: heartbeat.nonce,
                    ..Heartbeat::default()
                });
            }
            Some(register_response::Frame::Drain(_)) if self.drain != Drain::HalfClosed => {
                self.drain = Drain::Agreed;
            }
            Some(register_response::Frame::RpcCall(call)) => return self.call(call),
            Some(register_response::Frame::Ack(_)) => return self.fault("RegistrationAck twice"),
            // An error is the last frame: the stream's end follows. What is unknown is ignored.
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, call: RpcCall) -> Result<(), StreamEnd> {
        let id = call.request_id;
        let opened = self.calls.is_new(&call);
        if opened {
            let drained = !matches!(self.drain, Drain::No | Drain::Asked);
            if drained {
                self.shared.breach("OPEN after Drain");
            }
            let max = or(self.info.max_calls, limits::MAX_CALLS) as usize;
            if drained || self.calls.len() >= max {
                self.refuse(id);
                return Ok(());
            }
            self.open(&call);
        }
        match self.calls.frame(call, opened) {
            Ok(()) => Ok(()),
            Err(Wrong::Call(what)) => {
                self.shared.breach(what);
                Ok(())
            }
            Err(Wrong::Tunnel(what)) => self.fault(what),
        }
    }

    fn open(&mut self, call: &RpcCall) {
        let id = call.request_id;
        let own = or(self.info.max_metadata, limits::MAX_METADATA);
        let peers = or(self.ack.max_metadata, limits::MAX_METADATA);
        let window = or(self.info.call_window, limits::CALL_WINDOW);
        let credit = or(self.ack.call_window, limits::CALL_WINDOW);
        let flow = Arc::new(RequestFlow::new(credit, window));
        self.calls.open(id, flow.clone());
        self.shared.open(self.calls.len());
        let answer = Answer {
            id,
            flow,
            lane: self.lane.clone(),
            window,
            max_metadata: own.min(peers) as usize,
            max_frame: or(self.ack.max_frame, limits::MAX_FRAME) as usize,
            seq: 0,
        };
        let mut open = call.clone();
        open.data = Bytes::new();
        let service = self.service.clone();
        self.tasks.spawn(async move {
            answer::run(answer, service, open).await;
            id
        });
    }

    /// A call that no handler has seen.
    fn refuse(&mut self, id: u64) {
        self.calls.ended(id);
        let refusal = RpcResponse {
            request_id: id,
            flags: flags::RESET | flags::REFUSED,
            reset_code: reset::REFUSED_STREAM,
            ..RpcResponse::default()
        };
        let lane = self.lane.clone();
        // The tunnel is read on meanwhile.
        self.tasks.spawn(async move {
            let _ = lane.frame(part(refusal)).await;
            id
        });
    }

    fn unregister(&mut self) {
        if self.drain != Drain::No {
            return;
        }
        self.drain = Drain::Asked;
        let unregister = UnregisterRequest {
            reason: "the suite asks for it".to_owned(),
        };
        self.lane
            .urgent(request(register_request::Frame::Unregister(unregister)));
    }

    fn beat(&self, heartbeat: Heartbeat) {
        self.lane
            .urgent(request(register_request::Frame::Heartbeat(heartbeat)));
    }

    fn fault(&self, what: &'static str) -> Result<(), StreamEnd> {
        self.shared.breach(what);
        Err(StreamEnd::Malformed(what.to_owned()))
    }

    /// The tunnel is over: so is every call.
    async fn ended(mut self, end: StreamEnd) -> StreamEnd {
        if let StreamEnd::Malformed(_) = end {
            self.lane.reset(reset::PROTOCOL_ERROR).await;
        }
        self.calls.lose();
        self.tasks.shutdown().await;
        self.shared.open(0);
        end
    }
}

/// A fresh nonce, not 0.
fn nonce() -> u64 {
    fastrand::u64(1..)
}
