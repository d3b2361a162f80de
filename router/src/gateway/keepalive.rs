//! HTTP/2's keepalive: a silent peer is pinged, so that one that died without a word is noticed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// Pings a peer that has said nothing for an interval, and waits for its answer as long again.
pub(super) struct Keepalive {
    pings: PingPong,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// When the peer was last heard. Not what the timer is set to: to move it at every call would cost each of them
    /// more than to look again once in an interval.
    heard: Instant,
    /// Whether an answer is due.
    waiting: bool,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a timer of HTTP/2, which the core does not know"
)]
impl Keepalive {
    pub(super) fn new(pings: PingPong, interval: Duration) -> Self {
        Self {
            pings,
            interval,
            timer: Box::pin(sleep(interval)),
            heard: Instant::now(),
            waiting: false,
        }
    }

    /// The peer said something.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Ready when the peer has not answered a ping in time.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting && self.pings.poll_pong(cx).is_ready() {
                self.waiting = false;
                self.heard();
                self.timer.as_mut().reset(self.heard + self.interval);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let until = self.heard + self.interval;
            if !self.waiting && until > now {
                self.timer.as_mut().reset(until);
                continue;
            }
            if self.waiting || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.waiting = true;
            self.timer.as_mut().reset(now + self.interval);
        }
    }
}
