//! Where messages begin and end in the bytes of one direction, whatever the frames that carry them: what a mutant
//! does to a message must not depend on how many of them came in one frame.

use std::ops::Range;

/// The length of a message's prefix, in bytes.
const PREFIX: usize = 5;

/// The messages of one direction.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: Vec<u8>,
    /// Bytes of the present message that have not come.
    left: usize,
    /// How many have begun, with their whole prefixes.
    pub(super) begun: u32,
    /// The lengths of the first two.
    pub(super) first: Vec<usize>,
}

/// What of messages there is in one frame, by its bytes.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where prefixes begin: the flags.
    pub(super) flags: Vec<usize>,
    /// The messages that lie in it from end to end, with their numbers from 1 on.
    pub(super) whole: Vec<(u32, Range<usize>)>,
}

impl Messages {
    /// The next bytes.
    pub(super) fn pass(&mut self, data: &[u8]) -> Found {
        let mut found = Found::default();
        let mut start = None;
        let mut at = 0;
        while at < data.len() {
            if self.left > 0 {
                let some = self.left.min(data.len() - at);
                self.left -= some;
                at += some;
            } else {
                if self.prefix.is_empty() {
                    found.flags.push(at);
                    start = Some(at);
                }
                self.prefix.push(data[at]);
                at += 1;
                let Ok([_, length @ ..]) = <[u8; PREFIX]>::try_from(&self.prefix[..]) else {
                    continue;
                };
                self.prefix.clear();
                self.left = u32::from_be_bytes(length) as usize;
                self.begun += 1;
                if self.first.len() < 2 {
                    self.first.push(self.left);
                }
            }
            if self.left == 0
                && let Some(start) = start.take()
            {
                found.whole.push((self.begun, start..at));
            }
        }
        found
    }

    /// Bytes that a message which has begun lacks.
    pub(super) fn missing(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_and_across_frames() {
        let mut messages = Messages::default();
        let found = messages.pass(&[0, 0, 0, 0, 1, 9, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found.flags, [0, 6, 11]);
        assert_eq!(found.whole, [(1, 0..6), (2, 6..11)]);
        let found = messages.pass(&[0, 0, 2, 7]);
        assert_eq!((found.flags.len(), found.whole.len()), (0, 0));
        assert_eq!((messages.missing(), messages.begun), (1, 3));
        assert_eq!(messages.first, [1, 0]);
    }
}
