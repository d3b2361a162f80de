//! What a tunnel's bytes run over.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::tunnel::Batch;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::Payload;

/// The two byte streams of a `Register` call.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// What came in; `None` at the peer's clean end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>>;

    /// Waits for room for a batch.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>>;

    /// Writes, after `poll_ready`.
    fn write(&mut self, batch: Batch) -> Result<(), String>;

    /// Nothing more is to be written for now: gives back room that others could use.
    fn rest(&mut self) {}

    /// Ends this side, after everything that was written.
    fn finish(&mut self, end: TransportEnd);
}

/// How a side ends its stream.
#[derive(Debug)]
pub(crate) enum TransportEnd {
    /// The end of a request.
    Request,
    /// The end of a request that is given up.
    Cancel,
    /// The trailers of a response.
    Response(HeaderMap),
}

/// Over an HTTP/2 stream, without any layer between.
pub(crate) struct H2Transport {
    recv: RecvStream,
    send: SendStream<Payload>,
}

/// What a batch is at most, about: the lanes' share, and a full first lane in pieces.
const ROOM: usize = 64 * 1024;

impl H2Transport {
    pub(crate) fn new(recv: RecvStream, send: SendStream<Payload>) -> Self {
        Self { recv, send }
    }
}

impl Transport for H2Transport {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        let Some(data) = ready!(self.recv.poll_data(cx)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match data {
            Ok(data) => {
                // A tunnel is always read: credit per call is the only back-pressure.
                let released = self.recv.flow_control().release_capacity(data.len());
                released.map(|()| data).map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        }))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.send.reserve_capacity(ROOM);
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.to_string())),
                None => return Poll::Ready(Err("the stream was closed".to_owned())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, batch: Batch) -> Result<(), String> {
        self.send
            .send_data(Payload::Many(batch), false)
            .map_err(|e| e.to_string())
    }

    fn rest(&mut self) {
        // What a stream has reserved is taken from the window of its connection, where others have tunnels too.
        self.send.reserve_capacity(0);
    }

    fn finish(&mut self, end: TransportEnd) {
        // The peer may be gone already, which is no news at this point.
        let _ = match end {
            TransportEnd::Request => self.send.send_data(Payload::One(Bytes::new()), true),
            TransportEnd::Cancel => {
                self.send.send_reset(h2::Reason::CANCEL);
                Ok(())
            }
            TransportEnd::Response(trailers) => self.send.send_trailers(trailers),
        };
    }
}

/// Over the bodies of an HTTP request and its response, where another server owns the connection.
pub(crate) struct BodyTransport<B> {
    body: B,
    send: PollSender<Frame<Bytes>>,
}

/// Pieces of batches that may wait for the server.
const PIECES: usize = 16;

impl<B> BodyTransport<B> {
    /// The transport, and what the response's body is to give.
    pub(crate) fn new(body: B) -> (Self, mpsc::Receiver<Frame<Bytes>>) {
        let (send, recv) = mpsc::channel(PIECES);
        (
            Self {
                body,
                send: PollSender::new(send),
            },
            recv,
        )
    }
}

impl<B> Transport for BodyTransport<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
{
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        loop {
            match ready!(std::pin::Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.to_string()))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.send
            .poll_reserve(cx)
            .map_err(|_| "the response was dropped".to_owned())
    }

    fn write(&mut self, mut batch: Batch) -> Result<(), String> {
        use bytes::Buf;
        let data = batch.copy_to_bytes(batch.remaining());
        self.send
            .send_item(Frame::data(data))
            .map_err(|_| "the response was dropped".to_owned())
    }

    fn finish(&mut self, end: TransportEnd) {
        if let TransportEnd::Response(trailers) = end
            && let Some(send) = self.send.get_ref()
        {
            // A full queue means that the peer reads nothing; it misses the reason, not the end.
            let _ = send.try_send(Frame::trailers(trailers));
        }
        self.send.close();
    }
}
