//! A request's bytes on their way to the tunnel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::{Gateway, config};
use h2::RecvStream;
use http_body::Body;

use crate::hop::REPLAY_MAX;
use crate::tunnel::Call;

/// Where a request's bytes come from.
pub(super) trait Source {
    /// The most that may be read of it before it moved on, in bytes.
    const AHEAD_MAX: usize;

    /// The next bytes; `None` at the end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>>;

    /// Whether the end is known to have come.
    fn is_ended(&self) -> bool;

    /// So many bytes have moved on: their sender may send as many more.
    fn release(&mut self, bytes: usize);
}

/// The request was cut: reset, or its connection died. Never an end of stream.
#[derive(Debug)]
pub(super) struct Cut;

impl Source for RecvStream {
    /// Read eagerly: the stream's window bounds what waits. A slow handler must not leave frames in
    /// HTTP/2's queue, where they would count against the whole connection.
    const AHEAD_MAX: usize = usize::MAX;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        RecvStream::poll_data(self, cx).map(|data| data.map(|data| data.map_err(|_| Cut)))
    }

    fn is_ended(&self) -> bool {
        self.is_end_stream()
    }

    fn release(&mut self, bytes: usize) {
        let bytes = bytes / (1 + usize::from(sabotage::is(Sabotage::WindowKept)));
        // Fails only for a stream that is gone, which its next poll says.
        let _ = self.flow_control().release_capacity(bytes);
    }
}

/// A request in somebody else's server.
#[derive(Debug)]
pub(super) struct BodySource<B>(pub(super) B);

impl<B: Body<Data = Bytes> + Unpin> Source for BodySource<B> {
    /// That server frees its window as soon as it is read, so no more is read than may wait here.
    const AHEAD_MAX: usize = 64 * 1024;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(Cut))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    fn is_ended(&self) -> bool {
        self.0.is_end_stream()
    }

    fn release(&mut self, _: usize) {}
}

/// A request on its way: read as it comes, within what may wait, and given back as it moves on.
pub(super) struct Inflow<S> {
    source: S,
    /// The client has half-closed.
    pub(super) ended: bool,
    pub(super) received: usize,
    /// What of it the source was told has moved on.
    released: usize,
    /// All of the request so far, while it is short enough to be sent again.
    replay: Option<BytesMut>,
}

impl<S: Source> Inflow<S> {
    pub(super) fn new(source: S) -> Self {
        let ended = source.is_ended();
        Self {
            source,
            ended,
            received: 0,
            released: 0,
            replay: Some(BytesMut::new()),
        }
    }

    /// What of the request has arrived with its head: often all of it.
    pub(super) fn take_arrived(&mut self, cx: &mut Context<'_>) -> Result<Bytes, Cut> {
        let mut arrived = BytesMut::new();
        while arrived.len() < config::SMALL
            && !self.ended
            && let Poll::Ready(data) = self.poll_data(cx)?
        {
            if self.ended && arrived.is_empty() {
                return Ok(data);
            }
            arrived.extend_from_slice(&data);
        }
        Ok(arrived.freeze())
    }

    /// Moves what has come to the tunnel. Its task is woken when more may move.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, call: &Call<Gateway>) -> Result<(), Cut> {
        if self.ended && self.received == self.released {
            return Ok(());
        }
        let mut passed = call.poll_passed(cx);
        self.release(passed);
        while !self.ended
            && self.received - self.released < S::AHEAD_MAX
            && let Poll::Ready(data) = self.poll_data(cx)?
        {
            passed = call.send(data, self.ended);
            self.release(passed);
        }
        Ok(())
    }

    /// So much left for the tunnel.
    pub(super) fn release(&mut self, passed: usize) {
        // A second try passes bytes again that the source was already told of.
        let passed = passed.min(self.received - self.released);
        if passed > 0 {
            self.released += passed;
            self.source.release(passed);
        }
    }

    /// All of the request so far, to be sent once more; none when that is no longer known.
    pub(super) fn replay(&self) -> Option<Bytes> {
        self.replay
            .as_ref()
            .map(|replay| Bytes::copy_from_slice(replay))
    }

    /// The call has an answer: it is not sent elsewhere any more.
    pub(super) fn forget_replay(&mut self) {
        self.replay = None;
    }

    /// The next bytes, for whoever has to see more of the request before its call is opened.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Cut>> {
        match self.poll_data(cx) {
            Ok(data) => data.map(Ok),
            Err(Cut) => Poll::Ready(Err(Cut)),
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Result<Poll<Bytes>, Cut> {
        let Poll::Ready(data) = self.source.poll_data(cx) else {
            return Ok(Poll::Pending);
        };
        let Some(data) = data else {
            self.ended = true;
            return Ok(Poll::Ready(Bytes::new()));
        };
        let data = data?;
        self.ended = self.source.is_ended();
        self.received += data.len();
        if sabotage::is(Sabotage::WindowOnReceipt) {
            self.release(data.len());
        }
        match &mut self.replay {
            Some(replay) if sabotage::is(Sabotage::ReplayTruncated) && !replay.is_empty() => {}
            Some(replay) if replay.len() + data.len() <= REPLAY_MAX => {
                replay.extend_from_slice(&data);
            }
            replay => *replay = None,
        }
        Ok(Poll::Ready(data))
    }
}
