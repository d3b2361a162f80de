//! Bytes that leave a tunnel together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// A run of the tunnel's byte stream in a few segments, to be written with one vectored write.
#[derive(Debug, Default)]
pub struct Batch {
    segments: VecDeque<Bytes>,
    len: usize,
}

impl Batch {
    pub(super) fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.len += segment.len();
            self.segments.push_back(segment);
        }
    }

    /// Bytes in the batch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next segment, for transports that take one `Bytes` at a time.
    pub fn pop(&mut self) -> Option<Bytes> {
        let segment = self.segments.pop_front()?;
        self.len -= segment.len();
        Some(segment)
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut n: usize) {
        assert!(
            n <= self.len,
            "advanced {n} bytes past a batch of {}",
            self.len
        );
        self.len -= n;
        while n > 0 {
            let front = &mut self.segments[0];
            let step = n.min(front.len());
            front.advance(step);
            n -= step;
            if front.is_empty() {
                self.segments.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_as_its_segments_joined() {
        let mut batch = Batch::default();
        for segment in ["ab", "", "cde", "f"] {
            batch.push(Bytes::from_static(segment.as_bytes()));
        }
        assert_eq!(batch.len(), 6);
        batch.advance(3);
        assert_eq!(batch.chunk(), b"de");
        assert_eq!(batch.copy_to_bytes(3), "def");
        assert!(batch.is_empty());
    }
}
