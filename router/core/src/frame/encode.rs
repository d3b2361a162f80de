//! Writes the hot frames: their fields straight from HTTP headers, and what stands around them.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{DEFAULT_CONTENT_TYPE, Flags, status::Status, wire};
use crate::{metadata, percent};

/// What every hot frame carries, whatever else is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// The call, as the gateway named it.
    pub id: u64,
    /// What the frame's fields mean.
    pub flags: Flags,
    /// The number of this frame among those that carry data; 0 in frames without.
    pub seq: u32,
    /// Credit granted to the receiver, in bytes of data.
    pub window: u32,
    /// An HTTP/2 error code; 0 without RESET.
    pub reset_code: u32,
}

/// Writes all of a hot frame but its data: the 5-byte gRPC prefix, the `oneof` field `outer`
/// ([`RPC_FIELD`](super::RPC_FIELD)), the header, `fields` as the `encode_*` functions made them,
/// and the key and length of `data_len` bytes of data, which the caller appends.
///
/// # Panics
/// If the message is 4 GiB or longer; `max_frame` is far below that.
pub fn write_frame(
    out: &mut BytesMut,
    outer: u32,
    header: &FrameHeader,
    fields: &[u8],
    data_len: usize,
) {
    let body_len = header.len() + fields.len() + wire::bytes_len(data_len);
    let message_len = 1 + wire::varint_len(body_len as u64) + body_len;
    out.reserve(super::PREFIX_LEN + message_len - data_len);
    put_prefix(out, message_len);
    wire::put_len(out, outer, body_len);
    header.put(out);
    out.extend_from_slice(fields);
    if data_len > 0 {
        wire::put_len(out, 15, data_len);
    }
}

/// Appends the fields of OPEN. Reserved headers are left out, and so is the default content type.
/// A timeout is cut to whole microseconds, but never to 0, which would mean none.
pub fn encode_open(
    out: &mut BytesMut,
    method: &str,
    authority: &str,
    timeout: Option<Duration>,
    content_type: Option<&HeaderValue>,
    metadata: &HeaderMap,
) {
    wire::put_bytes(out, 5, method.as_bytes());
    wire::put_bytes(out, 6, authority.as_bytes());
    if let Some(timeout) = timeout {
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        wire::put_uint(out, 7, timeout_us.max(1));
    }
    put_content_type(out, content_type);
    put_metadata(out, 9, metadata, metadata::is_forwarded_request);
}

/// Appends the fields of HEAD. Reserved headers are left out, and so is the default content type.
pub fn encode_head(out: &mut BytesMut, content_type: Option<&HeaderValue>, metadata: &HeaderMap) {
    put_content_type(out, content_type);
    put_metadata(out, 9, metadata, metadata::is_forwarded_response);
}

/// Appends the fields of COMPLETE from HTTP trailers, or from the headers of a trailers-only
/// answer: `grpc-status`, `grpc-message` and `grpc-status-details-bin` go to fields of their own.
///
/// A status that is absent or no number from 0 to 16 becomes 2, UNKNOWN. Details that are not
/// base64, padded or not, are left out.
pub fn encode_trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    let status = Status::from_headers(trailers);
    wire::put_uint(out, 11, u64::from(status.code));
    wire::put_bytes(out, 12, status.message);
    wire::put_bytes(out, 13, &status.details);
    put_metadata(out, 14, trailers, metadata::is_forwarded_trailer);
}

/// Appends the fields of COMPLETE for a status made here; `message` is plain text. The metadata
/// goes out as it is given, reserved names too: the receiver drops those.
pub fn encode_status<'a>(
    out: &mut BytesMut,
    code: u32,
    message: &str,
    metadata: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) {
    wire::put_uint(out, 11, u64::from(code));
    wire::put_bytes(out, 12, percent::encode(message).as_bytes());
    for (name, value) in metadata {
        put_entry(out, 14, name, value);
    }
}

/// The 5 bytes before every gRPC message: not compressed, and its length.
pub(super) fn put_prefix(out: &mut BytesMut, message_len: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(message_len).expect("a frame is shorter than 4 GiB"));
}

impl FrameHeader {
    fn len(&self) -> usize {
        let id = if self.id == 0 { 0 } else { 9 };
        let [flags, seq, window, reset_code] = self.numbers().map(|(_, n)| wire::uint_len(n));
        id + flags + seq + window + reset_code
    }

    fn put(&self, out: &mut BytesMut) {
        if self.id != 0 {
            out.put_u8(1 << 3 | 1);
            out.put_u64_le(self.id);
        }
        for (number, value) in self.numbers() {
            wire::put_uint(out, number, value);
        }
    }

    fn numbers(&self) -> [(u32, u64); 4] {
        [
            (2, self.flags.0),
            (3, self.seq),
            (4, self.window),
            (10, self.reset_code),
        ]
        .map(|(number, value)| (number, u64::from(value)))
    }
}

fn put_content_type(out: &mut BytesMut, content_type: Option<&HeaderValue>) {
    if let Some(value) = content_type.filter(|value| *value != DEFAULT_CONTENT_TYPE) {
        wire::put_bytes(out, 8, value.as_bytes());
    }
}

fn put_metadata(
    out: &mut BytesMut,
    number: u32,
    metadata: &HeaderMap,
    is_forwarded: fn(&HeaderName) -> bool,
) {
    for (name, value) in metadata {
        if is_forwarded(name) {
            put_entry(out, number, name, value);
        }
    }
}

fn put_entry(out: &mut BytesMut, number: u32, name: &HeaderName, value: &HeaderValue) {
    let (key, value) = (name.as_str().as_bytes(), value.as_bytes());
    wire::put_len(
        out,
        number,
        wire::bytes_len(key.len()) + wire::bytes_len(value.len()),
    );
    wire::put_bytes(out, 1, key);
    wire::put_bytes(out, 2, value);
}
