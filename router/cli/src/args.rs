//! Values on the command line: sizes, times and names, as people write them, in the ranges that make sense.

use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter::CLIENT_WINDOW_MIN;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A number of bytes: `65536`, `64KiB`, `8MiB`, `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<u32, String> {
    let (number, unit) = split(text);
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("expected a size such as 65536, 64KiB or 8MiB".to_owned()),
    };
    let number: u32 = number
        .parse()
        .map_err(|_| "expected a size such as 65536, 64KiB or 8MiB".to_owned())?;
    let bytes = number
        .checked_mul(unit)
        .filter(|bytes| *bytes <= i32::MAX as u32);
    bytes.ok_or_else(|| "the largest size is 2147483647 bytes".to_owned())
}

/// A size of a window of one call.
pub(crate) fn window(text: &str) -> Result<u32, String> {
    let why = "a window must hold one piece of data, of 16KiB";
    at_least(16 << 10, bytes(text)?, why)
}

/// A size of a client's window.
pub(crate) fn client_window(text: &str) -> Result<u32, String> {
    let size = bytes(text)?;
    if size < CLIENT_WINDOW_MIN {
        return Err(format!(
            "the smallest is {CLIENT_WINDOW_MIN} bytes, 64KiB less one: HTTP/2 lets a client send so much \
             before it knows the window"
        ));
    }
    Ok(size)
}

/// A size of a queue that all calls of a tunnel share.
pub(crate) fn queue(text: &str) -> Result<u32, String> {
    at_least(
        64 << 10,
        bytes(text)?,
        "a queue must hold one frame, of 64KiB",
    )
}

/// A size of a list of metadata.
pub(crate) fn metadata(text: &str) -> Result<u32, String> {
    let size = at_least(1 << 10, bytes(text)?, "ordinary clients send up to 1KiB")?;
    if size > 32 << 10 {
        return Err("the largest is 32KiB: it must fit a frame beside data".to_owned());
    }
    Ok(size)
}

fn at_least(min: u32, size: u32, why: &str) -> Result<u32, String> {
    if size < min {
        return Err(format!("the smallest is {}KiB: {why}", min >> 10));
    }
    Ok(size)
}

/// The time between heartbeats.
pub(crate) fn heartbeat(text: &str) -> Result<Duration, String> {
    let interval = time(text)?;
    if interval < Duration::from_millis(100) {
        return Err(
            "the shortest is 100ms: a busy network is silent for longer at times".to_owned(),
        );
    }
    Ok(interval)
}

/// A length of time, up to a day: `500ms`, `5s`, `2m`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let say = || "expected a time such as 500ms, 5s or 2m".to_owned();
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| say())?;
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(say()),
    };
    if time.is_zero() {
        return Err("a time must be longer than zero".to_owned());
    }
    if time > DAY {
        return Err("the longest time is a day, 1440m".to_owned());
    }
    Ok(time)
}

/// The id of an instance.
pub(crate) fn id(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 128 of A-Z a-z 0-9 . _ : -".to_owned())
    }
}

/// What an agent offers.
pub(crate) fn service(text: &str) -> Result<String, String> {
    if text == "*" || is_service_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the full name of a service, such as pkg.Service, or *".to_owned())
    }
}

/// Whether this is a full name of protobuf: identifiers joined by dots.
pub(crate) fn is_service_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let identifier = |part: &str| {
        part.bytes().all(plain) && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    name.len() <= 256 && name.split('.').all(identifier)
}

/// Where to listen.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "expected IP:PORT such as 127.0.0.1:50051".to_owned())
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() {
        Err("expected KEY=VALUE".into())
    } else {
        Ok((key.into(), value.into()))
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        assert_eq!(bytes("80KiB"), Ok(80 * 1024));
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(time("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(label("zone=b=c"), Ok(("zone".into(), "b=c".into())));
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_edge_and_a_reason() {
        assert_eq!(window("16KiB"), Ok(16_384));
        assert!(window("16383").unwrap_err().contains("16KiB: "));
        assert_eq!(client_window("64KiB"), Ok(65_536));
        assert_eq!(client_window("65535"), Ok(CLIENT_WINDOW_MIN));
        assert!(client_window("65534").unwrap_err().contains("65535 bytes"));
        assert_eq!(queue("64KiB"), Ok(65_536));
        assert!(queue("0").unwrap_err().contains("64KiB: "));
        assert_eq!(
            (metadata("1KiB"), metadata("32KiB")),
            (Ok(1_024), Ok(32_768))
        );
        assert!(metadata("1023").unwrap_err().contains("1KiB: "));
        assert!(metadata("64KiB").unwrap_err().contains("32KiB: "));
        assert!(heartbeat("99ms").unwrap_err().contains("100ms: "));
        assert!(heartbeat("100ms").is_ok());
        assert!(time("1440m").is_ok());
        assert!(time("86401s").unwrap_err().contains("a day"));
    }

    #[test]
    fn names_are_as_a_gateway_takes_them() {
        for text in ["a", "site-7", "A.b_c:1", &"i".repeat(128)] {
            assert!(id(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "a/b", "\u{e9}", &"i".repeat(129)] {
            assert!(id(text).is_err(), "{text}");
        }
        for text in ["*", "S", "pkg.v1.Service_2", &"s".repeat(256)] {
            assert!(service(text).is_ok(), "{text}");
        }
        for text in ["", "pkg.*", "/pkg.S", "pkg..S", "1pkg.S", &"s".repeat(257)] {
            assert!(service(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_an_example() {
        for text in ["", "KiB", "1KB", "-1", "4GiB", "99999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["", "5", "s", "0s", "1h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
