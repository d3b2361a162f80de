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
            waiting: false,
        }
    }

    /// Ready when the peer has not answered a ping in time. `heard` tells when bytes of the peer came last: whatever they
    /// are, it lives, and on a slow link an answer may be long behind them.
    pub(super) fn poll_silent(
        &mut self,
        cx: &mut Context<'_>,
        heard: impl Fn() -> Instant,
    ) -> Poll<()> {
        loop {
            if self.waiting && self.pings.poll_pong(cx).is_ready() {
                self.waiting = false;
            }
            // Set to what was true when it was last looked at: to move it at every read would cost more than to look again
            // once in an interval.
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let until = heard() + self.interval;
            if until > now {
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "time is virtual here")]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use h2::server::Connection;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection that nobody drives, neither its server's end nor its client's: no ping is answered.
    async fn undriven() -> Connection<DuplexStream, Bytes> {
        let (near, far) = duplex(1 << 16);
        let (server, _client) =
            tokio::join!(h2::server::handshake(near), h2::client::handshake(far));
        server.expect("HTTP/2")
    }

    fn keepalive(connection: &mut Connection<DuplexStream, Bytes>) -> Keepalive {
        Keepalive::new(connection.ping_pong().expect("asked for once"), SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_peer_says_shows_that_it_lives() {
        let mut connection = undriven().await;
        let mut keepalive = keepalive(&mut connection);
        let begun = Instant::now();
        let says_its_last = begun + 10 * SECOND;
        let heard = || Instant::now().min(says_its_last);
        poll_fn(|cx| keepalive.poll_silent(cx, heard)).await;
        let expected = says_its_last + 2 * SECOND;
        assert_eq!(Instant::now(), expected, "silence, a ping, no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_ping_is_as_good_as_its_answer() {
        let mut connection = undriven().await;
        let mut keepalive = keepalive(&mut connection);
        let begun = Instant::now();
        let late = begun + SECOND + SECOND / 2;
        let heard = || if Instant::now() < late { begun } else { late };
        poll_fn(|cx| keepalive.poll_silent(cx, heard)).await;
        assert_eq!(Instant::now(), late + SECOND);
    }
}
