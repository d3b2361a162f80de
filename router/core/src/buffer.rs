//! The bytes of one call that wait for credit, or for their reader.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A FIFO of bytes that never pins much more memory than it holds.
///
/// A single large piece is kept as it came, without a copy. As soon as a second piece has to wait behind
/// it, both are copied into blocks of this buffer's own: a queue of small slices would pin the whole read
/// buffer behind each of them. One contiguous block would have to double, and be half empty after that.
#[derive(Debug, Default)]
pub struct Buffer {
    /// One piece as it came; empty when the bytes are in `blocks`.
    front: Bytes,
    /// None of them empty, nor larger than [`BLOCK`].
    blocks: VecDeque<BytesMut>,
    len: usize,
}

/// Pieces up to this length are copied at once: a copy costs less than the buffer that they would pin.
const COPY_MAX: usize = 4 * 1024;
/// The largest block, in bytes: a tunnel's chunk, so that a full block leaves whole.
const BLOCK: usize = 16 * 1024;
/// The largest first block that is not of full size, in bytes: a small message waits in no more.
const FIRST_MAX: usize = 512;
/// The smallest block, in bytes.
const BLOCK_MIN: usize = 64;
/// Places for blocks that an empty buffer may keep.
const PLACES: usize = 8;

impl Buffer {
    /// Bytes held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.is_empty() && piece.len() > COPY_MAX {
            self.len = piece.len();
            self.front = piece;
            return;
        }
        if !self.front.is_empty() {
            debug_assert!(
                self.blocks.is_empty(),
                "the front is the whole queue or empty"
            );
            let front = std::mem::take(&mut self.front);
            self.copy(&front);
        }
        self.copy(&piece);
        self.len += piece.len();
    }

    /// Takes up to `max` bytes off the front; what one piece holds, so perhaps fewer.
    pub fn pop(&mut self, max: usize) -> Bytes {
        let piece = if self.front.is_empty() {
            self.pop_block(max)
        } else {
            let n = max.min(self.front.len());
            self.front.split_to(n)
        };
        self.len -= piece.len();
        if self.front.is_empty() {
            // What is empty must not pin what the piece was cut from.
            self.front = Bytes::new();
        }
        piece
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn pop_block(&mut self, max: usize) -> Bytes {
        let Some(first) = self.blocks.front_mut() else {
            return Bytes::new();
        };
        if max < first.len() {
            return first.split_to(max).freeze();
        }
        // The whole allocation goes with the piece, so that an empty buffer holds none.
        let piece = self.blocks.pop_front().unwrap_or_default().freeze();
        if self.blocks.is_empty() {
            self.blocks.shrink_to(PLACES);
        }
        piece
    }

    fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let last = self.block_with_room(bytes.len());
            let n = bytes.len().min(last.capacity() - last.len());
            last.extend_from_slice(&bytes[..n]);
            bytes.advance(n);
        }
    }

    /// The last block, with room for at least one byte, for `more` where a block holds that much.
    fn block_with_room(&mut self, more: usize) -> &mut BytesMut {
        let full = match self.blocks.back_mut() {
            // A block grows while it is small. A large one stays full: to copy it for each small piece
            // would cost more than the block that follows it.
            Some(last) if last.len() == last.capacity() && last.len() <= FIRST_MAX => {
                let mut larger = block(last.len() + more);
                larger.extend_from_slice(last);
                *last = larger;
                false
            }
            Some(last) => last.len() == last.capacity(),
            None => true,
        };
        if full {
            // Who has filled a block will fill the next one.
            let next = match self.blocks.is_empty() {
                true => block(more),
                false => BytesMut::with_capacity(BLOCK),
            };
            self.blocks.push_back(next);
        }
        self.blocks.back_mut().expect("one was there or was added")
    }
}

/// A first block for so many bytes and half as many again, while that is little; else one of full size. So
/// much that waits is in pieces that an allocator keeps apart, and none of it grew there from small ones.
fn block(len: usize) -> BytesMut {
    let room = (len * 3 / 2).next_power_of_two();
    let room = if room > FIRST_MAX { BLOCK } else { room };
    BytesMut::with_capacity(room.max(BLOCK_MIN))
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

    #[test]
    fn much_that_waits_takes_little_more_room_than_it_has_bytes() {
        let mut buffer = Buffer::default();
        for _ in 0..80 * 1024 / 5 {
            buffer.push(Bytes::from_static(b"ABCDE"));
            let room: usize = buffer.blocks.iter().map(BytesMut::capacity).sum();
            assert!(
                room <= buffer.len() + BLOCK,
                "{room} B for {}",
                buffer.len()
            );
        }
        while !buffer.is_empty() {
            assert_eq!(buffer.pop(BLOCK).len(), BLOCK.min(buffer.len() + BLOCK));
        }
    }

    #[test]
    fn an_empty_buffer_holds_no_memory_to_speak_of() {
        let mut buffer = Buffer::default();
        for _ in 0..64 {
            buffer.push(Bytes::from(vec![7; BLOCK]));
        }
        while !buffer.is_empty() {
            buffer.pop(1_000);
        }
        assert!(buffer.blocks.capacity() <= PLACES);
        assert!(buffer.front.is_unique() || buffer.front.as_ptr() == Bytes::new().as_ptr());
    }

    #[test]
    fn a_full_block_is_not_copied_for_each_small_piece_that_follows() {
        let mut buffer = Buffer::default();
        for _ in 0..2 * BLOCK / 5 {
            buffer.push(Bytes::from_static(b"ABCDE"));
        }
        let at = buffer.blocks[0].as_ptr();
        for _ in 0..100 {
            assert_eq!(&buffer.pop(5)[..], b"ABCDE");
            buffer.push(Bytes::from_static(b"ABCDE"));
        }
        assert_eq!(buffer.blocks[0].as_ptr(), at.wrapping_add(500));
    }
}
