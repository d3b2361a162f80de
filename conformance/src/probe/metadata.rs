//! Metadata on the wire: `-bin` values, percent-encoding, timeouts. The suite's own, shared with nobody.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::pb;

/// Writes no padding and reads either, as gRPC wants it.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Headers of a script as they go on the wire; or which one cannot.
pub(super) fn wire(headers: &[pb::Header]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for pb::Header { key, value } in headers {
        let name = HeaderName::from_lowercase(key.as_bytes());
        let name = name.map_err(|_| format!("{key:?} is no key of metadata"))?;
        let value = if key.ends_with("-bin") {
            HeaderValue::from_str(&BASE64.encode(value)).map_err(drop)
        } else {
            HeaderValue::from_bytes(value).map_err(drop)
        };
        let value = value.map_err(|()| format!("the value of {key:?} is none"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// A status as trailers, the script's own after it.
pub(super) fn status(code: u32, message: &str, details: &[u8], trailers: &HeaderMap) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.into());
    if !message.is_empty()
        && let Ok(value) = HeaderValue::from_str(&percent(message))
    {
        map.insert("grpc-message", value);
    }
    if !details.is_empty()
        && let Ok(value) = HeaderValue::from_str(&BASE64.encode(details))
    {
        map.insert("grpc-status-details-bin", value);
    }
    for (name, value) in trailers {
        map.append(name, value.clone());
    }
    map
}

/// `grpc-message` as it is encoded: what is not printable ASCII, and `%`, in percent.
pub(super) fn percent(message: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..0x20 | 0x7f.. => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(byte.into()),
        }
    }
    encoded
}

/// A `grpc-timeout` in microseconds, rounded down; none where it is malformed.
pub(super) fn timeout_us(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => n * 3_600_000_000,
        "M" => n * 60_000_000,
        "S" => n * 1_000_000,
        "m" => n * 1_000,
        "u" => n,
        "n" => n / 1_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_one_to_eight_digits_and_a_unit() {
        let us = |text: &str| timeout_us(&HeaderValue::from_str(text).unwrap());
        assert_eq!(us("99999999H"), Some(359_999_996_400_000_000));
        assert_eq!((us("7m"), us("1999n")), (Some(7_000), Some(1)));
        for wrong in ["", "m", "123456789u", "1x", "-1m", "1.5S", "1"] {
            assert_eq!(us(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(percent("a b%\n\u{e4}\u{7f}~"), "a b%25%0A%C3%A4%7F~");
    }

    #[test]
    fn binary_values_are_read_with_and_without_padding() {
        assert_eq!(BASE64.decode("AP8=").unwrap(), [0, 0xff]);
        assert_eq!(BASE64.decode("AP8").unwrap(), [0, 0xff]);
        assert_eq!(BASE64.encode([0, 0xff]), "AP8");
    }
}
