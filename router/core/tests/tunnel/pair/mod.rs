//! A gateway's and an instance's end of one tunnel, joined by a network in memory, in virtual time.

mod end;
mod link;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::Key;
use grpcrouter_core::frame::Open;
use grpcrouter_core::tunnel::{
    CallRequest, GatewayEvent, InstanceEvent, Phase, ResponseHead, Tunnel,
};
use grpcrouter_core::{Config, Gateway, Instance, OpenError, Time};
use grpcrouter_proto::v1;
use http::{HeaderMap, HeaderValue};

pub(crate) use end::End;
pub(crate) use wire::{COMPLETE, HALF_CLOSE, HEAD, OPEN, REFUSED, RESET, Wire, framed};

/// Two ends of a tunnel and the network between them. Frames take `latency` each way.
pub(crate) struct Pair {
    pub(crate) time: Time,
    pub(crate) latency: Duration,
    pub(crate) gateway: End<Gateway>,
    pub(crate) instance: End<Instance>,
    /// Whether the gateway answers a registration by itself.
    pub(crate) accepts: bool,
}

/// A call as both ends know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both {
    pub(crate) gateway: Key,
    pub(crate) instance: Key,
}

impl Pair {
    /// Registered, with the settings as they come.
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    /// Registered, with these settings of the gateway and of the instance.
    pub(crate) fn with(gateway: Config, instance: Config) -> Self {
        let mut pair = Self::unregistered(gateway, instance);
        pair.drive();
        assert_eq!(pair.gateway.tunnel.phase(), Phase::Live, "registered");
        assert_eq!(pair.instance.tunnel.phase(), Phase::Live, "registered");
        pair
    }

    /// As `with`, both ends with the same settings.
    pub(crate) fn with_both(config: &Config) -> Self {
        Self::with(config.clone(), config.clone())
    }

    /// Before the first frame.
    pub(crate) fn unregistered(gateway: Config, instance: Config) -> Self {
        Self::registering(gateway, instance, v1::InstanceInfo::default())
    }

    /// Before the first frame of an instance that announces descriptors.
    pub(crate) fn announcing(gateway: Config, set: v1::DescriptorSetInfo) -> Self {
        let info = v1::InstanceInfo {
            descriptors: Some(set),
            ..v1::InstanceInfo::default()
        };
        Self::registering(gateway, Config::default(), info)
    }

    fn registering(gateway: Config, instance: Config, info: v1::InstanceInfo) -> Self {
        let time = Time::from_micros(1_000_000);
        let info = v1::InstanceInfo {
            instance_id: "i".into(),
            ..info
        };
        Self {
            time,
            // A round trip of 1 ms: too short for windows to grow.
            latency: Duration::from_micros(500),
            gateway: End::new(Tunnel::<Gateway>::new(time, gateway)),
            instance: End::new(Tunnel::<Instance>::new(time, instance, info)),
            accepts: true,
        }
    }

    /// Until nothing is under way; time passes only as far as frames need it.
    pub(crate) fn drive(&mut self) {
        loop {
            self.settle();
            match self.next_arrival() {
                Some(at) => self.time = at,
                None => return,
            }
        }
    }

    /// Everything that happens up to `until`, heartbeats included.
    pub(crate) fn drive_until(&mut self, until: Time) {
        loop {
            self.settle();
            let timers = [
                self.gateway.tunnel.poll_timeout(),
                self.instance.tunnel.poll_timeout(),
            ];
            let next = timers.into_iter().flatten().chain(self.next_arrival());
            match next.min().filter(|at| *at <= until) {
                Some(at) => self.time = self.time.max(at),
                None => break,
            }
        }
        self.time = until;
        self.settle();
    }

    /// As `drive_until`, for a length of time.
    pub(crate) fn drive_for(&mut self, length: Duration) {
        self.drive_until(self.time + length);
    }

