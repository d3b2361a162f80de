//! One Register stream, at either end, frame by frame.

use std::future::poll_fn;
use std::marker::PhantomData;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::task::AbortHandle;

use super::Frame;
use super::tap::{Tap, Way};
use crate::client::text;
use crate::framing::{Message, Messages, framed};
use crate::wait::{LIMIT, until, within};

/// The longest frame that the suite reads. More than any side may send, so that a case sees it.
const MAX_READ: usize = 16 << 20;

/// A stream in the hands of a case: it sends `O` and reads `I`, and does nothing by itself but giving HTTP/2
/// window back for what is read.
#[derive(Debug)]
pub struct Stream<O, I> {
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    pub(super) connection: AbortHandle,
    pub(super) tap: Tap,
    frames: PhantomData<(O, I)>,
}

/// How the other side ended a stream.
#[derive(Debug, Clone)]
pub enum StreamEnd {
    /// An instance's: it ended its side, in good order.
    HalfClosed,
    /// A gateway's: it ended the stream with these trailers, also where nothing came before them.
    Trailers(HeaderMap),
    /// A gateway's: an HTTP status other than 200.
    Http(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection ended: why.
    Connection(String),
    /// It sent what is no frame.
    Malformed(String),
}

impl<O: Frame, I: Frame> Stream<O, I> {
    pub(super) fn new(outbound: Outbound, inbound: Inbound, connection: AbortHandle) -> Self {
        Self {
            outbound,
            inbound,
            connection,
            tap: Tap::default(),
            frames: PhantomData,
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Where the stream is over, or no HTTP/2 window comes.
    pub async fn send(&mut self, frame: &O) -> Result<()> {
        let bytes = framed(&frame.encode_to_vec());
        self.send_raw(bytes).await?;
        self.tap.saw(Way::Sent, frame);
        Ok(())
    }

    /// Sends bytes as they are: not framed, not logged.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_raw(&mut self, bytes: Bytes) -> Result<()> {
        let written = within("HTTP/2 window", LIMIT, self.outbound.write(bytes)).await?;
        written.context("the tunnel is over")
    }

    /// The next frame.
    ///
    /// # Errors
    /// Where none comes, or the stream ends.
    pub async fn next(&mut self) -> Result<I> {
        match self.next_or_end().await? {
            Ok(frame) => Ok(frame),
            Err(end) => bail!("the tunnel ended: {end:?}"),
        }
    }

    /// The next frame, or how the stream ended.
    ///
    /// # Errors
    /// Where neither comes.
    pub async fn next_or_end(&mut self) -> Result<Result<I, StreamEnd>> {
        let next = within("frame", LIMIT, self.inbound.next()).await?;
        let frame = next.and_then(|message| decode::<I>(&message));
        if let Ok(frame) = &frame {
            self.tap.saw(Way::Received, frame);
        }
        Ok(frame)
    }

    /// Reads frames until one is what the case looks for; those before it are dropped.
    ///
    /// # Errors
    /// Where none comes, or the stream ends.
    pub async fn find<T>(&mut self, what: &str, look: impl Fn(I) -> Option<T>) -> Result<T> {
        let find = async {
            loop {
                match look(self.next().await?) {
                    Some(found) => break anyhow::Ok(found),
                    None => continue,
                }
            }
        };
        within(what, LIMIT, find)
            .await?
            .with_context(|| format!("no {what}"))
    }

    /// Reads to the end: how the other side ended the stream, and what it said before.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn end(&mut self) -> Result<(Vec<I>, StreamEnd)> {
        let all = async {
            let mut frames = Vec::new();
            loop {
                match self.next_or_end().await? {
                    Ok(frame) => frames.push(frame),
                    Err(end) => return Ok((frames, end)),
                }
            }
        };
        within("end of the tunnel", LIMIT, all).await?
    }

    /// Ends this side in good order: an instance's half close.
    pub fn half_close(&mut self) {
        self.outbound.half_close();
    }

    /// Ends the stream with a RST_STREAM.
    pub fn reset(&mut self, code: u32) {
        self.outbound.reset(code);
    }

    /// Drops the connection without a word.
    ///
    /// # Errors
    /// Where it does not go.
    pub async fn kill(self) -> Result<()> {
        abort(&self.connection).await
    }

