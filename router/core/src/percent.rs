//! The percent-encoding of `grpc-message`, as the gRPC specification has it: space to `~` stand for
//! themselves, except `%`; every other byte of the UTF-8 text is `%` and two hex digits.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;

/// Encodes a status message.
#[must_use]
pub fn encode(message: &str) -> HeaderValue {
    HeaderValue::from_maybe_shared(escape(message.as_bytes(), |byte| {
        plain(byte) && byte != b'%'
    }))
    .expect("what is escaped is a header value")
}

/// Decodes a status message. Never fails: a `%` without two hex digits stands for itself, and what
/// is not UTF-8 then becomes U+FFFD, so that a peer's message is shown as far as it can be.
#[must_use]
pub fn decode(message: &[u8]) -> Cow<'_, str> {
    if !message.contains(&b'%') {
        return String::from_utf8_lossy(message);
    }
    let mut out = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            out.push(high << 4 | low);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// A message that claims to be encoded, made fit for a header: unchanged and not copied where it
/// is, otherwise with the bytes escaped that a header must not hold. Escapes in it stay.
#[must_use]
pub fn header_value(message: &Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(message.clone()).unwrap_or_else(|_| {
        HeaderValue::from_maybe_shared(escape(message, plain))
            .expect("what is escaped is a header value")
    })
}

fn escape(message: &[u8], stays: fn(u8) -> bool) -> Bytes {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if message.iter().all(|&byte| stays(byte)) {
        return Bytes::copy_from_slice(message);
    }
    let mut out = Vec::with_capacity(message.len() * 2);
    for &byte in message {
        if stays(byte) {
            out.push(byte);
        } else {
            out.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
    out.into()
}

fn plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_special_status_message_of_the_interop_tests_passes() {
        let message =
            "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
        let encoded = encode(message);
        assert_eq!(
            encoded,
            "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A"
        );
        assert_eq!(decode(encoded.as_bytes()), message);
    }

    #[test]
    fn a_broken_escape_stands_for_itself() {
        assert_eq!(decode(b"100% of %zz, %4"), "100% of %zz, %4");
        assert_eq!(decode(b"%ff"), "\u{fffd}");
        assert_eq!(
            decode(b"%e2%98%BA"),
            "\u{263a}",
            "either case of hex digits"
        );
    }

    #[test]
    fn a_message_that_is_no_header_is_escaped_and_keeps_its_own_escapes() {
        assert_eq!(header_value(&Bytes::from_static(b"a%20b")), "a%20b");
        assert_eq!(
            header_value(&Bytes::from_static(b"a%20\r\nx: y")),
            "a%20%0D%0Ax: y"
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(message in any::<String>()) {
            let encoded = encode(&message);
            prop_assert_eq!(decode(encoded.as_bytes()), message);
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
            let _ = header_value(&bytes.into());
        }
    }
}
