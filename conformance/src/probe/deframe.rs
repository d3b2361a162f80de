//! From a request's bytes to its messages.

use bytes::{Buf, Bytes, BytesMut};

use super::MESSAGE_MAX;
use super::payload::PREFIX;
use super::side::Amount;

/// A message as it came.
#[derive(Debug, PartialEq)]
pub(super) struct Raw {
    /// The first byte of its prefix: 1 where it is compressed.
    pub(super) flag: u8,
    pub(super) data: Bytes,
}

/// A prefix announces more than [`MESSAGE_MAX`].
#[derive(Debug, PartialEq)]
pub(super) struct TooLong(pub(super) u32);

/// Cuts a byte stream into messages, and counts what came before anybody asks for it.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    bytes: BytesMut,
    arrived: Amount,
    /// Where the counting stands: bytes of the present prefix so far, and of its message still to come.
    prefix: Vec<u8>,
    left: u64,
}

impl Deframer {
    /// Takes bytes in.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.count(data);
        self.bytes.extend_from_slice(data);
    }

    /// What came so far: messages that are whole, and the bytes of all of them and of the one that is not.
    pub(super) fn arrived(&self) -> Amount {
        self.arrived
    }

    /// The next message, if it is here whole.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, TooLong> {
        let Some(prefix) = self.bytes.get(..PREFIX) else {
            return Ok(None);
        };
        let flag = prefix[0];
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        if length as usize > MESSAGE_MAX {
            return Err(TooLong(length));
        }
        if self.bytes.len() < PREFIX + length as usize {
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        let data = self.bytes.split_to(length as usize).freeze();
        Ok(Some(Raw { flag, data }))
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_messages(&self) -> bool {
        self.bytes.is_empty()
    }

    fn count(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left == 0 {
                let take = data.len().min(PREFIX - self.prefix.len());
                self.prefix.extend_from_slice(&data[..take]);
                data = &data[take..];
                if let [_, length @ ..] = &self.prefix[..]
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.prefix.clear();
                    self.left = u32::from_be_bytes(length).into();
                    self.arrived.messages += u64::from(self.left == 0);
                }
                continue;
            }
            let take = self.left.min(data.len() as u64);
            data = &data[take as usize..];
            self.left -= take;
            self.arrived.bytes += take;
            self.arrived.messages += u64::from(self.left == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::payload::framed;

    #[test]
    fn messages_are_cut_and_counted_wherever_the_pieces_end() {
        let messages = [&b""[..], b"a", &[7; 300], b""];
        let stream: Vec<u8> = messages.iter().flat_map(|m| framed(1, m)).collect();
        for size in [1, 2, 5, 6, 7, 299, stream.len()] {
            let (mut deframer, mut got) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(size) {
                deframer.push(piece);
                while let Some(raw) = deframer.next().unwrap() {
                    assert_eq!(raw.flag, 1);
                    got.push(raw.data);
                }
            }
            assert_eq!(got, messages, "in pieces of {size}");
            assert!(deframer.is_between_messages());
            assert_eq!(deframer.arrived(), Amount::new(4, 301));
        }
    }

    #[test]
    fn a_part_counts_by_its_bytes_and_is_no_message() {
        let mut deframer = Deframer::default();
        deframer.push(&framed(0, b"12345")[..8]);
        assert_eq!(deframer.next(), Ok(None));
        assert_eq!(deframer.arrived(), Amount::new(0, 3));
        assert!(!deframer.is_between_messages());
    }

    #[test]
    fn an_absurd_length_is_refused_by_its_prefix() {
        let mut deframer = Deframer::default();
        deframer.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(deframer.next(), Err(TooLong(u32::MAX)));
    }
}
