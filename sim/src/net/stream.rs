//! A connection that faults can get at, and whose every segment is in the trace.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use grpcrouter::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Permit;
use super::node::Node;
use super::world::World;

/// Bytes written at a time at the most: what a link holds is counted in writes.
pub(super) const SEGMENT: usize = 8 * 1024;

/// One end of a connection.
pub(super) struct Stream<S> {
    io: S,
    id: u64,
    world: Arc<World>,
}

impl<S: Io> Stream<S> {
    pub(super) fn new(io: S, world: Arc<World>, local: Node, remote: Node) -> Self {
        let id = world.with(|state, _| state.links.open(local, remote));
        Self { io, id, world }
    }

    fn trace(&self, read: bool, bytes: &[u8]) {
        self.world.with(|state, now| {
            let number = state.links.number(self.id) << 1 | u64::from(read);
            state.ledger.trace.segment(now.as_micros(), number, bytes);
            if !read {
                state.links.wrote(self.id, bytes.len());
            }
        });
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl<S: Io> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let permit = self
            .world
            .with(|state, _| state.links.may_read(self.id, cx));
        match permit {
            Permit::Fail => return reset(),
            Permit::Wait | Permit::Swallow => return Poll::Pending,
            Permit::Go(_) => {}
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.trace(true, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: Io> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let len = buf.len().min(SEGMENT);
        let permit = self
            .world
            .with(|state, _| state.links.may_write(self.id, len, cx));
        let len = match permit {
            Permit::Fail => return reset(),
            Permit::Wait => return Poll::Pending,
            Permit::Swallow => return Poll::Ready(Ok(buf.len())),
            Permit::Go(len) => len,
        };
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &buf[..len]))?;
        self.trace(false, &buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let permit = self
            .world
            .with(|state, _| state.links.may_write(self.id, 1, cx));
        match permit {
            Permit::Go(_) | Permit::Wait => Pin::new(&mut self.io).poll_shutdown(cx),
            Permit::Swallow | Permit::Fail => Poll::Ready(Ok(())),
        }
    }
}

impl<S> Drop for Stream<S> {
    fn drop(&mut self) {
        self.world.with(|state, _| state.links.close(self.id));
    }
}
