//! A stream of numbered messages, endless, of which any stretch can be made and checked.

use bytes::Bytes;
use futures_util::FutureExt;

use super::client::Exchange;
use super::far::{FarCall, Path};
use super::framed;

/// Makes the bytes of message 0, message 1, and so on: a gap, a repeat or a swap shows.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    size: usize,
    next: u64,
    message: Bytes,
}

/// Round trips of siblings without any movement that make a stall.
pub(crate) const QUIET: usize = 100;

impl Source {
    /// Messages of `size` bytes each.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            next: 0,
            message: Bytes::new(),
        }
    }

    /// The next at most `max` bytes, from one message.
    pub(crate) fn next(&mut self, max: usize) -> Bytes {
        if self.message.is_empty() {
            let number = self.next.to_le_bytes();
            let message: Vec<u8> = number.iter().copied().cycle().take(self.size).collect();
            self.message = framed(&message);
            self.next += 1;
        }
        self.message.split_to(max.min(self.message.len()))
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Bytes {
        let mut taken = Vec::with_capacity(n);
        while taken.len() < n {
            let piece = self.next(n - taken.len());
            taken.extend_from_slice(&piece);
        }
        taken.into()
    }
}

/// Sends from a source until the window stops, or `total` bytes have gone. Returns how many the client's
/// HTTP/2 had window for, to the byte. Stopped means: nothing moves while 100 siblings complete.
pub(crate) async fn pour(
    path: &Path,
    call: &mut Exchange,
    source: &mut Source,
    total: usize,
) -> usize {
    let mut sent = 0;
    let mut quiet = 0;
    while sent < total && quiet < QUIET {
        match call.room(total - sent).now_or_never() {
            Some(room) => {
                let room = room.expect("the stream is open");
                let piece = source.next(room);
                sent += piece.len();
                call.send.send_data(piece, false).expect("has window");
                quiet = 0;
            }
            None => {
                path.siblings(1).await;
                quiet += 1;
            }
        }
    }
    sent
}

/// Has the far end send whole messages of a source until it is stopped. Returns how many bytes left it.
pub(crate) async fn pour_back(
    path: &Path,
    far: &FarCall,
    source: &mut Source,
    total: usize,
) -> usize {
    let mut quiet = 0;
    let mut seen = 0;
    while far.sent() < total && quiet < QUIET {
        let message = source.next(usize::MAX);
        let mut given = far.begin_give(message).await;
        quiet = 0;
        // `Ok` when it was taken, `Empty` while it waits.
        while given.try_recv().is_err() && quiet < QUIET {
            path.siblings(1).await;
            quiet = if far.sent() == seen { quiet + 1 } else { 0 };
            seen = far.sent();
        }
    }
    far.sent()
}
