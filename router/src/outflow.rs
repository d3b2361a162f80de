//! From a call to an HTTP/2 stream: only as much as the stream takes now.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::Role;
use grpcrouter_core::{CallFault, Received};
use h2::SendStream;

use crate::tunnel::{Call, Payload, Taken};

/// The sending half of an HTTP/2 stream, fed by a call.
///
/// A byte is taken off the call, and its credit given back, only when HTTP/2 has window and buffer for
/// it. That is what carries back-pressure from this hop to the sender.
pub(crate) struct Outflow {
    send: SendStream<Payload>,
    /// Bytes handed on.
    pub(crate) bytes: u64,
}

/// How a call's outflow ended.
pub(crate) enum OutflowEnd<E> {
    /// The call's END came, after everything before it was handed on.
    End(E),
    /// The call failed.
    Failed(CallFault),
    /// The HTTP/2 peer reset the stream or went away.
    Gone,
}

impl Outflow {
    pub(crate) fn new(send: SendStream<Payload>) -> Self {
        Self { send, bytes: 0 }
    }

    /// Whether the peer has reset the stream or is gone; its task is woken when that comes. With the same waker as
    /// [`poll`](Self::poll): h2 keeps one for a stream.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.send.poll_reset(cx).is_ready() && !sabotage::is(Sabotage::ResetUnheard)
    }

    /// Moves bytes until the call or the stream ends; shows `tap` what it moves.
    pub(crate) fn poll<R: Role>(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<R>,
        mut tap: impl FnMut(&Bytes),
    ) -> Poll<OutflowEnd<R::End>> {
        loop {
            let room = match sabotage::is(Sabotage::OutflowUnbounded) {
                true => usize::MAX,
                false => self.send.capacity(),
            };
            match ready!(call.poll_take(cx, room)) {
                Taken::Received(Received::Data(data)) => {
                    self.bytes += data.len() as u64;
                    tap(&data);
                    if self.send.send_data(Payload::One(data), false).is_err() {
                        return Poll::Ready(OutflowEnd::Gone);
                    }
                }
                Taken::Received(Received::End(end)) => return Poll::Ready(OutflowEnd::End(end)),
                Taken::Received(Received::Failed(fault)) => {
                    return Poll::Ready(OutflowEnd::Failed(fault));
                }
                Taken::Received(Received::Start(_) | Received::Pending) => {}
                Taken::Waiting(bytes) => {
                    self.send.reserve_capacity(bytes);
                    while self.send.capacity() == 0 {
                        match ready!(self.send.poll_capacity(cx)) {
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => return Poll::Ready(OutflowEnd::Gone),
                        }
                    }
                }
            }
        }
    }

    /// Sends again, ahead of the call's bytes, what another stream was sent in vain.
    pub(crate) fn again(&mut self, data: Bytes) {
        let _ = self.send.send_data(Payload::One(data), false);
    }

    pub(crate) fn trailers(mut self, trailers: http::HeaderMap) {
        if sabotage::is(Sabotage::TrailersDropped) {
            return self.end();
        }
        // A peer that is gone needs no trailers.
        let _ = self.send.send_trailers(trailers);
    }

    pub(crate) fn end(mut self) {
        let _ = self.send.send_data(Payload::One(Bytes::new()), true);
    }

    pub(crate) fn reset(mut self, reason: h2::Reason) {
        self.send.send_reset(reason);
    }
}
