//! One call, both ways: what is sent and what is read is in the hands of the case.

use std::future::poll_fn;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};

use super::answer::Answer;
use crate::framing::{Message, Messages, framed};
use crate::wait::{LIMIT, within};

/// The longest message that an exchange takes. No case needs more.
const MAX_MESSAGE: usize = 64 << 20;

/// One call. Both halves can be used at once; what most cases do is here too.
#[derive(Debug)]
pub struct Exchange {
    /// The request.
    pub sending: Sending,
    /// The response.
    pub reading: Reading,
}

/// The sender's half of a call.
#[derive(Debug)]
pub struct Sending {
    limit: Duration,
    send: SendStream<Bytes>,
    sent: u64,
}

/// The reader's half of a call.
#[derive(Debug)]
pub struct Reading {
    limit: Duration,
    response: Option<ResponseFuture>,
    recv: Option<RecvStream>,
    messages: Messages,
    releases: bool,
    received: u64,
    held: usize,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct Head {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Nothing follows: a trailers-only answer.
    pub ended: bool,
}

impl Exchange {
    pub(super) fn new(response: ResponseFuture, send: SendStream<Bytes>) -> Self {
        Self {
            sending: Sending {
                limit: LIMIT,
                send,
                sent: 0,
            },
            reading: Reading {
                limit: LIMIT,
                response: Some(response),
                recv: None,
                messages: Messages::up_to(MAX_MESSAGE),
                releases: true,
                received: 0,
                held: 0,
            },
        }
    }

    /// Waits so long for each event from now on: for a call among very many.
    pub fn patient(&mut self, limit: Duration) {
        self.sending.limit = limit;
        self.reading.limit = limit;
    }

    /// [`Sending::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.sending.send(message).await
    }

    /// [`Sending::half_close`].
    pub fn half_close(&mut self) {
        self.sending.half_close();
    }

    /// [`Sending::reset`] with CANCEL.
    pub fn cancel(&mut self) {
        self.sending.reset(Reason::CANCEL.into());
    }

    /// [`Reading::head`].
    ///
    /// # Errors
    /// As there.
    pub async fn head(&mut self) -> Result<Head> {
        self.reading.head().await
    }

    /// [`Reading::message`].
    ///
    /// # Errors
    /// As there.
    pub async fn message(&mut self) -> Result<Option<Message>> {
        self.reading.message().await
    }

    /// [`Reading::answer`].
    ///
    /// # Errors
    /// As there.
    pub async fn answer(&mut self) -> Result<Answer> {
        self.reading.answer().await
    }
}

impl Sending {
    /// Sends a message, as the peer gives window for it.
    ///
    /// # Errors
    /// Where no window comes, or the stream is over.
    pub async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.send_raw(framed(message)).await
    }

    /// Sends bytes as they are, as the peer gives window for them.
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub async fn send_raw(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let room = within("window", self.limit, self.room(data.len())).await??;
            self.push(data.split_to(room))?;
        }
        Ok(())
    }

    /// Sends what the window has room for now: how many of the bytes that was.
    ///
    /// # Errors
    /// Where the stream is over.
    pub async fn send_now(&mut self, data: &Bytes) -> Result<usize> {
        let room = tokio::select! {
            biased;
            room = self.room(data.len()) => room?,
            () = std::future::ready(()) => 0,
        };
        if room > 0 {
            self.push(data.slice(..room))?;
        }
        Ok(room)
    }

    /// Waits for window: how many of `wanted` bytes may be sent now. Has no limit of its own, so that a case
    /// can wait for the absence of it.
    ///
    /// # Errors
    /// Why none ever may: the stream is over.
    pub async fn room(&mut self, wanted: usize) -> Result<usize, h2::Error> {
        self.send.reserve_capacity(wanted);
        while self.send.capacity() == 0 && wanted > 0 {
            match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(Reason::STREAM_CLOSED.into()),
            };
        }
        Ok(self.send.capacity().min(wanted))
    }

    /// Ends the request. No error where the peer has closed already, as it may.
    pub fn half_close(&mut self) {
        let _ = self.send.send_data(Bytes::new(), true);
    }

    /// Ends the call with a RST_STREAM of this code.
    pub fn reset(&mut self, code: u32) {
        self.send.send_reset(code.into());
    }

    /// Waits for the peer's RST_STREAM: its code.
    ///
    /// # Errors
    /// Where the connection ends, or none comes.
    pub async fn reset_by_peer(&mut self) -> Result<u32> {
        let reset = poll_fn(|cx| self.send.poll_reset(cx));
        let reason = within("RST_STREAM", self.limit, reset).await??;
        Ok(reason.into())
    }

    /// Bytes of DATA that the transport has accepted so far: each of them had window of the peer's.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    fn push(&mut self, data: Bytes) -> Result<()> {
        let length = data.len() as u64;
        self.send.send_data(data, false)?;
        self.sent += length;
        Ok(())
    }
}

