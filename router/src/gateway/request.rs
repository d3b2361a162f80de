//! A client's request: is it a gRPC call that can be routed?

use std::time::Duration;

use grpcrouter_core::metadata::list_size;
use grpcrouter_core::registry::InstanceId;
use grpcrouter_core::routing::{PathError, Routes};
use grpcrouter_core::timeout::parse_timeout;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::status::{Code, GatewayStatus, INSTANCE, Reason, WAIT_FOR_READY};

use super::routing::Routing;

/// Not a text, which would be read anew for every call.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What of a request decides where it goes. The rest of it travels as it is.
#[derive(Debug)]
pub(super) struct Ingress<'a> {
    /// `/pkg.Service/Method`, as the instance sees it.
    pub(super) path: &'a str,
    /// `pkg.Service`.
    pub(super) service: &'a str,
    /// How its instance is chosen, unless it is pinned.
    pub(super) routing: Routing<'a>,
    pub(super) authority: &'a str,
    pub(super) timeout: Option<Duration>,
    /// When it is not plain `application/grpc`.
    pub(super) content_type: Option<&'a HeaderValue>,
    /// The instance that the client named.
    pub(super) pinned: Option<&'a str>,
    /// Whether the call is to wait while no instance takes it.
    pub(super) waits: bool,
}

/// Why a request goes nowhere.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No gRPC at all.
    Http(StatusCode, &'static str),
    /// A call that gets a status.
    Grpc(GatewayStatus),
}

impl<'a> Ingress<'a> {
    pub(super) fn parse(
        parts: &'a Parts,
        routes: &'a Routes,
        max_metadata: usize,
    ) -> Result<Self, Refusal> {
        if parts.method != Method::POST {
            let say = "gRPC calls are POST requests";
            return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, say));
        }
        let content_type = content_type(parts)?;
        if parts.uri.query().is_some() {
            return Err(bad_path("the path of a call has no query"));
        }
        let to = routes.resolve(parts.uri.path())?;
        if list_size(&parts.headers) > max_metadata {
            let message = format!("the metadata exceeds {max_metadata} bytes");
            return Err(refuse(Code::ResourceExhausted, Reason::Limit, message));
        }
        Ok(Self {
            path: to.path,
            service: to.service,
            routing: Routing::of(to, parts),
            authority: parts
                .uri
                .authority()
                .map_or("", |authority| authority.as_str()),
            timeout: timeout(parts)?,
            content_type,
            pinned: pinned(parts)?,
            waits: waits(parts)?,
        })
    }
}

fn content_type(parts: &Parts) -> Result<Option<&HeaderValue>, Refusal> {
    let value = parts.headers.get(CONTENT_TYPE);
    let rest = value.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    match rest {
        Some([]) => Ok(None),
        Some([b'+' | b';', ..]) => Ok(value),
        _ => {
            let say = "the content type of a gRPC call is application/grpc";
            Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, say))
        }
    }
}

fn timeout(parts: &Parts) -> Result<Option<Duration>, Refusal> {
    let Some(value) = parts.headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let parsed = parse_timeout(value.as_bytes());
    parsed.map(Some).map_err(|error| {
        refuse(
            Code::InvalidArgument,
            Reason::BadRequest,
            format!("grpc-timeout: {error}"),
        )
    })
}

fn pinned(parts: &Parts) -> Result<Option<&str>, Refusal> {
    let Some(value) = parts.headers.get(INSTANCE) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(id) if InstanceId::is_valid(id) => Ok(Some(id)),
        _ => {
            let message = "grpcrouter-instance is no id: 1 to 128 of A-Z a-z 0-9 . _ : -";
            Err(refuse(Code::InvalidArgument, Reason::BadRequest, message))
        }
    }
}

fn waits(parts: &Parts) -> Result<bool, Refusal> {
    match parts.headers.get(WAIT_FOR_READY).map(HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => {
            let message = "grpcrouter-wait-for-ready is true or false";
            Err(refuse(Code::InvalidArgument, Reason::BadRequest, message))
        }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        let (code, reason) = match error {
            PathError::UnknownMethod => (Code::Unimplemented, Reason::UnknownMethod),
            PathError::Key => (Code::InvalidArgument, Reason::BadKey),
            PathError::TooLong | PathError::NotAMethod | PathError::Prefix => {
                (Code::Unimplemented, Reason::BadRequest)
            }
        };
        refuse(code, reason, error.to_string())
    }
}

fn bad_path(message: &str) -> Refusal {
    refuse(Code::Unimplemented, Reason::BadRequest, message)
}

fn refuse(code: Code, reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal::Grpc(GatewayStatus::new(code, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_can_name_no_instance_is_the_clients_mistake() {
        let pin = |id: &'static str| {
            let request = http::Request::builder().header(INSTANCE, id).body(());
            let (parts, ()) = request.expect("a request").into_parts();
            pinned(&parts)
                .map(|id| id.map(str::to_owned))
                .map_err(|refusal| format!("{refusal:?}"))
        };
        assert_eq!(pin("site-7"), Ok(Some("site-7".to_owned())));
        for id in ["", "bad id!", "bad/id"] {
            assert!(
                pin(id).is_err_and(|said| said.contains("InvalidArgument")),
                "{id:?}"
            );
        }
    }
}
