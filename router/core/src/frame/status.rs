//! A status between its HTTP trailers and the fields that it has in a frame.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue};

use super::Trailers;
use crate::{
    metadata::{GRPC_MESSAGE, GRPC_STATUS, GRPC_STATUS_DETAILS},
    percent,
};

/// UNKNOWN: the status of an answer that has none.
const UNKNOWN: u32 = 2;

/// What the three status headers say.
pub(super) struct Status<'a> {
    pub(super) code: u32,
    pub(super) message: &'a [u8],
    pub(super) details: Vec<u8>,
}

impl<'a> Status<'a> {
    /// A code that is absent or no number from 0 to 16 is UNKNOWN; details that are not base64 are
    /// none.
    pub(super) fn from_headers(headers: &'a HeaderMap) -> Self {
        let bytes = |name| headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
        Self {
            code: code(bytes(GRPC_STATUS)),
            message: bytes(GRPC_MESSAGE),
            details: BASE64
                .decode(bytes(GRPC_STATUS_DETAILS))
                .unwrap_or_default(),
        }
    }
}

impl Trailers {
    /// The trailers that a client sees: the trailing metadata, and the three status headers.
    ///
    /// Nothing here can fail: bytes in the message that no header may hold are escaped.
    #[must_use]
    pub fn into_headers(self) -> HeaderMap {
        let mut headers = self.metadata;
        headers.insert(GRPC_STATUS, status_value(self.status));
        if !self.message.is_empty() {
            headers.insert(GRPC_MESSAGE, percent::header_value(&self.message));
        }
        if !self.details.is_empty() {
            let details = HeaderValue::try_from(BASE64.encode(&self.details))
                .expect("base64 is a header value");
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
        headers
    }
}

/// Nearly every call ends with OK, whose text is here already.
fn status_value(code: u32) -> HeaderValue {
    match code {
        0 => HeaderValue::from_static("0"),
        code => HeaderValue::from(code),
    }
}

/// Both forms of padding are in use between gRPC libraries; we write none, as the gRPC
/// specification asks.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn code(value: &[u8]) -> u32 {
    match *value {
        [digit @ b'0'..=b'9'] => u32::from(digit - b'0'),
        [b'1', digit @ b'0'..=b'6'] => u32::from(10 + digit - b'0'),
        _ => UNKNOWN,
    }
}
