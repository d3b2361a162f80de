//! The bytes of one call that wait for credit, or for their reader.

use bytes::{Buf, Bytes, BytesMut};

/// A FIFO of bytes that never pins much more memory than it holds.
///
/// A single large piece is kept as it came, without a copy. As soon as a second piece has to wait behind
/// it, both are copied into one contiguous buffer: a queue of small slices would pin the whole read
/// buffer behind each of them.
#[derive(Debug, Default)]
pub struct Buffer {
    /// One piece as it came; empty when the bytes are in `tail`.
    front: Bytes,
    tail: BytesMut,
}

/// Pieces up to this length are copied at once: a copy costs less than the buffer that they would pin.
const COPY_MAX: usize = 4 * 1024;

impl Buffer {
    /// Bytes held.
    pub fn len(&self) -> usize {
        self.front.len() + self.tail.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.is_empty() && piece.len() > COPY_MAX {
            self.front = piece;
            return;
        }
        if !self.front.is_empty() {
            debug_assert!(
                self.tail.is_empty(),
                "the front is the whole queue or empty"
            );
            let front = std::mem::take(&mut self.front);
            self.tail.extend_from_slice(&front);
        }
        self.tail.extend_from_slice(&piece);
    }

    /// Takes up to `max` bytes off the front; what one piece holds, so perhaps fewer.
    pub fn pop(&mut self, max: usize) -> Bytes {
        if !self.front.is_empty() {
            let n = max.min(self.front.len());
            if n == self.front.len() {
                return std::mem::take(&mut self.front);
            }
            let piece = self.front.slice(..n);
            self.front.advance(n);
            return piece;
        }
        let n = max.min(self.tail.len());
        if n == self.tail.len() {
            // The whole allocation goes with the piece, so that an empty buffer holds none.
            return std::mem::take(&mut self.tail).freeze();
        }
        self.tail.split_to(n).freeze()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_whatever_the_pieces() {
        let mut buffer = Buffer::default();
        let sent: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
        let mut rest = Bytes::from(sent.clone());
        let mut got = Vec::new();
        for size in [5usize, 9_000, 1, 4_096, 4_097, 20_000, 2_801] {
            buffer.push(rest.split_to(size));
            got.extend_from_slice(&buffer.pop(3_000));
        }
        while !buffer.is_empty() {
            got.extend_from_slice(&buffer.pop(16_384));
        }
        assert!(rest.is_empty());
        assert_eq!(got, sent);
    }

    #[test]
    fn a_lone_large_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 16_384]);
        let at = piece.as_ptr();
        let mut buffer = Buffer::default();
        buffer.push(piece);
        assert_eq!(buffer.pop(8_192).as_ptr(), at);
    }

    #[test]
    fn a_small_piece_does_not_pin_the_buffer_that_it_was_cut_from() {
        let whole = Bytes::from(vec![7; 16_384]);
        let mut buffer = Buffer::default();
        buffer.push(whole.slice(..5));
        assert!(whole.is_unique(), "the five bytes were copied");
    }
}