    /// Does what is due now, at both ends, until nothing is.
    fn settle(&mut self) {
        loop {
            let mut moved = self.gateway.step(self.time);
            moved |= self.instance.step(self.time);
            if self.accepts && self.gateway.take_registering() {
                self.gateway
                    .tunnel
                    .accept(self.time, "g".into(), Vec::new());
                moved = true;
            }
            moved |= self.gateway.transmit(self.time, self.latency);
            moved |= self.instance.transmit(self.time, self.latency);
            for bytes in self.gateway.link.arrived(self.time) {
                self.instance.tunnel.handle_bytes(self.time, bytes);
                moved = true;
            }
            for bytes in self.instance.link.arrived(self.time) {
                self.gateway.tunnel.handle_bytes(self.time, bytes);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn next_arrival(&self) -> Option<Time> {
        let links = [&self.gateway.link, &self.instance.link];
        links.iter().filter_map(|link| link.next_arrival()).min()
    }

    /// The gateway's end reads a frame that only a hostile instance would send.
    pub(crate) fn gateway_reads(&mut self, frame: v1::register_request::Frame) {
        let bytes = framed(&v1::RegisterRequest { frame: Some(frame) });
        self.gateway.tunnel.handle_bytes(self.time, bytes);
        self.gateway.step(self.time);
    }

    /// The instance's end reads a frame that only a hostile gateway would send.
    pub(crate) fn instance_reads(&mut self, frame: v1::register_response::Frame) {
        let bytes = framed(&v1::RegisterResponse { frame: Some(frame) });
        self.instance.tunnel.handle_bytes(self.time, bytes);
        self.instance.step(self.time);
    }

    /// A hostile frame of a call, instance to gateway.
    pub(crate) fn response(&mut self, frame: v1::RpcResponse) {
        self.gateway_reads(v1::register_request::Frame::RpcResponse(frame));
    }

    /// A hostile frame of a call, gateway to instance.
    pub(crate) fn call(&mut self, frame: v1::RpcCall) {
        self.instance_reads(v1::register_response::Frame::RpcCall(frame));
    }

    /// Opens a call at the gateway.
    pub(crate) fn open(&mut self, data: impl Into<Bytes>, half_close: bool) -> Key {
        self.try_open(None, data, half_close)
            .expect("the tunnel takes calls")
    }

    /// Opens a call at the gateway, with a deadline.
    pub(crate) fn open_within(&mut self, timeout: Duration) -> Key {
        self.try_open(Some(timeout), Bytes::new(), false)
            .expect("the tunnel takes calls")
    }

    /// Opens a call at the gateway, or not.
    pub(crate) fn try_open(
        &mut self,
        timeout: Option<Duration>,
        data: impl Into<Bytes>,
        half_close: bool,
    ) -> Result<Key, OpenError> {
        let headers = HeaderMap::new();
        let request = request(timeout, &headers);
        self.gateway
            .tunnel
            .open(self.time, request, data.into(), half_close)
    }

    /// Opens a call and lets it arrive.
    pub(crate) fn opened(&mut self) -> Both {
        let gateway = self.open("", false);
        self.drive();
        let (instance, _) = self.incoming();
        Both { gateway, instance }
    }

    /// The next call that came in at the instance.
    pub(crate) fn incoming(&mut self) -> (Key, Open) {
        self.instance.incoming().expect("a call came in")
    }

    /// Sends at the gateway.
    pub(crate) fn send(&mut self, key: Key, data: impl Into<Bytes>, half_close: bool) {
        self.gateway.tunnel.send(key, data.into(), half_close);
    }

    /// Sends head and data at the instance.
    pub(crate) fn head(&mut self, key: Key, data: impl Into<Bytes>) {
        respond(&mut self.instance.tunnel, key, true, data.into(), false);
    }

    /// Sends data at the instance.
    pub(crate) fn data(&mut self, key: Key, data: impl Into<Bytes>) {
        respond(&mut self.instance.tunnel, key, false, data.into(), false);
    }

    /// Sends the trailers of status OK at the instance.
    pub(crate) fn complete(&mut self, key: Key) {
        respond(&mut self.instance.tunnel, key, false, Bytes::new(), true);
    }

    /// Sends a whole response at the instance.
    pub(crate) fn answer(&mut self, key: Key, data: impl Into<Bytes>) {
        respond(&mut self.instance.tunnel, key, true, data.into(), true);
    }

    /// From now on the links remember only what is sent after this.
    pub(crate) fn forget_wires(&mut self) {
        self.gateway.link.wires.clear();
        self.instance.link.wires.clear();
    }
}

impl End<Gateway> {
    /// Whether a registration waits for its answer.
    fn take_registering(&mut self) -> bool {
        let before = self.roles.len();
        self.roles
            .retain(|event| !matches!(event, GatewayEvent::Registering(_)));
        self.roles.len() < before
    }
}

impl End<Instance> {
    /// The next call that came in, the oldest first.
    pub(crate) fn incoming(&mut self) -> Option<(Key, Open)> {
        let is = |event: &InstanceEvent| matches!(event, InstanceEvent::Incoming(..));
        let at = self.roles.iter().position(is)?;
        match self.roles.remove(at) {
            InstanceEvent::Incoming(key, open) => Some((key, *open)),
            _ => None,
        }
    }

    /// The drains that were heard: whether each was an answer.
    pub(crate) fn drains(&self) -> Vec<bool> {
        let drains = self.roles.iter().filter_map(|event| match event {
            InstanceEvent::Draining { answer } => Some(*answer),
            _ => None,
        });
        drains.collect()
    }
}

/// The request of a call of no interest.
pub(crate) fn request(timeout: Option<Duration>, headers: &HeaderMap) -> CallRequest<'_> {
    CallRequest {
        method: "/test.Test/Call",
        authority: "test",
        timeout,
        content_type: None,
        headers,
    }
}

/// A part of a response; trailers say OK.
pub(crate) fn respond(tunnel: &mut Tunnel<Instance>, key: Key, head: bool, data: Bytes, end: bool) {
    let headers = HeaderMap::new();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let head = head.then_some(ResponseHead {
        content_type: None,
        headers: &headers,
    });
    tunnel
        .respond(key, head, data, end.then_some(&trailers))
        .expect("small metadata fits a frame");
}

/// One message of `len` bytes with its prefix.
pub(crate) fn message(len: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(len).expect("a test's message").to_be_bytes());
    bytes.extend((0..len).map(|i| (i % 251) as u8));
    bytes
}
