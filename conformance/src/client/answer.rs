//! All of a response.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::HeaderMap;

use crate::framing::Message;

/// Base64 as gRPC has it: padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// All of a response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub http: u16,
    /// Initial metadata; none where the answer was trailers only.
    pub head: Option<HeaderMap>,
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// Bytes after the last whole message.
    pub rest: usize,
    /// The trailers, with the status.
    pub trailers: HeaderMap,
}

impl Answer {
    /// `grpc-status`.
    ///
    /// # Errors
    /// Where there is none, or no number.
    pub fn status(&self) -> Result<u32> {
        let text = text(&self.trailers, "grpc-status");
        text.parse()
            .with_context(|| format!("grpc-status is {text:?}, HTTP status {}", self.http))
    }

    /// `grpc-message`, as on the wire.
    pub fn message(&self) -> &str {
        text(&self.trailers, "grpc-message")
    }

    /// `grpc-status-details-bin`, decoded; none where there is none.
    ///
    /// # Errors
    /// Where it is no base64.
    pub fn details(&self) -> Result<Option<Bytes>> {
        let details = self.trailers.get("grpc-status-details-bin");
        details
            .map(|value| decode_bin(value.as_bytes()))
            .transpose()
    }

    /// The gateway's reason, where it made the status.
    pub fn reason(&self) -> &str {
        text(&self.trailers, "grpcrouter-reason")
    }
}

/// A header's value; empty where there is none, or it is no text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name);
    value.map_or("", |value| value.to_str().unwrap_or(""))
}

/// The bytes of a `-bin` value.
///
/// # Errors
/// Where it is no base64.
pub(crate) fn decode_bin(value: &[u8]) -> Result<Bytes> {
    let bytes = LENIENT.decode(value).context("not base64")?;
    Ok(bytes.into())
}
