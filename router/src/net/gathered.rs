//! What HTTP/2 reads and writes in pieces, received and sent together.
//!
//! `h2` hands over each DATA frame by itself and reads one in two halves, and a call of the system costs as much as some
//! thousand bytes of copying. So what it writes is held until it has no more to write for now, which only its driver
//! knows: whoever polls the connection passes what came of it through [`Outlet::send_after`], each time. Nothing waits
//! longer than that.
//! And while a peer sends much, much is read at a time.
//!
//! Not tokio's `BufWriter`, which `h2` flushes after each frame, nor its `BufReader`, whose memory stays when nothing comes.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

/// How much is held to be sent at most, in bytes: a batch of a tunnel or what HTTP/2 holds of a call, and little enough
/// that a PING does not wait long behind it on a slow link.
const HELD_MAX: usize = 64 * 1024;
/// How much is read at a time while much comes, in bytes.
const AHEAD_MAX: usize = 64 * 1024;
/// What a connection keeps of the memory when nothing is held, in bytes.
const KEPT_MAX: usize = 4 * 1024;

/// The connection as HTTP/2 has it. Flushing is left to the [`Outlet`].
pub(crate) struct Gathered<T>(Arc<Mutex<Inner<T>>>);

/// The driver's end.
pub(crate) struct Outlet<T>(Arc<Mutex<Inner<T>>>);

struct Inner<T> {
    io: T,
    /// To be sent.
    held: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
    /// Received, and not yet read.
    ahead: BytesMut,
    /// The last read got all that it had room for: more is there.
    more: bool,
    /// When bytes came last.
    heard: Instant,
}

/// Both ends of a connection whose writes are gathered, and of which `received` was read already.
pub(crate) fn gathered<T>(io: T, received: BytesMut) -> (Gathered<T>, Outlet<T>) {
    let inner = Arc::new(Mutex::new(Inner {
        io,
        held: Vec::new(),
        sent: 0,
        ahead: received,
        more: false,
        heard: now(),
    }));
    (Gathered(inner.clone()), Outlet(inner))
}

impl<T: AsyncWrite + Unpin> Outlet<T> {
    /// Passes on what came of polling the connection. Where it has nothing more to do for now, sends what is held; the
    /// same task is woken to go on.
    pub(crate) fn send_after<R>(
        &self,
        polled: Poll<R>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if polled.is_pending()
            && let Poll::Ready(Err(error)) = lock(&self.0).poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        polled.map(Ok)
    }
}

impl<T> Outlet<T> {
    /// When the peer was last heard, whatever it said.
    pub(crate) fn heard(&self) -> Instant {
        lock(&self.0).heard
    }
}

/// Sees a connection to a server through to its end.
pub(crate) async fn drive<T: AsyncWrite + Unpin>(
    connection: impl Future<Output = Result<(), h2::Error>>,
    outlet: Outlet<T>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        outlet.send_after(polled, cx)
    });
    Ok(ended.await??)
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.held[self.sent..]);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.sent = 0;
        self.held.clear();
        if self.held.capacity() > KEPT_MAX {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for a write of up to so many bytes: how many of them are taken.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.held.len() >= HELD_MAX {
            ready!(self.poll_send(cx))?;
        }
        let room = wanted.min(HELD_MAX - self.held.len());
        // Whoever writes much will soon write more.
        if self.held.capacity() < self.held.len() + room && room > KEPT_MAX {
            self.held.reserve_exact(HELD_MAX - self.held.len());
        }
        Poll::Ready(Ok(room))
    }
}

