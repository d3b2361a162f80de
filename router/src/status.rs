//! The one place where faults become gRPC statuses.

use std::fmt;

use grpcrouter_core::error::Breach;
use grpcrouter_core::registry::PickError;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::reset_code;
use grpcrouter_core::{CallFault, OpenError, percent};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The trailer that says why the gateway made a status itself.
pub const REASON: HeaderName = HeaderName::from_static("grpcrouter-reason");
/// The header by which a client names the instance that it wants.
pub const INSTANCE: HeaderName = HeaderName::from_static("grpcrouter-instance");
/// The header by which a client says `true` where its call is to wait for an instance, instead of failing while none
/// takes it.
pub const WAIT_FOR_READY: HeaderName = HeaderName::from_static("grpcrouter-wait-for-ready");

/// gRPC's status codes.
#[allow(missing_docs, reason = "named as in gRPC")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// Why the gateway answered a call itself: the value of `grpcrouter-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No live instance serves what was asked for.
    NoInstance,
    /// The instance was lost while it had the call.
    InstanceLost,
    /// The instance ended the call without a status.
    InstanceReset,
    /// The instance declined the call before dispatch, and so did the next one.
    Refused,
    /// The call's deadline passed.
    Deadline,
    /// The gateway takes no more calls.
    Draining,
    /// A limit of the gateway or the tunnel.
    Limit,
    /// No instance has declared the service.
    UnknownService,
    /// The service is known to have no such method.
    UnknownMethod,
    /// The routing key is missing or malformed, or did not come in time.
    BadKey,
    /// Keys are declared beforehand, and this one is not.
    UnknownKey,
    /// The request is no gRPC call that can be routed.
    BadRequest,
    /// The instance broke the tunnel's protocol.
    ProtocolError,
    /// The client went away.
    Cancelled,
}

impl Reason {
    /// The token on the wire.
    pub const fn token(self) -> &'static str {
        match self {
            Self::NoInstance => "no-instance",
            Self::InstanceLost => "instance-lost",
            Self::InstanceReset => "instance-reset",
            Self::Refused => "refused",
            Self::Deadline => "deadline",
            Self::Draining => "draining",
            Self::Limit => "limit",
            Self::UnknownService => "unknown-service",
            Self::UnknownMethod => "unknown-method",
            Self::BadKey => "bad-key",
            Self::UnknownKey => "unknown-key",
            Self::BadRequest => "bad-request",
            Self::ProtocolError => "protocol-error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A status that the gateway makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// gRPC status code.
    pub code: Code,
    /// Why.
    pub reason: Reason,
    /// For people; names no addresses.
    pub message: String,
}

impl GatewayStatus {
    /// A status with its reason and a message for people.
    pub fn new(code: Code, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    /// The trailers that carry it.
    pub fn trailers(&self) -> HeaderMap {
        let mut trailers = status_trailers(self.code, &self.message);
        trailers.insert(REASON, HeaderValue::from_static(self.reason.token()));
        trailers
    }
}

/// For the gateway's own services, which tonic serves.
impl From<GatewayStatus> for tonic::Status {
    fn from(status: GatewayStatus) -> Self {
        let mut own = Self::new(tonic::Code::from(status.code as i32), status.message);
        let reason = tonic::metadata::MetadataValue::from_static(status.reason.token());
        own.metadata_mut().insert("grpcrouter-reason", reason);
        own
    }
}

impl fmt::Display for GatewayStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {}: {}",
            self.code,
            self.reason.token(),
            self.message
        )
    }
}

/// `grpc-status` and `grpc-message`.
pub(crate) fn status_trailers(code: Code, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    trailers.insert("grpc-status", HeaderValue::from(code as u16));
    if !message.is_empty() {
        trailers.insert("grpc-message", percent::encode(message));
    }
    trailers
}

impl From<PickError> for GatewayStatus {
    fn from(error: PickError) -> Self {
        match error {
            PickError::NoInstance => Self::new(
                Code::Unavailable,
                Reason::NoInstance,
                "no live instance serves this call",
            ),
            PickError::UnknownService => Self::new(
                Code::Unimplemented,
                Reason::UnknownService,
                "no instance has declared this service",
            ),
        }
    }
}

impl From<OpenError> for GatewayStatus {
    fn from(error: OpenError) -> Self {
        let (code, reason) = match error {
            OpenError::NotLive => (Code::Unavailable, Reason::NoInstance),
            OpenError::TooManyCalls(_) | OpenError::MetadataTooLarge { .. } => {
                (Code::ResourceExhausted, Reason::Limit)
            }
            OpenError::QueueFull(_) => (Code::Unavailable, Reason::Limit),
            OpenError::Expired => (Code::DeadlineExceeded, Reason::Deadline),
        };
        Self::new(code, reason, error.to_string())
    }
}

impl From<&CallFault> for GatewayStatus {
    fn from(fault: &CallFault) -> Self {
        let (code, reason) = match fault {
            CallFault::Reset(reset) if reset.refused => (Code::Unavailable, Reason::Refused),
            CallFault::Reset(reset) => (code_of_reset(reset.code), Reason::InstanceReset),
            // The list of metadata that an instance sends is bounded as a client's is.
            CallFault::Breach(Breach::Content(
                grpcrouter_core::frame::Breach::MetadataTooLarge,
            )) => (Code::ResourceExhausted, Reason::Limit),
            CallFault::Breach(_) => (Code::Internal, Reason::ProtocolError),
            CallFault::TooLarge(_) => (Code::ResourceExhausted, Reason::Limit),
            CallFault::Deadline => (Code::DeadlineExceeded, Reason::Deadline),
            CallFault::Lost { .. } if sabotage::is(Sabotage::LossMisnamed) => {
                (Code::Internal, Reason::ProtocolError)
            }
            CallFault::Lost { .. } => (Code::Unavailable, Reason::InstanceLost),
        };
        Self::new(code, reason, fault.to_string())
    }
}

/// gRPC's table of HTTP/2 error codes ("PROTOCOL-HTTP2", section Errors).
pub(crate) fn code_of_reset(code: u32) -> Code {
    match code {
        reset_code::REFUSED_STREAM => Code::Unavailable,
        reset_code::CANCEL => Code::Cancelled,
        reset_code::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        0xc => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

/// gRPC's table of HTTP statuses ("http-grpc-status-mapping").
pub(crate) fn code_of_http(status: http::StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}
