//! The bytes of every message, known from its call, direction and number: both edges can make them, so
//! that whoever reads one knows what must stand there.

use std::sync::Arc;

use super::Rule;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the handler.
    Request,
    /// From the handler to the client.
    Response,
}

/// What stands before a message on the wire: a flag and its length.
pub const PREFIX: u64 = 5;

/// The messages of one call and direction, one after another, each with its prefix.
#[derive(Debug, Clone)]
pub struct Stream {
    call: u32,
    direction: Direction,
    sizes: Arc<[u32]>,
    /// The message that comes next, and how much of it, prefix included, has gone by.
    index: usize,
    offset: u64,
    /// Bytes that have gone by in all.
    position: u64,
}

/// What [`Stream::check`] compares at a time.
const STEP: usize = 8 * 1024;

impl Stream {
    /// The messages of these sizes, in bytes.
    pub fn new(call: u32, direction: Direction, sizes: Arc<[u32]>) -> Self {
        Self {
            call,
            direction,
            sizes,
            index: 0,
            offset: 0,
            position: 0,
        }
    }

    /// Bytes that have gone by.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Messages that have gone by whole.
    pub fn messages(&self) -> usize {
        self.index
    }

    /// Whether all of it has gone by.
    pub fn is_done(&self) -> bool {
        self.index == self.sizes.len()
    }

    /// Bytes until the end of the message after this many more whole ones; of all that is left where there
    /// are fewer.
    pub fn until(&self, messages: usize) -> u64 {
        let last = self.sizes.len().min(self.index + messages);
        let whole: u64 = self.sizes[self.index..last]
            .iter()
            .map(|size| u64::from(*size) + PREFIX)
            .sum();
        whole.saturating_sub(self.offset)
    }

    /// Takes the next bytes, at most `out.len()`. Gives how many.
    pub fn fill(&mut self, out: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < out.len() && !self.is_done() {
            let size = u64::from(self.sizes[self.index]);
            let left = size + PREFIX - self.offset;
            let n = left.min((out.len() - filled) as u64) as usize;
            self.write(&mut out[filled..filled + n], size);
            filled += n;
            self.advance(n as u64, size);
        }
        filled
    }

    /// Checks that `bytes` come next. Fails with the rule that they break.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), Rule> {
        let before = self.clone();
        let mut due = [0; STEP];
        for chunk in bytes.chunks(STEP) {
            let n = self.fill(&mut due[..chunk.len()]);
            if n < chunk.len() || due[..n] != *chunk {
                return Err(before.explain(bytes));
            }
        }
        Ok(())
    }

    /// What became of the order, where `bytes` did not come next.
    fn explain(&self, bytes: &[u8]) -> Rule {
        let mut whole = vec![0; self.total() as usize];
        let mut all = Self::new(self.call, self.direction, self.sizes.clone());
        all.fill(&mut whole);
        // Few bytes stand anywhere by chance, prefixes above all.
        let Some(probe) = bytes.get(..bytes.len().min(64)).filter(|p| p.len() >= 8) else {
            return Rule::Corrupted;
        };
        let found = whole.windows(probe.len()).position(|at| at == probe);
        match found {
            Some(at) if (at as u64) < self.position => Rule::Reordered,
            Some(_) => Rule::Gapped,
            None => Rule::Corrupted,
        }
    }

    fn total(&self) -> u64 {
        self.sizes.iter().map(|s| u64::from(*s) + PREFIX).sum()
    }

    fn advance(&mut self, n: u64, size: u64) {
        self.position += n;
        self.offset += n;
        if self.offset == size + PREFIX {
            self.offset = 0;
            self.index += 1;
        }
    }

    /// Writes a part of the present message, from its offset on.
    fn write(&self, out: &mut [u8], size: u64) {
        let mut out = out;
        let mut at = self.offset;
        if at < PREFIX {
            let prefix = prefix(size as u32);
            let n = out.len().min((PREFIX - at) as usize);
            out[..n].copy_from_slice(&prefix[at as usize..at as usize + n]);
            out = &mut out[n..];
            at += n as u64;
        }
        let base = base(self.call, self.direction, self.index as u32);
        // Where the room ends within the prefix, nothing of the body is written.
        let mut at = at.saturating_sub(PREFIX);
        while !out.is_empty() {
            let word = word(base, at / 8).to_le_bytes();
            let from = (at % 8) as usize;
            let n = out.len().min(8 - from);
            out[..n].copy_from_slice(&word[from..from + n]);
            out = &mut out[n..];
            at += n as u64;
        }
    }
}

/// The body of one message.
pub fn message(call: u32, direction: Direction, index: u32, size: u32) -> Vec<u8> {
    let base = base(call, direction, index);
    let words = (0..u64::from(size).div_ceil(8)).flat_map(|n| word(base, n).to_le_bytes());
    words.take(size as usize).collect()
}

/// A message's prefix on the wire: not compressed, and its length.
pub fn prefix(size: u32) -> [u8; PREFIX as usize] {
    let [a, b, c, d] = size.to_be_bytes();
    [0, a, b, c, d]
}

fn base(call: u32, direction: Direction, index: u32) -> u64 {
    let seed = u64::from(call) << 33 | u64::from(index) << 1 | u64::from(direction as u8);
    (seed ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn word(base: u64, n: u64) -> u64 {
    let mixed = (base ^ n).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(call: u32) -> Stream {
        Stream::new(call, Direction::Request, Arc::new([100, 0, 20_000, 3]))
    }

    fn bytes(call: u32) -> Vec<u8> {
        let mut all = vec![0; 40_000];
        let n = stream(call).fill(&mut all);
        all.truncate(n);
        all
    }

    #[test]
    fn what_one_edge_writes_the_other_one_knows_however_it_is_cut() {
        let all = bytes(1);
        assert_eq!(all.len() as u64, stream(1).total());
        assert_eq!(all[5..105], message(1, Direction::Request, 0, 100));
        for cut in [1, 7, 100, 9_000, 40_000] {
            let mut reader = stream(1);
            assert!(all.chunks(cut).all(|chunk| reader.check(chunk).is_ok()));
            assert!(reader.is_done());
        }
    }

    #[test]
    fn what_is_wrong_with_the_order_has_a_name() {
        let all = bytes(1);
        let mut reader = stream(1);
        reader.check(&all[..2_000]).unwrap();
        assert_eq!(reader.clone().check(&all[500..900]), Err(Rule::Reordered));
        assert_eq!(reader.clone().check(&all[2_500..2_900]), Err(Rule::Gapped));
        let other = bytes(2);
        assert_eq!(
            reader.clone().check(&other[2_000..2_100]),
            Err(Rule::Corrupted)
        );
        let mut reader = stream(1);
        reader.check(&all).unwrap();
        assert!(reader.check(b"x").is_err(), "past the end");
    }

    #[test]
    fn so_much_is_left_of_some_messages() {
        let mut reader = stream(1);
        assert_eq!(reader.until(1), 105);
        reader.fill(&mut [0; 5]);
        assert_eq!((reader.until(1), reader.until(2)), (100, 105));
        assert_eq!(reader.until(9), reader.total() - 5);
    }
}
