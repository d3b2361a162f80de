//! The suite as a client: what a gateway does is seen as HTTP/2 has it.
//!
//! [`Client`] speaks well-formed HTTP/2 with every window in the hands of the case; [`frames::Frames`] writes
//! frames by hand, for hostile peers and for counting windows.

mod answer;
mod exchange;
pub mod frames;
mod request;
pub mod wire;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::PingPong;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::{LIMIT, until, within};

pub(crate) use answer::decode_bin;
pub use answer::{Answer, text};
pub use exchange::{Exchange, Head, Reading, Sending};
pub use request::Call;

/// One connection to a gateway. Dropping it drops the connection, without a word.
#[derive(Debug)]
pub struct Client {
    requests: SendRequest<Bytes>,
    end: watch::Receiver<Option<Ended>>,
    connection: JoinHandle<()>,
    pings: Option<PingPong>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The HTTP/2 error code, where one was said; none for a clean end, or one of the socket.
    pub code: Option<u32>,
    /// The peer ended it by a GOAWAY.
    pub goaway: bool,
    /// The same in words.
    pub why: String,
}

impl Client {
    /// Connects, with a stream window of 1 MiB and a connection window of 16 MiB.
    ///
    /// # Errors
    /// Where nobody answers, or not in HTTP/2.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        Self::with(addr, |_| {}).await
    }

    /// As [`Client::connect`], with settings of one's own, such as a small window.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn with(
        addr: SocketAddr,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Result<Self> {
        let socket = within("connection", LIMIT, TcpStream::connect(addr)).await?;
        let socket = socket.with_context(|| format!("cannot connect to {addr}"))?;
        socket.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .max_header_list_size(1 << 20)
            // A reader that stalls is what cases are about: small messages that wait are no attack here.
            .data_frame_budget(1 << 30);
        settings(&mut builder);
        let (requests, mut connection) =
            within("HTTP/2 handshake", LIMIT, builder.handshake(socket))
                .await?
                .context("the HTTP/2 handshake")?;
        let pings = connection.ping_pong();
        let (ended, end) = watch::channel(None);
        let connection = tokio::spawn(async move {
            let end = connection.await;
            ended.send_replace(Some(Ended::from(end)));
        });
        let client = Self {
            requests,
            end,
            connection,
            pings,
        };
        client.ready().await?;
        Ok(client)
    }

    /// Opens a call; `ended` ends its request in the same frame.
    ///
    /// # Errors
    /// Where the connection takes no more streams, or the request is malformed.
    pub async fn open(&self, request: Request<()>, ended: bool) -> Result<Exchange> {
        let (response, send) = self.ready().await?.send_request(request, ended)?;
        Ok(Exchange::new(response, send))
    }

    /// One unary call: what came back.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn unary(&self, call: Call, message: &[u8]) -> Result<Answer> {
        let mut exchange = self.open(call.build()?, false).await?;
        let sent = exchange.send(message).await;
        exchange.half_close();
        // An answer may come before its request is there: then the rest of the request does not matter.
        match (exchange.answer().await, sent) {
            (Err(_), Err(sent)) => Err(sent.context("the request")),
            (answer, _) => answer,
        }
    }

    /// Waits until the peer takes no more calls on this connection: its GOAWAY has come.
    ///
    /// # Errors
    /// Where it goes on taking them.
    pub async fn closing(&self) -> Result<()> {
        let mut requests = self.requests.clone();
        let refused = || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            matches!(requests.poll_ready(&mut cx), std::task::Poll::Ready(Err(_)))
        };
        until("GOAWAY", LIMIT, refused).await
    }

    /// Waits until the connection has ended.
    ///
    /// # Errors
    /// Where it lives on.
    pub async fn ended(&self) -> Result<Ended> {
        let mut end = self.end.clone();
        let ended = within(
            "end of the connection",
            LIMIT,
            end.wait_for(Option::is_some),
        )
        .await?;
        ended?.clone().context("the end was waited for")
    }

    /// Whether the connection has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.end.borrow().is_none()
    }

    /// For pings of one's own, once; none of them is sent without.
    pub fn pings(&mut self) -> Option<PingPong> {
        self.pings.take()
    }

    /// Drops the socket as it is: no GOAWAY, no resets.
    pub async fn kill(self) {
        self.connection.abort();
        let mut end = self.end.clone();
        // The sender of the end goes with the task: then the socket is gone.
        while end.changed().await.is_ok() {}
    }

    async fn ready(&self) -> Result<SendRequest<Bytes>> {
        let ready = self.requests.clone().ready();
        let requests = within("room for a stream", LIMIT, ready).await?;
        requests.context("the connection takes no calls")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl From<Result<(), h2::Error>> for Ended {
    fn from(end: Result<(), h2::Error>) -> Self {
        match end {
            Ok(()) => Self {
                code: None,
                goaway: false,
                why: "a clean end".to_owned(),
            },
            Err(error) => Self {
                code: error.reason().map(u32::from),
                goaway: error.is_go_away() && error.is_remote(),
                why: error.to_string(),
            },
        }
    }
}
