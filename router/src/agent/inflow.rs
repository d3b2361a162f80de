//! A response on its way from the server: read as it comes, kept until it is taken.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use grpcrouter_core::buffer::Buffer;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::hop::PIECE;

use super::pool::Lease;

/// The body of a server's response. Dropping it before its end resets the call at the server.
///
/// HTTP/2 charges every small frame that nobody has read against its connection, far beyond the frame's
/// bytes, and ends the connection when that is too much. So frames are read as they come, into one
/// buffer, whether the body is asked or not; window is given back only as the bytes are taken, so the
/// buffer never holds more than the stream's window.
#[derive(Debug)]
pub struct UpstreamBody(Option<Reader>);

#[derive(Debug)]
struct Reader {
    inflow: Arc<Mutex<Inflow>>,
    /// The call's place on its connection.
    _lease: Lease,
}

#[derive(Debug)]
struct Inflow {
    /// None when nobody wants the rest.
    recv: Option<RecvStream>,
    held: Buffer,
    /// How the response ended, until it is taken.
    end: Option<Result<Option<HeaderMap>, h2::Error>>,
    /// Everything was taken.
    done: bool,
    /// Waits for what comes next.
    reader: Option<Waker>,
    /// Reads what comes.
    pump: Option<Waker>,
}

/// What the body hands out at a time: the instance holds one such and looks at the next.
const TAKE: usize = PIECE / 2;

impl UpstreamBody {
    /// Nothing at all.
    pub(super) fn empty() -> Self {
        Self(None)
    }

    /// The rest of a response. A task reads it, unless it is all here already: who waits for room on the
    /// tunnel polls no body.
    pub(super) async fn new(recv: RecvStream, lease: Lease) -> Self {
        let done = recv.is_end_stream();
        let inflow = Arc::new(Mutex::new(Inflow {
            recv: Some(recv),
            held: Buffer::default(),
            end: None,
            done,
            reader: None,
            pump: None,
        }));
        if !done {
            let filled = poll_fn(|cx| Poll::Ready(lock(&inflow).poll_fill(cx))).await;
            if filled.is_pending() {
                let inflow = inflow.clone();
                tokio::spawn(poll_fn(move |cx| lock(&inflow).poll_fill(cx)));
            }
        }
        Self(Some(Reader {
            inflow,
            _lease: lease,
        }))
    }
}

impl Inflow {
    /// Reads all that HTTP/2 has. Ready when nothing more comes, or is wanted.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pump = Some(cx.waker().clone());
        while self.end.is_none() && !self.done {
            let Some(recv) = &mut self.recv else { break };
            match ready!(recv.poll_data(cx)) {
                Some(Ok(data)) => self.held.push(data),
                Some(Err(error)) => self.end = Some(Err(error)),
                None => self.end = Some(ready!(recv.poll_trailers(cx))),
            }
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(())
    }

    fn poll_take(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.held.is_empty() {
            let data = self.held.pop(TAKE);
            if let Some(recv) = &mut self.recv {
                // A stream that was reset meanwhile needs no window.
                let _ = recv.flow_control().release_capacity(data.len());
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(end) = self.end.take() {
            self.done = true;
            return Poll::Ready(match end {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            });
        }
        if self.done {
            return Poll::Ready(None);
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inflow = lock(&self.inflow);
        inflow.recv = None;
        inflow.held.clear();
        if let Some(pump) = inflow.pump.take() {
            pump.wake();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match &self.0 {
            Some(reader) => lock(&reader.inflow).poll_take(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|reader| lock(&reader.inflow).done)
    }
}

fn lock(inflow: &Mutex<Inflow>) -> MutexGuard<'_, Inflow> {
    inflow.lock().unwrap_or_else(PoisonError::into_inner)
}
