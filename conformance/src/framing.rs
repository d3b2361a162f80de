//! gRPC's framing: each message has a prefix of five bytes, a flag and its length.

use anyhow::{Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a prefix.
pub const PREFIX: usize = 5;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 0, or 1 where it is compressed; other values as they came.
    pub flag: u8,
    /// Its bytes, without the prefix.
    pub bytes: Bytes,
}

/// A message as it stands on the wire.
pub fn framed(message: &[u8]) -> Bytes {
    flagged(0, message)
}

/// A message with a flag of one's own.
pub fn flagged(flag: u8, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(flag);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Cuts a byte stream into messages again.
#[derive(Debug)]
pub struct Messages {
    bytes: BytesMut,
    max: usize,
}

impl Messages {
    /// Takes messages of at most so many bytes.
    pub fn up_to(max: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            max,
        }
    }

    /// More of the stream.
    pub fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The next whole message, once it is here.
    ///
    /// # Errors
    /// Where its prefix says that it is longer than the limit.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>> {
        let Some((&flag, length)) = self.bytes.split_first().filter(|(_, rest)| rest.len() >= 4)
        else {
            return Ok(None);
        };
        let length = (&length[..4]).get_u32() as usize;
        ensure!(
            length <= self.max,
            "a message of {length} bytes, the limit is {}",
            self.max
        );
        if self.bytes.len() < PREFIX + length {
            self.bytes.reserve(PREFIX + length - self.bytes.len());
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        let bytes = self.bytes.split_to(length).freeze();
        Ok(Some(Message { flag, bytes }))
    }

    /// Bytes of a message that is not whole.
    pub fn rest(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_were_however_they_are_cut() {
        let all = [flagged(0, b""), flagged(1, b"one"), flagged(0, &[7; 300])].concat();
        for cut in 1..all.len() {
            let mut messages = Messages::up_to(300);
            let mut got = Vec::new();
            for piece in all.chunks(cut) {
                messages.push(piece);
                while let Some(message) = messages.next().unwrap() {
                    got.push((message.flag, message.bytes.len()));
                }
            }
            assert_eq!(got, [(0, 0), (1, 3), (0, 300)]);
            assert_eq!(messages.rest(), 0);
        }
    }

    #[test]
    fn too_long_a_message_is_seen_at_its_prefix() {
        let mut messages = Messages::up_to(300);
        messages.push(&[0, 0, 0, 1, 45]);
        assert!(messages.next().unwrap_err().to_string().contains("301"));
    }
}
