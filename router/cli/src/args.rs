//! Values on the command line: sizes and times, as people write them.

use std::time::Duration;

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

/// A length of time: `500ms`, `5s`, `2m`.
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
        Err("a time must be longer than zero".to_owned())
    } else {
        Ok(time)
    }
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
    fn what_is_neither_is_refused_with_an_example() {
        for text in ["", "KiB", "1KB", "-1", "4GiB", "99999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["", "5", "s", "0s", "1h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