impl<T: AsyncRead + Unpin> Inner<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        if self.ahead.is_empty() {
            if !self.more {
                ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
                self.more = room > 0 && buf.remaining() == 0;
                self.heard = now();
                return Poll::Ready(Ok(()));
            }
            self.ahead.reserve(AHEAD_MAX);
            let read = poll_read_buf(Pin::new(&mut self.io), cx, &mut self.ahead);
            self.more = matches!(read, Poll::Ready(Ok(n)) if n > room);
            if read.is_pending() {
                self.ahead = BytesMut::new();
            }
            ready!(read)?;
            self.heard = now();
        }
        let n = room.min(self.ahead.len());
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        if self.ahead.is_empty() && !self.more {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        let read = inner.poll_read(cx, buf);
        // A handshake waits for answers, and has no driver yet.
        if read.is_pending()
            && let Poll::Ready(Err(error)) = inner.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        let room = ready!(inner.poll_room(cx, buf.len()))?;
        inner.held.extend_from_slice(&buf[..room]);
        Poll::Ready(Ok(room))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        let room = ready!(inner.poll_room(cx, wanted))?;
        let mut left = room;
        for buf in bufs {
            let n = left.min(buf.len());
            inner.held.extend_from_slice(&buf[..n]);
            left -= n;
        }
        Poll::Ready(Ok(room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "for timers of HTTP/2, which the core does not know"
)]
fn now() -> Instant {
    Instant::now()
}

fn lock<T>(inner: &Mutex<Inner<T>>) -> MutexGuard<'_, Inner<T>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Keeps every write apart; takes none while it is blocked. Has `data` to be read.
    #[derive(Default)]
    struct Socket {
        data: Vec<u8>,
        reads: usize,
        writes: Vec<Vec<u8>>,
        blocked: bool,
        ended: bool,
    }

    impl AsyncRead for Socket {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.data.is_empty() {
                return Poll::Pending;
            }
            let n = buf.remaining().min(self.data.len());
            buf.put_slice(&self.data.drain(..n).collect::<Vec<u8>>());
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.blocked {
                return Poll::Pending;
            }
            self.writes.push(buf.to_vec());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.ended = true;
            Poll::Ready(Ok(()))
        }
    }

    fn open(socket: Socket) -> (Gathered<Socket>, Outlet<Socket>) {
        gathered(socket, BytesMut::new())
    }

    /// After a poll that left nothing to do. Whether all is sent.
    fn send(outlet: &Outlet<Socket>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let polled = outlet.send_after(Poll::<()>::Pending, &mut cx);
        assert!(polled.is_pending(), "no error");
        lock(&outlet.0).held.is_empty()
    }

    #[tokio::test]
    async fn what_is_written_and_flushed_in_pieces_leaves_in_one() {
        let (mut io, outlet) = open(Socket::default());
        for piece in [&b"a frame's head"[..], b", its data", b", the next"] {
            io.write_all(piece).await.unwrap();
            io.flush().await.unwrap();
        }
        assert!(lock(&outlet.0).io.writes.is_empty());
        assert!(send(&outlet));
        assert_eq!(
            lock(&outlet.0).io.writes,
            [b"a frame's head, its data, the next".to_vec()]
        );
        assert!(send(&outlet));
        assert_eq!(lock(&outlet.0).io.writes.len(), 1, "nothing is left");
    }

    #[tokio::test]
    async fn a_blocked_socket_leaves_the_writer_waiting_at_the_limit() {
        let (mut io, outlet) = open(Socket {
            blocked: true,
            ..Socket::default()
        });
        let data: Vec<u8> = (0..4 * HELD_MAX).map(|n| n as u8).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while let Poll::Ready(n) = Pin::new(&mut io).poll_write(&mut cx, &data[taken..]) {
            taken += n.unwrap();
        }
        assert_eq!(taken, HELD_MAX);
        assert!(!send(&outlet));
        lock(&outlet.0).io.blocked = false;
        io.write_all(&data[taken..]).await.unwrap();
        assert!(send(&outlet));
        assert_eq!(lock(&outlet.0).io.writes.concat(), data, "all, in order");
    }

    #[tokio::test]
    async fn nothing_of_a_large_write_stays_in_memory() {
        let (mut io, outlet) = open(Socket::default());
        io.write_all(&[7; 10 * KEPT_MAX]).await.unwrap();
        assert!(send(&outlet));
        assert!(lock(&outlet.0).held.capacity() <= KEPT_MAX);
    }

    #[tokio::test]
    async fn much_is_read_at_a_time_once_much_comes() {
        let data: Vec<u8> = (0..3 * AHEAD_MAX).map(|n| n as u8).collect();
        let (mut io, outlet) = open(Socket {
            data: data.clone(),
            ..Socket::default()
        });
        let mut read = Vec::new();
        while read.len() < data.len() {
            let mut piece = [0; 8 * 1024];
            let n = io.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..n]);
        }
        assert!(read == data, "all, in order");
        assert_eq!(lock(&outlet.0).io.reads, 4, "a small one, and the rest");
        let mut nothing = tokio_test::task::spawn(io.read_u8());
        assert!(nothing.poll().is_pending());
        assert_eq!(lock(&outlet.0).ahead.capacity(), 0, "no memory is kept");
    }

    #[tokio::test]
    async fn what_was_received_before_is_read_first() {
        let socket = Socket {
            data: b" world".to_vec(),
            ..Socket::default()
        };
        let (mut io, outlet) = gathered(socket, BytesMut::from(&b"hello"[..]));
        let mut read = [0; 11];
        io.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello world");
        assert_eq!(lock(&outlet.0).ahead.capacity(), 0, "no memory is kept");
    }

    #[tokio::test]
    async fn little_is_read_where_it_belongs() {
        let (mut io, outlet) = open(Socket {
            data: vec![5; 100],
            ..Socket::default()
        });
        let mut piece = [0; 8 * 1024];
        assert_eq!(io.read(&mut piece).await.unwrap(), 100);
        assert_eq!(lock(&outlet.0).ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_held() {
        let (mut io, outlet) = open(Socket::default());
        io.write_all(b"goodbye").await.unwrap();
        io.shutdown().await.unwrap();
        let inner = lock(&outlet.0);
        assert_eq!(inner.io.writes, [b"goodbye".to_vec()]);
        assert!(inner.io.ended);
    }

    #[test]
    fn who_waits_for_an_answer_has_asked() {
        let (mut io, outlet) = open(Socket::default());
        let asks = async {
            io.write_all(b"hello").await.unwrap();
            io.read_u8().await
        };
        let mut asks = tokio_test::task::spawn(asks);
        assert!(asks.poll().is_pending());
        assert_eq!(lock(&outlet.0).io.writes, [b"hello".to_vec()]);
    }
}
