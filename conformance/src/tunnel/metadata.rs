//! Metadata on a tunnel and in HTTP: section 9.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use grpcrouter_proto::v1::Metadata;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that do not travel, whichever way.
const RESERVED: [&str; 10] = [
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

/// Headers of an answer that have fields of their own.
const STATUS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Which list it is: those of an answer cannot forge a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Request,
    Answer,
    /// A handler's initial metadata as the suite's own instance passes them on, with a status that they may forge:
    /// to drop it is up to the gateway.
    Said,
}

impl List {
    fn reserves(self, name: &str) -> bool {
        RESERVED.contains(&name)
            || name.starts_with("grpcrouter-")
            || (self == Self::Answer && STATUS.contains(&name))
    }

    /// What of HTTP's headers travels.
    pub(super) fn travelling(self, headers: &HeaderMap) -> Vec<Metadata> {
        let travels = headers.iter();
        let travels = travels.filter(|(name, _)| !self.reserves(name.as_str()));
        travels
            .map(|(name, value)| Metadata {
                key: name.as_str().to_owned(),
                value: Bytes::copy_from_slice(value.as_bytes()),
            })
            .collect()
    }

    /// A tunnel's list as HTTP's headers; none where HTTP does not allow it.
    pub(super) fn to_headers(self, list: Vec<Metadata>, headers: &mut HeaderMap) -> Option<()> {
        for Metadata { key, value } in list {
            if self.reserves(&key) {
                continue;
            }
            if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return None;
            }
            let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        Some(())
    }
}

/// A list's size, as HTTP/2 counts it.
pub(super) fn size(list: &[Metadata]) -> usize {
    let entries = list.iter();
    entries
        .map(|entry| entry.key.len() + entry.value.len() + 32)
        .sum()
}

/// The content type, where it is worth a field: section 10's default is left out.
pub(super) fn content_type(headers: &HeaderMap) -> Bytes {
    match headers.get("content-type") {
        Some(value) if value != "application/grpc" => Bytes::copy_from_slice(value.as_bytes()),
        _ => Bytes::new(),
    }
}

/// The header of a content type; none where HTTP does not allow it.
pub(super) fn content_type_header(field: Bytes) -> Option<HeaderValue> {
    if field.is_empty() {
        return Some(HeaderValue::from_static("application/grpc"));
    }
    HeaderValue::from_maybe_shared(field).ok()
}

/// grpc-message as a header: bytes that no header may hold are escaped.
pub(super) fn message(bytes: &[u8]) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if (b' '..=b'~').contains(&byte) {
            text.push(byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    HeaderValue::from_bytes(&text).ok()
}

/// Bytes as the value of a `-bin` header.
pub(super) fn encode_bin(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_str(&STANDARD_NO_PAD.encode(bytes)).ok()
}
