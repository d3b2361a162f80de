//! The one task that moves a tunnel's bytes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::Role;
use grpcrouter_core::{Time, Tunnel};
use tokio::time::Sleep;

use crate::Clock;

use super::{Link, Notice, Transport, TransportEnd};

/// Reads, writes and keeps time for one tunnel.
pub(crate) struct Driver<R: Role, T> {
    link: Arc<Link<R>>,
    transport: T,
    clock: Clock,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Time>,
    read_ended: bool,
    /// Whether not all that was read has been taken in.
    rest: bool,
    /// Whether others are to run before more is taken in.
    turn_over: bool,
}

/// Nobody moves the tunnel's bytes any more: its calls end, wherever they are.
impl<R: Role, T> Drop for Driver<R, T> {
    fn drop(&mut self) {
        self.link
            .drive(|tunnel, now| tunnel.handle_end(now, "the tunnel was dropped"));
    }
}

/// Reads in a row before others get their turn.
const READS: usize = 32;

/// Events after which no more is taken in before others get their turn: those of 16 unary calls, each of which comes and
/// ends. With all that one read brings, dozens of calls would move through gateway and instance in a bunch, and of the
/// two, and the clients, only one would ever be at work (benches/RESULTS.md, What each change brought).
const TURN: usize = 32;

/// How long a tunnel that ended may take to say so to a peer that does not read.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

impl<R: Role, T: Transport> Driver<R, T> {
    pub(crate) fn new(link: Arc<Link<R>>, transport: T, clock: Clock) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(clock.instant(clock.now())));
        Self {
            link,
            transport,
            clock,
            timer,
            timer_at: None,
            read_ended: false,
            rest: false,
            turn_over: false,
        }
    }

    pub(crate) fn link(&self) -> &Arc<Link<R>> {
        &self.link
    }

    /// Moves bytes until there is something that the tunnel's owner must know. Dropping the future
    /// between two notices loses nothing.
    pub(crate) async fn next(&mut self) -> Notice<R> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Writes what is left, ends this side of the transport, and sees it through.
    pub(crate) async fn finish(mut self, end: TransportEnd) {
        let _ = tokio::time::timeout(FLUSH_LIMIT, async {
            poll_fn(|cx| self.poll_flush(cx)).await;
            let waits = matches!(end, TransportEnd::Request);
            self.transport.finish(end);
            // HTTP/2 drops what it has not written of a request whose response nobody reads any more.
            if waits && !self.read_ended {
                while let Some(Ok(_)) = poll_fn(|cx| self.transport.poll_read(cx)).await {}
            }
        })
        .await;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.driver.register(cx.waker());
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) if self.link.lock().tunnel.has_transmit() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Notice<R>> {
        self.link.driver.register(cx.waker());
        // What was noticed is taken before more is read: a peer cannot pile it up.
        if let Some(notice) = self.link.take_notice() {
            return Poll::Ready(notice);
        }
        if std::mem::take(&mut self.turn_over) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_read(cx);
        self.poll_timer(cx);
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            self.link
                .drive(|tunnel, now| tunnel.handle_end(now, &error));
        }
        // Writing may have brought the next heartbeat's time forward.
        self.poll_timer(cx);
        let Some(notice) = self.link.take_notice() else {
            return Poll::Pending;
        };
        self.turn_over = self.rest;
        Poll::Ready(notice)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) {
        for _ in 0..READS {
            if self.read_ended {
                return;
            }
            if self.rest {
                let goes_on = |tunnel: &mut Tunnel<R>, now| tunnel.handle_rest(now, TURN);
                self.rest = self.link.drive(goes_on);
            } else {
                match self.transport.poll_read(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Some(Ok(bytes))) => {
                        let begins =
                            |tunnel: &mut Tunnel<R>, now| tunnel.handle_some(now, bytes, TURN);
                        self.rest = self.link.drive(begins);
                    }
                    Poll::Ready(end) => {
                        self.read_ended = true;
                        let why = match end {
                            Some(Err(error)) => error,
                            _ => "closed by the peer".to_owned(),
                        };
                        self.link.drive(|tunnel, now| tunnel.handle_end(now, &why));
                    }
                }
            }
            if self.rest || self.link.has_notice() {
                break;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Writes while there is something to write and room for it. `Ready` when nothing is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut wrote = false;
        while self.link.lock().tunnel.has_transmit() {
            match self.transport.poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            wrote = true;
            let batch = self.link.drive(grpcrouter_core::Tunnel::poll_transmit);
            if let Some(batch) = batch
                && let Err(error) = self.transport.write(batch)
            {
                return Poll::Ready(Err(error));
            }
        }
        if wrote {
            self.transport.rest();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            let at = self.link.next_timeout();
            let stuck = sabotage::is(Sabotage::TimerNotMoved) && self.timer_at.is_some();
            if at != self.timer_at && !stuck {
                self.timer_at = at;
                if let Some(at) = at {
                    self.timer.as_mut().reset(self.clock.instant(at));
                }
            }
            if at.is_none() || self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer_at = None;
            self.link.drive(grpcrouter_core::Tunnel::handle_timeout);
        }
    }
}
