//! Messages as section 2 of `probe.proto` makes them, their frames, and their sum.

use bytes::{BufMut, Bytes, BytesMut};

/// The length of a message's prefix, in bytes.
pub const PREFIX: usize = 5;

/// Message number `n` of `size` bytes.
pub fn message(n: u32, size: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(size);
    put(&mut bytes, n, size);
    bytes.freeze()
}

/// The same in its frame.
pub fn framed_message(n: u32, size: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + size);
    put_prefix(&mut bytes, 0, size);
    put(&mut bytes, n, size);
    bytes.freeze()
}

/// A message in its frame: the flag, 1 where it is compressed, and its length before it.
///
/// # Panics
/// Where its length does not fit a prefix.
pub fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
    put_prefix(&mut bytes, flag, message.len());
    bytes.put_slice(message);
    bytes.freeze()
}

fn put_prefix(bytes: &mut BytesMut, flag: u8, size: usize) {
    bytes.put_u8(flag);
    bytes.put_u32(size.try_into().expect("a message below 4 GiB"));
}

fn put(bytes: &mut BytesMut, n: u32, size: usize) {
    let start = bytes.len();
    bytes.extend((0..size).map(|j| {
        let j = j as u32;
        (n.wrapping_add(j.wrapping_mul(7)).wrapping_add(j / 256)) as u8
    }));
    if size >= 4 {
        bytes[start..start + 4].copy_from_slice(&n.to_be_bytes());
    }
}

/// zlib's CRC-32 of all messages one after the other, as a handler reports it for those that it took.
pub fn crc<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for message in messages {
        sum.update(message);
    }
    sum.finalize()
}

/// The same for messages that section 2 makes: `count` of them from number `first`.
pub fn crc_of_made(first: u32, count: u32, size: usize) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for n in 0..count {
        sum.update(&message(first.wrapping_add(n), size));
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_specification_says() {
        assert_eq!(&message(3, 2)[..], [3, 10]);
        let long = message(0x0102_0304, 600);
        assert_eq!(&long[..5], [1, 2, 3, 4, (4 + 28) as u8]);
        assert_eq!(long[599], ((4 + 7 * 599 + 2) % 256) as u8);
        assert_eq!(&framed_message(9, 1)[..], [0, 0, 0, 0, 1, 9]);
        assert_eq!(framed(1, b"x"), &b"\x01\0\0\0\x01x"[..]);
    }

    #[test]
    fn the_sum_is_zlibs() {
        assert_eq!(crc([&b"1234"[..], b"56789"]), 0xcbf4_3926);
        let made = [message(5, 7), message(6, 7)];
        assert_eq!(
            crc_of_made(5, 2, 7),
            crc(made.iter().map(|bytes| &bytes[..]))
        );
    }
}
