//! The `grpc-timeout` header: 1 to 8 digits and a unit, a length of time and never a point in it.

use std::time::Duration;

use http::HeaderValue;
use thiserror::Error;

/// The largest number that 8 digits can say.
const MAX_VALUE: u128 = 99_999_999;

/// Unit and its length in nanoseconds, finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

/// The header is not 1 to 8 digits and one of `H M S m u n`. The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("grpc-timeout is not 1 to 8 digits and one of H M S m u n")]
pub struct BadTimeout;

/// Reads a `grpc-timeout`. The largest that can be said is 99,999,999 hours, so nothing overflows.
///
/// # Errors
/// [`BadTimeout`] for anything that the gRPC specification does not allow; 9 digits are an error
/// even with leading zeros.
pub fn parse_timeout(header: &[u8]) -> Result<Duration, BadTimeout> {
    let (unit, digits) = header.split_last().ok_or(BadTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadTimeout);
    }
    let value = digits
        .iter()
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Ok(match unit {
        b'H' => Duration::from_secs(value * 3_600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return Err(BadTimeout),
    })
}

/// Writes a `grpc-timeout` in the finest unit that 8 digits hold, rounded down: never longer than
/// `timeout`, and 0 only for 0. More than 99,999,999 hours is cut to that.
#[must_use]
pub fn format_timeout(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let (value, unit) = UNITS
        .iter()
        .map(|&(unit, length)| (nanos / length, unit))
        .find(|&(value, _)| value <= MAX_VALUE)
        .unwrap_or((MAX_VALUE, b'H'));
    let header = format!("{value}{}", char::from(unit));
    HeaderValue::try_from(header).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read_with_up_to_eight_digits() {
        for (header, seconds) in [
            ("1H", 3_600),
            ("2M", 120),
            ("3S", 3),
            ("99999999S", 99_999_999),
        ] {
            assert_eq!(
                parse_timeout(header.as_bytes()),
                Ok(Duration::from_secs(seconds))
            );
        }
        assert_eq!(parse_timeout(b"7m"), Ok(Duration::from_millis(7)));
        assert_eq!(parse_timeout(b"8u"), Ok(Duration::from_micros(8)));
        assert_eq!(parse_timeout(b"00000009n"), Ok(Duration::from_nanos(9)));
        let longest = Duration::from_secs(99_999_999 * 3_600);
        assert_eq!(
            parse_timeout(b"99999999H"),
            Ok(longest),
            "the largest does not overflow"
        );
    }

    #[test]
    fn nine_digits_and_garbage_are_refused() {
        for header in [
            "",
            "S",
            "1",
            "100000000S",
            "000000001S",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1s",
        ] {
            assert_eq!(
                parse_timeout(header.as_bytes()),
                Err(BadTimeout),
                "{header:?}"
            );
        }
        assert_eq!(parse_timeout(b"1\xff"), Err(BadTimeout));
        assert_eq!(
            parse_timeout("\u{0661}S".as_bytes()),
            Err(BadTimeout),
            "an Arabic digit"
        );
    }

    #[test]
    fn the_finest_unit_that_fits_is_written() {
        for (timeout, header) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format_timeout(timeout), header);
        }
    }

    proptest! {
        #[test]
        fn a_written_timeout_is_never_longer_and_close(nanos in any::<u64>()) {
            let timeout = Duration::from_nanos(nanos);
            let read = parse_timeout(format_timeout(timeout).as_bytes()).unwrap();
            prop_assert!(read <= timeout);
            // A unit is at most 1,000 of the finer one, of which there were 100,000,000.
            prop_assert!(timeout - read <= timeout / 100_000);
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse_timeout(&bytes);
        }
    }
}
