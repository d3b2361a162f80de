//! Which headers travel as metadata, and how much a list of them counts.
//!
//! What belongs to one hop, has a field of its own in a frame, or is ours, is reserved: it is left
//! out when a frame is written and dropped when one is read. Everything else passes unchanged,
//! other `grpc-*` headers (`grpc-encoding`, `grpc-accept-encoding`, ...) included.

use http::{HeaderMap, HeaderName};

/// The name of the status code, a field of its own in a frame.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The name of the percent-encoded status message, a field of its own in a frame.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The name of the base64-encoded status details, a field of its own in a frame.
pub const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What every header of this project begins with. Never forwarded, in either direction.
pub const OWN_PREFIX: &str = "grpcrouter-";

/// Whether a header of a request is forwarded as metadata.
#[must_use]
pub fn is_forwarded_request(name: &HeaderName) -> bool {
    !is_reserved(name.as_str())
}

/// Whether a header of a response is forwarded as initial metadata. A status is not: a handler
/// cannot forge one there.
#[must_use]
pub fn is_forwarded_response(name: &HeaderName) -> bool {
    let name = name.as_str();
    !is_reserved(name)
        && !matches!(
            name,
            "grpc-status" | "grpc-message" | "grpc-status-details-bin"
        )
}

/// Whether a trailer is forwarded as trailing metadata. The status travels in fields of its own.
#[must_use]
pub fn is_forwarded_trailer(name: &HeaderName) -> bool {
    is_forwarded_response(name)
}

/// The size of a list as HTTP/2 counts it for SETTINGS_MAX_HEADER_LIST_SIZE: name + value + 32
/// bytes for each entry.
#[must_use]
pub fn list_size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| entry_size(name.as_str().len(), value.len()))
        .sum()
}

/// The size of one entry of a list; see [`list_size`].
#[must_use]
pub const fn entry_size(name_len: usize, value_len: usize) -> usize {
    name_len + value_len + 32
}

fn is_reserved(name: &str) -> bool {
    match name {
        // Of one HTTP hop.
        "te" | "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding"
        | "upgrade" => true,
        // Fields of their own, or derived anew.
        "host" | "content-length" | "content-type" | "grpc-timeout" => true,
        // HTTP/2 libraries built on `http` let `"` in a name through, though HTTP does not allow it.
        // A peer would take it for our fault.
        _ => name.starts_with(OWN_PREFIX) || name.contains('"'),
    }
}