    /// The log of what was sent and read.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }
}

impl StreamEnd {
    /// The grpc-status; none where there was none.
    pub fn status(&self) -> Option<u32> {
        match self {
            Self::Trailers(trailers) => text(trailers, "grpc-status").parse().ok(),
            _ => None,
        }
    }
}

/// Ends a connection's task, and waits until its socket is gone: what is dropped afterwards says nothing.
pub(super) async fn abort(connection: &AbortHandle) -> Result<()> {
    connection.abort();
    until("end of a connection's task", LIMIT, || {
        connection.is_finished()
    })
    .await
}

/// What a frame's bytes say.
pub(super) fn decode<I: Frame>(message: &Message) -> Result<I, StreamEnd> {
    if message.flag != 0 {
        return Err(StreamEnd::Malformed(format!("flag {}", message.flag)));
    }
    I::decode(message.bytes.clone()).map_err(|error| StreamEnd::Malformed(error.to_string()))
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Outbound {
    send: SendStream<Bytes>,
}

impl Outbound {
    pub(super) fn new(send: SendStream<Bytes>) -> Self {
        Self { send }
    }

    /// Hands bytes to the transport, as it has window for them.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            while self.send.capacity() == 0 {
                match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                    Some(room) => room?,
                    None => return Err(h2::Reason::STREAM_CLOSED.into()),
                };
            }
            let room = self.send.capacity().min(bytes.len());
            self.send.send_data(bytes.split_to(room), false)?;
        }
        Ok(())
    }

    /// No error where the peer has closed already.
    pub(super) fn half_close(&mut self) {
        let _ = self.send.send_data(Bytes::new(), true);
    }

    pub(super) fn trailers(&mut self, trailers: HeaderMap) {
        let _ = self.send.send_trailers(trailers);
    }

    pub(super) fn reset(&mut self, code: u32) {
        self.send.send_reset(code.into());
    }
}

/// The reading half. It gives window back for all that it reads: a tunnel is always read.
#[derive(Debug)]
pub(super) struct Inbound {
    source: Source,
    messages: Messages,
}

#[derive(Debug)]
enum Source {
    /// An instance's, until the gateway's head is here.
    Coming(ResponseFuture),
    Open(RecvStream),
}

impl Inbound {
    pub(super) fn coming(response: ResponseFuture) -> Self {
        Self::of(Source::Coming(response))
    }

    pub(super) fn open(recv: RecvStream) -> Self {
        Self::of(Source::Open(recv))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            messages: Messages::up_to(MAX_READ),
        }
    }

    /// The next whole message. Nothing is lost where this is dropped.
    pub(super) async fn next(&mut self) -> Result<Message, StreamEnd> {
        loop {
            if let Some(message) = self.ready()? {
                return Ok(message);
            }
            self.read().await?;
        }
    }

    /// A message that is here.
    pub(super) fn ready(&mut self) -> Result<Option<Message>, StreamEnd> {
        let next = self.messages.next();
        next.map_err(|error| StreamEnd::Malformed(error.to_string()))
    }

    /// Waits for more bytes: a sign of life.
    pub(super) async fn read(&mut self) -> Result<(), StreamEnd> {
        if let Source::Coming(response) = &mut self.source {
            let response = response.await.map_err(|error| ended(&error))?;
            let status = response.status().as_u16();
            if status != 200 {
                return Err(StreamEnd::Http(status));
            }
            let (parts, recv) = response.into_parts();
            if recv.is_end_stream() {
                return Err(StreamEnd::Trailers(parts.headers));
            }
            self.source = Source::Open(recv);
        }
        let Source::Open(recv) = &mut self.source else {
            return Ok(());
        };
        match poll_fn(|cx| recv.poll_data(cx)).await {
            Some(Ok(data)) => {
                let released = recv.flow_control().release_capacity(data.len());
                released.map_err(|error| ended(&error))?;
                self.messages.push(&data);
                Ok(())
            }
            Some(Err(error)) => Err(ended(&error)),
            None => {
                let trailers = poll_fn(|cx| recv.poll_trailers(cx)).await;
                Err(match trailers.map_err(|error| ended(&error))? {
                    Some(trailers) => StreamEnd::Trailers(trailers),
                    None => StreamEnd::HalfClosed,
                })
            }
        }
    }
}

fn ended(error: &h2::Error) -> StreamEnd {
    match error.reason() {
        Some(reason) if error.is_reset() => StreamEnd::Reset(reason.into()),
        _ => StreamEnd::Connection(error.to_string()),
    }
}
