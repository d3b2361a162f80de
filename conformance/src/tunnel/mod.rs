//! The suite at both ends of a tunnel: an instance for gateways under test, a gateway for instances under test.
//!
//! Both come twice: scripted, where the case says every frame ([`instance::Tunnel`], [`gateway::Registered`]), and
//! well-behaved by themselves ([`instance::serve`], [`gateway::NaiveGateway`]). What they say and hear is on a
//! [`tap::Tap`].
//!
//! They are written from `router.proto` alone.

mod flow;
pub mod gateway;
pub mod instance;
mod lane;
mod metadata;
pub mod stream;
pub mod tap;

use std::time::{SystemTime, UNIX_EPOCH};

use grpcrouter_proto::v1::{
    Epoch, HealthStatus, InstanceInfo, RegisterRequest, RegisterResponse, Revisions, RpcCall,
    RpcResponse, ServiceInfo, register_request, register_response,
};

/// The path of a tunnel.
pub const REGISTER: &str = "/grpcrouter.v1.Router/Register";

/// Limits where a side says none: section 14.
pub mod limits {
    /// The largest frame, in bytes.
    pub const MAX_FRAME: u32 = 65_536;
    /// A call's first credit, in bytes.
    pub const CALL_WINDOW: u32 = 81_920;
    /// Calls at once at an instance.
    pub const MAX_CALLS: u32 = 10_000;
    /// The longest metadata list, in bytes.
    pub const MAX_METADATA: u32 = 16_384;
    /// Between two heartbeats, in milliseconds.
    pub const HEARTBEAT_MS: u32 = 5_000;
    /// Bytes of data that a sender puts into a frame.
    pub const CHUNK: usize = 16 * 1024;

    /// What a number of a handshake stands for.
    pub(crate) fn or(value: u32, default: u32) -> u32 {
        if value == 0 { default } else { value }
    }
}

/// Flags of RpcCall and RpcResponse.
#[allow(missing_docs)]
pub mod flags {
    pub const OPEN: u32 = 1;
    pub const HALF_CLOSE: u32 = 2;
    pub const HEAD: u32 = 1;
    pub const COMPLETE: u32 = 2;
    pub const RESET: u32 = 4;
    pub const REFUSED: u32 = 8;
}

/// HTTP/2 error codes of RESET.
#[allow(missing_docs)]
pub mod reset {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
}

/// An instance of these services, with every default, and an epoch later than those made before.
pub fn info(id: &str, services: &[&str]) -> InstanceInfo {
    let service = |name: &&str| ServiceInfo {
        name: (*name).to_owned(),
        health: HealthStatus::Healthy.into(),
    };
    InstanceInfo {
        instance_id: id.to_owned(),
        epoch: Some(epoch()),
        services: services.iter().map(service).collect(),
        weight: 1,
        version: "conformance".to_owned(),
        revisions: Some(Revisions { min: 1, max: 1 }),
        call_window: limits::CALL_WINDOW,
        max_frame: limits::MAX_FRAME,
        max_calls: limits::MAX_CALLS,
        max_metadata: limits::MAX_METADATA,
        ..InstanceInfo::default()
    }
}

/// An epoch as of a process that starts now.
#[allow(clippy::disallowed_methods)] // An epoch is a point in time, and nothing waits for it.
pub fn epoch() -> Epoch {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Epoch {
        started_us: since.map_or(1, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        }),
        attempt: 0,
    }
}

/// A frame of either direction.
pub trait Frame: prost::Message + Default + Clone + 'static {
    /// The same for a tap.
    fn seen(&self) -> tap::Seen;
}

impl Frame for RegisterRequest {
    fn seen(&self) -> tap::Seen {
        let mut frame = self.clone();
        let data = match &mut frame.frame {
            Some(register_request::Frame::RpcResponse(part)) => {
                std::mem::take(&mut part.data).len()
            }
            _ => 0,
        };
        tap::Seen::Request(frame, data)
    }
}

impl Frame for RegisterResponse {
    fn seen(&self) -> tap::Seen {
        let mut frame = self.clone();
        let data = match &mut frame.frame {
            Some(register_response::Frame::RpcCall(part)) => std::mem::take(&mut part.data).len(),
            _ => 0,
        };
        tap::Seen::Response(frame, data)
    }
}

/// A frame of an instance's.
pub fn request(frame: register_request::Frame) -> RegisterRequest {
    RegisterRequest { frame: Some(frame) }
}

/// A frame of a gateway's.
pub fn response(frame: register_response::Frame) -> RegisterResponse {
    RegisterResponse { frame: Some(frame) }
}

/// A frame of a call, from an instance.
pub fn part(part: RpcResponse) -> RegisterRequest {
    request(register_request::Frame::RpcResponse(part))
}

/// A frame of a call, from a gateway.
pub fn call(call: RpcCall) -> RegisterResponse {
    response(register_response::Frame::RpcCall(call))
}