impl Reading {
    /// Whether window is given back for what is read, from now on. It is at first.
    pub fn releases(&mut self, releases: bool) {
        self.releases = releases;
    }

    /// Gives window back for bytes that were read without; all where so many were not.
    ///
    /// # Errors
    /// Where the head has not come.
    pub fn release(&mut self, bytes: usize) -> Result<()> {
        let bytes = bytes.min(self.held);
        let recv = self.recv.as_mut().context("the head has not come")?;
        recv.flow_control().release_capacity(bytes)?;
        self.held -= bytes;
        Ok(())
    }

    /// Waits for the response's head.
    ///
    /// # Errors
    /// Where none comes, the stream is reset, or it was asked for before.
    pub async fn head(&mut self) -> Result<Head> {
        let response = self.response.as_mut().context("the head came before")?;
        let response = within("response", self.limit, response)
            .await?
            .context("a response")?;
        self.response = None;
        let (parts, recv) = response.into_parts();
        let ended = recv.is_end_stream();
        self.recv = Some(recv);
        Ok(Head {
            status: parts.status,
            headers: parts.headers,
            ended,
        })
    }

    /// The next bytes, whatever they are part of; none at the end. Waits for the head where it has not come.
    ///
    /// # Errors
    /// Where nothing comes, or the stream is reset.
    pub async fn data(&mut self) -> Result<Option<Bytes>> {
        if self.recv.is_none() {
            self.head().await?;
        }
        let recv = self.recv.as_mut().context("the head has not come")?;
        let data = within(
            "data or the end",
            self.limit,
            poll_fn(|cx| recv.poll_data(cx)),
        )
        .await?;
        let Some(data) = data.transpose().context("the response")? else {
            return Ok(None);
        };
        self.received += data.len() as u64;
        self.held += data.len();
        if self.releases {
            self.release(data.len())?;
        }
        Ok(Some(data))
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// As [`Reading::data`], and where the response ends within a message.
    pub async fn message(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.messages.next()? {
                return Ok(Some(message));
            }
            match self.data().await? {
                Some(data) => self.messages.push(&data),
                None if self.messages.rest() == 0 => return Ok(None),
                None => bail!("{} bytes of a message, then the end", self.messages.rest()),
            }
        }
    }

    /// The trailers.
    ///
    /// # Errors
    /// Where none come.
    pub async fn trailers(&mut self) -> Result<HeaderMap> {
        let recv = self.recv.as_mut().context("the head has not come")?;
        let trailers = within("trailers", self.limit, poll_fn(|cx| recv.poll_trailers(cx))).await?;
        trailers.context("the end")?.context("no trailers")
    }

    /// Everything to the end that has not been read yet.
    ///
    /// # Errors
    /// Where the stream is reset, or ends without trailers.
    pub async fn answer(&mut self) -> Result<Answer> {
        let (http, head) = match self.recv {
            Some(_) => (200, None),
            None => {
                let head = self.head().await?;
                (head.status.as_u16(), Some(head))
            }
        };
        if let Some(Head {
            headers,
            ended: true,
            ..
        }) = head
        {
            return Ok(Answer {
                http,
                head: None,
                messages: Vec::new(),
                rest: 0,
                trailers: headers,
            });
        }
        let mut messages = Vec::new();
        loop {
            while let Some(message) = self.messages.next()? {
                messages.push(message);
            }
            match self.data().await? {
                Some(data) => self.messages.push(&data),
                None => break,
            }
        }
        Ok(Answer {
            http,
            head: head.map(|head| head.headers),
            messages,
            rest: self.messages.rest(),
            trailers: self.trailers().await?,
        })
    }

    /// Bytes of DATA that were read so far, released or not.
    pub fn received(&self) -> u64 {
        self.received
    }
}
