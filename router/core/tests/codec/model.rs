//! What a decoder must say, written a second time: on top of prost, and without regard to speed.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::frame::{
    CallFrame, DecodeError, Frame, Head, Inbound, Limits, Open, Reset, ResponseFrame, Trailers,
    decode_request, decode_response,
};
use grpcrouter_proto::v1::{
    Metadata, RegisterRequest, RegisterResponse, RpcCall, RpcResponse, register_request,
    register_response,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;

/// `Err` is the id of a call that ends for a breach.
pub(crate) type Verdict<F> = Result<F, u64>;

/// Decodes by both, and demands that they agree wherever prost can read the message at all.
pub(crate) fn compare_request(body: &Bytes, limits: &Limits) {
    let ours = decode_request(body.clone(), limits);
    match RegisterRequest::decode(body.clone()).map(|message| message.frame) {
        Ok(Some(register_request::Frame::RpcResponse(message))) => {
            agree(ours, response(&message, limits), body);
        }
        Ok(Some(control)) => assert_eq!(ours, Ok(Inbound::Control(control))),
        Ok(None) => ignored(ours, body),
        Err(_) => refused_or_breach(ours),
    }
}

/// As [`compare_request`], for the other direction.
pub(crate) fn compare_response(body: &Bytes, limits: &Limits) {
    let ours = decode_response(body.clone(), limits);
    match RegisterResponse::decode(body.clone()).map(|message| message.frame) {
        Ok(Some(register_response::Frame::RpcCall(message))) => {
            agree(ours, call(&message, limits), body);
        }
        Ok(Some(control)) => assert_eq!(ours, Ok(Inbound::Control(control))),
        Ok(None) => ignored(ours, body),
        Err(_) => refused_or_breach(ours),
    }
}

pub(crate) fn call(message: &RpcCall, limits: &Limits) -> Verdict<CallFrame> {
    let id = message.request_id;
    let frame = || {
        let [open, half_close, reset] = [1, 2, 4].map(|flag| message.flags & flag != 0);
        let start = if open {
            Some(Open {
                method: path(&message.method)?,
                authority: message.authority.clone(),
                timeout: (message.timeout_us > 0)
                    .then(|| Duration::from_micros(message.timeout_us)),
                content_type: content_type(&message.content_type)?,
                metadata: list(&message.metadata, limits, &[])?,
            })
        } else {
            None
        };
        let refused = message.flags & 8 != 0;
        if reset && (open || half_close || !message.data.is_empty()) || refused && !reset {
            return None;
        }
        Some(Frame {
            id,
            seq: message.seq,
            window: message.window,
            start,
            data: message.data.clone(),
            end: half_close.then_some(()),
            reset: reset.then_some(Reset {
                code: message.reset_code,
                refused,
            }),
        })
    };
    frame().ok_or(id)
}

pub(crate) fn response(message: &RpcResponse, limits: &Limits) -> Verdict<ResponseFrame> {
    const STATUS: &[&str] = &["grpc-status", "grpc-message", "grpc-status-details-bin"];
    let id = message.request_id;
    let frame = || {
        let [head, complete, reset, refused] = [1, 2, 4, 8].map(|flag| message.flags & flag != 0);
        let start = if head {
            Some(Head {
                content_type: content_type(&message.content_type)?,
                metadata: list(&message.metadata, limits, STATUS)?,
            })
        } else {
            None
        };
        let end = if complete {
            Some(Trailers {
                status: if message.status > 16 {
                    2
                } else {
                    message.status
                },
                message: message.message.clone(),
                details: message.details.clone(),
                metadata: list(&message.trailers, limits, STATUS)?,
            })
        } else {
            None
        };
        if reset && (head || complete || !message.data.is_empty()) || refused && !reset {
            return None;
        }
        Some(Frame {
            id,
            seq: message.seq,
            window: message.window,
            start,
            data: message.data.clone(),
            end,
            reset: reset.then_some(Reset {
                code: message.reset_code,
                refused,
            }),
        })
    };
    frame().ok_or(id)
}

/// Turns our answer into a verdict where it is one.
pub(crate) fn verdict<F, C>(ours: Result<Inbound<F, C>, DecodeError>) -> Option<Verdict<F>> {
    match ours {
        Ok(Inbound::Hot(frame)) => Some(Ok(frame)),
        Err(DecodeError::Breach { id, .. }) => Some(Err(id)),
        _ => None,
    }
}

fn agree<F, C>(ours: Result<Inbound<F, C>, DecodeError>, expected: Verdict<F>, body: &Bytes)
where
    F: PartialEq + std::fmt::Debug,
    C: std::fmt::Debug,
{
    match ours {
        Err(DecodeError::Malformed(what)) => only_groups(what, body),
        ours => assert_eq!(Some(expected), verdict(ours)),
    }
}

fn ignored<F: std::fmt::Debug, C: std::fmt::Debug>(
    ours: Result<Inbound<F, C>, DecodeError>,
    body: &Bytes,
) {
    match ours {
        Ok(Inbound::Unknown) => {}
        Err(DecodeError::Malformed(what)) => only_groups(what, body),
        other => panic!("{other:?} of what prost ignores"),
    }
}

/// Groups are the only thing that prost reads and the codec does not.
fn only_groups(what: &str, body: &Bytes) {
    assert_eq!(what, "a wire type that proto3 does not have", "{body:?}");
}

/// prost refuses a message with a string that is not UTF-8. The codec reads all of it and ends one
/// call, or ignores a field whose flag is not set.
#[allow(clippy::needless_pass_by_value, reason = "as its siblings")]
fn refused_or_breach<F: std::fmt::Debug, C: std::fmt::Debug>(
    ours: Result<Inbound<F, C>, DecodeError>,
) {
    assert!(
        matches!(ours, Err(_) | Ok(Inbound::Hot(_))),
        "{ours:?} of what prost refuses"
    );
}

fn path(method: &str) -> Option<String> {
    let bad = method.chars().any(|c| c == ' ' || c.is_ascii_control());
    (method.starts_with('/') && !bad).then(|| method.to_owned())
}

fn content_type(value: &Bytes) -> Option<Option<HeaderValue>> {
    if value.is_empty() {
        Some(None)
    } else {
        HeaderValue::from_bytes(value).ok().map(Some)
    }
}

fn list(entries: &[Metadata], limits: &Limits, status: &[&str]) -> Option<HeaderMap> {
    const RESERVED: &[&str] = &[
        "te",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-type",
        "grpc-timeout",
    ];
    let size: usize = entries
        .iter()
        .map(|entry| entry.key.len() + entry.value.len() + 32)
        .sum();
    if size > limits.metadata_list {
        return None;
    }
    let mut map = HeaderMap::new();
    for Metadata { key, value } in entries {
        let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
        if name.as_str() != key {
            return None;
        }
        let value = HeaderValue::from_bytes(value).ok()?;
        let key = key.as_str();
        if !RESERVED.contains(&key) && !status.contains(&key) && !key.starts_with("grpcrouter-") {
            map.append(name, value);
        }
    }
    Some(map)
}
