//! One call's handle.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::{Role, reset_code};
use grpcrouter_core::{CallFault, Key, Received};

use super::Link;

/// A call on a tunnel. Dropping the handle ends the call, if it has not ended.
///
/// A call has one reader and one writer at a time; each is woken for its half.
#[derive(Debug)]
pub(crate) struct Call<R: Role> {
    link: Arc<Link<R>>,
    key: Key,
}

/// What a reader got.
pub(crate) enum Taken<R: Role> {
    Received(Received<R::Start, R::End>),
    /// So many bytes are here, and none were asked for. The reader is woken when more come.
    Waiting(usize),
}

impl<R: Role> Call<R> {
    pub(crate) fn new(link: Arc<Link<R>>, key: Key) -> Self {
        Self { link, key }
    }

    pub(crate) fn link(&self) -> &Arc<Link<R>> {
        &self.link
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Takes what came next, of data at most `max` bytes: only what its next hop takes now.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, max: usize) -> Poll<Taken<R>> {
        let mut state = self.link.lock();
        let received = state.tunnel.recv(self.key, max);
        if let Received::Pending = received {
            set(&mut state.waiting(self.key).reader, cx);
            return match state.tunnel.readable(self.key) {
                0 => Poll::Pending,
                waiting => Poll::Ready(Taken::Waiting(waiting)),
            };
        }
        let credit_due = state.tunnel.has_transmit();
        drop(state);
        if credit_due {
            self.link.driver.wake();
        }
        Poll::Ready(Taken::Received(received))
    }

    /// Waits until at most `max` bytes of the call are queued here, or the call ended.
    pub(crate) fn poll_queued_below(&self, cx: &mut Context<'_>, max: usize) -> Poll<()> {
        let mut state = self.link.lock();
        if state.tunnel.queued(self.key) <= max || state.tunnel.is_over(self.key) {
            return Poll::Ready(());
        }
        set(&mut state.waiting(self.key).writer, cx);
        Poll::Pending
    }

    /// Waits until everything was sent, the end included.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        if state.tunnel.is_flushed(self.key) {
            return Poll::Ready(());
        }
        set(&mut state.waiting(self.key).writer, cx);
        Poll::Pending
    }

    /// Waits until nothing more is sent on the call, for whatever reason.
    pub(crate) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.lock();
        if state.tunnel.is_over(self.key) {
            return Poll::Ready(());
        }
        set(&mut state.waiting(self.key).writer, cx);
        Poll::Pending
    }

    /// Waits until the call failed: reset, past its deadline, or lost.
    pub(crate) fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<CallFault> {
        let mut state = self.link.lock();
        if let Some(fault) = state.tunnel.fault(self.key) {
            return Poll::Ready(fault.clone());
        }
        set(&mut state.waiting(self.key).writer, cx);
        Poll::Pending
    }

    /// Bytes that moved on since this was last asked. The writer is woken when more do, or the call ends.
    pub(crate) fn poll_passed(&self, cx: &Context<'_>) -> usize {
        let mut state = self.link.lock();
        set(&mut state.waiting(self.key).writer, cx);
        state.tunnel.take_passed(self.key)
    }

    pub(crate) fn reset(&self, code: u32) {
        self.link.with(|tunnel, _| tunnel.reset(self.key, code));
    }
}

impl Call<grpcrouter_core::Gateway> {
    /// Sends data of the request and perhaps its end; returns what moved on, as `poll_passed`.
    pub(crate) fn send(&self, data: Bytes, half_close: bool) -> usize {
        self.link.with(|tunnel, _| {
            tunnel.send(self.key, data, half_close);
            tunnel.take_passed(self.key)
        })
    }
}

impl<R: Role> Drop for Call<R> {
    fn drop(&mut self) {
        // HTTP/2's INTERNAL_ERROR: the peer must not take a bug here for a cancellation.
        let code = if std::thread::panicking() {
            0x2
        } else {
            reset_code::CANCEL
        };
        if R::RESPONDS || !sabotage::is(Sabotage::CallNotReleased) {
            self.link.release(self.key, code);
        }
    }
}

fn set(waiting: &mut Option<std::task::Waker>, cx: &Context<'_>) {
    match waiting {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *waiting = Some(cx.waker().clone()),
    }
}
