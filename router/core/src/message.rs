//! Walks the length prefixes of a call's messages, to hold them to a limit without holding them.

/// Follows one direction of a call: a 5-byte prefix, then the message, and so on.
///
/// Bytes may be cut anywhere. Nothing is buffered but an incomplete prefix.
#[derive(Debug, Clone)]
pub struct MessageLimit {
    max: u32,
    prefix: [u8; 5],
    prefix_len: usize,
    /// Bytes of the present message that have not yet passed.
    left: u32,
}

/// A message is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message of {length} bytes exceeds the limit of {max}")]
pub struct MessageTooLarge {
    /// Length that the prefix announces, in bytes.
    pub length: u32,
    /// The limit, in bytes.
    pub max: u32,
}

impl MessageLimit {
    /// Messages of up to `max` bytes pass.
    pub const fn new(max: u32) -> Self {
        Self {
            max,
            prefix: [0; 5],
            prefix_len: 0,
            left: 0,
        }
    }

    /// Looks at the next bytes of the call. Fails at the prefix of a message that is too long, before
    /// any of the message has arrived.
    pub fn check(&mut self, mut data: &[u8]) -> Result<(), MessageTooLarge> {
        while !data.is_empty() {
            let skip = data.len().min(self.left as usize);
            self.left -= skip as u32;
            data = &data[skip..];
            let take = data.len().min(5 - self.prefix_len);
            self.prefix[self.prefix_len..self.prefix_len + take].copy_from_slice(&data[..take]);
            self.prefix_len += take;
            data = &data[take..];
            if self.prefix_len == 5 {
                let [_, a, b, c, d] = self.prefix;
                let length = u32::from_be_bytes([a, b, c, d]);
                if length > self.max {
                    return Err(MessageTooLarge {
                        length,
                        max: self.max,
                    });
                }
                self.left = length;
                self.prefix_len = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(5 + length as usize, 7);
        bytes
    }

    #[test]
    fn the_edge_is_exact_wherever_the_bytes_are_cut() {
        let stream = [message(10), message(0), message(9), message(11)].concat();
        for cut in 1..stream.len() {
            let mut limit = MessageLimit::new(10);
            let verdict = stream.chunks(cut).try_for_each(|piece| limit.check(piece));
            assert_eq!(
                verdict,
                Err(MessageTooLarge {
                    length: 11,
                    max: 10
                }),
                "cut at {cut}"
            );
        }
        let mut limit = MessageLimit::new(11);
        assert_eq!(limit.check(&stream), Ok(()));
    }

    /// Proves: S5
    #[test]
    fn a_prefix_of_four_gigabytes_is_refused_before_its_message() {
        let mut limit = MessageLimit::new(1 << 20);
        let verdict = limit.check(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(
            verdict,
            Err(MessageTooLarge {
                length: u32::MAX,
                max: 1 << 20
            })
        );
    }
}
