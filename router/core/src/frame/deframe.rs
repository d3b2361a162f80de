//! Splits a byte stream of length-prefixed gRPC messages into message bodies.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// The bytes before each message: a flag, and the length as a big-endian number of 4 bytes.
pub const PREFIX_LEN: usize = 5;

/// Takes chunks of a stream as they arrive and gives message bodies.
///
/// A message that lies whole in one chunk is cut out of it without a copy. Only one that is spread
/// over chunks is collected, in a buffer that is reserved after its length was found in order: a
/// peer's length never decides how much memory is taken. Each [`push`](Self::push) is followed by
/// [`next`](Self::next) until that gives `None`.
#[derive(Debug)]
pub struct Deframer {
    max_frame: usize,
    chunk: Bytes,
    /// The prefix and, once that is whole, the body of a message that began in an earlier chunk.
    partial: BytesMut,
}

/// Why a byte stream is not a stream of frames. The peer's fault; it ends the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeframeError {
    /// The compressed flag is set, or something else than 0 or 1.
    #[error("a frame has the flag {0}: frames are not compressed")]
    Flag(u8),
    /// The prefix announces more than is accepted.
    #[error("a frame of {len} bytes, of at most {max_frame}")]
    TooLarge {
        /// As announced.
        len: u32,
        /// The limit, in bytes.
        max_frame: usize,
    },
}

impl Deframer {
    /// Accepts messages of at most `max_frame` bytes, the prefix not counted.
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        Self {
            max_frame,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
        }
    }

    /// Takes the next chunk of the stream.
    ///
    /// # Panics
    /// If messages of the chunk before were not taken.
    pub fn push(&mut self, chunk: Bytes) {
        assert!(
            self.chunk.is_empty(),
            "the chunk before is read until next() gives None"
        );
        self.chunk = chunk;
    }

    /// Whether [`next`](Self::next) has nothing left to look at.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Forgets the stream: nobody will read on.
    pub fn clear(&mut self) {
        self.chunk = Bytes::new();
        self.partial = BytesMut::new();
    }

    /// The body of the next message, or `None` when more of the stream is needed.
    ///
    /// # Errors
    /// A prefix that is not acceptable, seen as soon as its 5 bytes are there. The stream cannot
    /// be followed after that.
    #[allow(
        clippy::should_implement_trait,
        reason = "it goes on after None, and can fail"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, DeframeError> {
        if self.partial.is_empty() && self.chunk.len() >= PREFIX_LEN {
            let len = self.body_len(&self.chunk)?;
            if self.chunk.len() - PREFIX_LEN >= len {
                self.chunk.advance(PREFIX_LEN);
                return Ok(Some(self.chunk.split_to(len)));
            }
        }
        self.collect()
    }

    /// Moves what belongs to the message from the chunk to the buffer.
    fn collect(&mut self) -> Result<Option<Bytes>, DeframeError> {
        self.fill_to(PREFIX_LEN);
        if self.partial.len() < PREFIX_LEN {
            return Ok(None);
        }
        let len = self.body_len(&self.partial)?;
        self.fill_to(PREFIX_LEN + len);
        if self.partial.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        // A fresh buffer for the next message: this one lives as long as the frame's slices.
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX_LEN);
        Ok(Some(message))
    }

    fn fill_to(&mut self, len: usize) {
        let missing = len.saturating_sub(self.partial.len());
        if missing > 0 && !self.chunk.is_empty() {
            self.partial.reserve(missing);
            let taken = self.chunk.split_to(missing.min(self.chunk.len()));
            self.partial.extend_from_slice(&taken);
        }
    }

    fn body_len(&self, bytes: &[u8]) -> Result<usize, DeframeError> {
        let [flag, a, b, c, d] = *bytes
            .first_chunk::<PREFIX_LEN>()
            .expect("5 bytes are there");
        if flag != 0 {
            return Err(DeframeError::Flag(flag));
        }
        let len = u32::from_be_bytes([a, b, c, d]);
        match usize::try_from(len) {
            Ok(body_len) if body_len <= self.max_frame => Ok(body_len),
            _ => Err(DeframeError::TooLarge {
                len,
                max_frame: self.max_frame,
            }),
        }
    }
}
