//! HTTP/2 frames as bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client's connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The window with which HTTP/2 begins, of streams and of the connection.
pub const DEFAULT_WINDOW: i64 = 65_535;

/// Types of frames.
#[allow(missing_docs)]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// SETTINGS_MAX_CONCURRENT_STREAMS.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// What stands behind the nine bytes of its head.
    pub payload: Bytes,
}

impl Frame {
    /// Whether it ends its stream in good order.
    pub fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// The number with which the payload begins: of RST_STREAM the code, of WINDOW_UPDATE the bytes. 0 where
    /// there is none.
    pub fn number(&self) -> u32 {
        number_at(&self.payload, 0)
    }

    /// The settings of a SETTINGS frame: id and value.
    pub fn settings(&self) -> Vec<(u16, u32)> {
        let pairs = self.payload.chunks_exact(6);
        pairs
            .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), number_at(pair, 2)))
            .collect()
    }
}

/// Four bytes as a number; 0 where they are not there.
pub(super) fn number_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Reads frames off a socket.
#[derive(Debug)]
pub struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Of nothing read so far.
    pub fn new(read: R) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame; none at the connection's end, clean or not. Nothing is lost where this is dropped.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready() {
                return Some(frame);
            }
            if self.read.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn ready(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if self.buffer.len() < 9 + length {
            return None;
        }
        self.buffer.advance(9);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            payload: self.buffer.split_to(length).freeze(),
        })
    }
}

/// Appends a frame, whatever its parts say.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[kind, flags]);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// The headers that every gRPC call begins with, for this path.
pub fn call_headers(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "conformance.test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
}

/// HPACK without tables: every header is a literal with a literal name, neither of them compressed, and
/// neither of them looked at.
pub fn header_block<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        // Never indexed.
        block.push(0x10);
        literal(&mut block, name.as_ref());
        literal(&mut block, value.as_ref());
    }
    block
}

/// HPACK's string: length with a prefix of seven bits, then the bytes.
fn literal(block: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(127) {
        None => block.push(text.len() as u8),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind::WINDOW_UPDATE, 0, 7, &9_u32.to_be_bytes());
        frame(&mut bytes, kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
        let mut read = FrameReader::new(&bytes[..]);
        let update = read.next().await.unwrap();
        assert_eq!((update.stream, update.number()), (7, 9));
        let settings = read.next().await.unwrap();
        assert_eq!(settings.settings(), [(INITIAL_WINDOW_SIZE, 65_536)]);
        assert_eq!(read.next().await, None);
    }

    #[test]
    fn long_literals_have_long_lengths() {
        let block = header_block([("a", "x".repeat(1_337 - 1_210 + 127))]);
        // 254 = 127 + 127: one more byte.
        assert_eq!(block[..5], [0x10, 1, b'a', 127, 127]);
        let block = header_block([("a", "x".repeat(255))]);
        assert_eq!(block[3..6], [127, 128, 1]);
    }
}
