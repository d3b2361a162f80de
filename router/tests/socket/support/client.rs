//! A client that sees HTTP/2 as it is.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::future::poll_fn;
use tokio::net::TcpStream;

use super::{Messages, framed, within};

/// A connection to a gateway.
#[derive(Clone)]
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::with(addr, |_| {}).await
    }

    /// As `connect`, with settings of one's own, such as a small window.
    pub(crate) async fn with(
        addr: SocketAddr,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Self {
        let socket = within("a connection", TcpStream::connect(addr))
            .await
            .expect("connects");
        socket.set_nodelay(true).expect("a socket");
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24);
        builder.max_header_list_size(1 << 20);
        settings(&mut builder);
        let (requests, connection) = within("a handshake", builder.handshake(socket))
            .await
            .expect("speaks HTTP/2");
        tokio::spawn(connection);
        let requests = within("settings", requests.ready())
            .await
            .expect("is ready");
        Self { requests }
    }

    /// Opens a call to `/test.Probe/METHOD`.
    pub(crate) async fn call(&self, method: &str) -> Exchange {
        self.open(request(method)).await
    }

    /// Opens a call and ends its request in one frame.
    pub(crate) async fn call_ended(&self, method: &str) -> Exchange {
        self.start(request(method), true).await
    }

    /// Opens a call with a request of one's own.
    pub(crate) async fn open(&self, request: Request<()>) -> Exchange {
        self.start(request, false).await
    }

    async fn start(&self, request: Request<()>, ended: bool) -> Exchange {
        let mut requests = within("room for a stream", self.requests.clone().ready())
            .await
            .expect("is ready");
        let (response, send) = requests.send_request(request, ended).expect("a request");
        Exchange::new(response, send)
    }

    /// Waits until the gateway takes no more calls on this connection: its GOAWAY has come.
    pub(crate) async fn closing(&self) {
        let probe = async || self.requests.clone().ready().await.is_ok();
        while probe().await {
            tokio::task::yield_now().await;
        }
    }

    /// One empty call to a path, as it stands.
    pub(crate) async fn empty(&self, path: &str) -> Answer {
        let mut request = request("");
        *request.uri_mut() = format!("http://probe.test{path}").parse().expect("a path");
        let mut call = self.open(request).await;
        call.half_close();
        call.answer().await
    }

    /// One unary call: what came back.
    pub(crate) async fn unary(&self, method: &str, message: &[u8]) -> Answer {
        let mut call = self.call(method).await;
        call.send(message).await;
        call.half_close();
        call.answer().await
    }
}

/// A request as a gRPC client makes it.
pub(crate) fn request(method: &str) -> Request<()> {
    Request::post(format!("http://probe.test/test.Probe/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

/// One unary call to the instance of this id.
pub(crate) async fn pinned(client: &Client, id: &str) -> Answer {
    let mut request = request("Name");
    let id = id.parse().expect("a header");
    request.headers_mut().insert("grpcrouter-instance", id);
    let mut call = client.open(request).await;
    call.send(b"").await;
    call.half_close();
    call.answer().await
}

pub(crate) fn assert_status(answer: &Answer, code: u32, reason: &str) {
    assert_eq!(
        (answer.status(), answer.reason()),
        (code, reason),
        "{answer:?}"
    );
}

/// One call, both ways.
pub(crate) struct Exchange {
    response: Option<ResponseFuture>,
    pub(crate) send: SendStream<Bytes>,
    pub(crate) recv: Option<RecvStream>,
    messages: Messages,
}

/// All of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// None where the answer was trailers only.
    pub(crate) head: Option<HeaderMap>,
    pub(crate) messages: Vec<Bytes>,
    pub(crate) trailers: HeaderMap,
}

impl Exchange {
    fn new(response: ResponseFuture, send: SendStream<Bytes>) -> Self {
        Self {
            response: Some(response),
            send,
            recv: None,
            messages: Messages::default(),
        }
    }

    /// Sends a message, as the gateway gives window for it.
    pub(crate) async fn send(&mut self, message: &[u8]) {
        self.send_raw(framed(message)).await;
    }

    pub(crate) async fn send_raw(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let room = within("window", self.room(data.len()))
                .await
                .expect("the stream is open");
            self.send
                .send_data(data.split_to(room), false)
                .expect("the stream is open");
        }
    }

    /// Waits for window: how many of `wanted` bytes may be sent now, or why none ever may.
    pub(crate) async fn room(&mut self, wanted: usize) -> Result<usize, h2::Error> {
        self.send.reserve_capacity(wanted);
        while self.send.capacity() == 0 {
            match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                Some(room) => {
                    room?;
                }
                None => return Err(h2::Reason::STREAM_CLOSED.into()),
            }
        }
        Ok(self.send.capacity().min(wanted))
    }

    pub(crate) fn half_close(&mut self) {
        // The gateway may have answered and closed already, as it may.
        let _ = self.send.send_data(Bytes::new(), true);
    }

    pub(crate) fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }

    /// The response's head as HTTP has it, status and all.
    pub(crate) async fn response(&mut self) -> Result<Response<()>, h2::Error> {
        let response = self.response.take().expect("asked for once");
        let (parts, recv) = within("a response", response).await?.into_parts();
        self.recv = Some(recv);
        Ok(Response::from_parts(parts, ()))
    }

    pub(crate) async fn head(&mut self) -> HeaderMap {
        let response = self.response().await.expect("a response");
        assert_eq!(response.status(), 200);
        response.into_parts().0.headers
    }

    /// The next message; none at the end.
    pub(crate) async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some((_, message)) = self.messages.next() {
                return Some(message);
            }
            let data = self.data().await?.expect("the stream goes on");
            self.messages.push(&data);
        }
    }

    /// The next bytes, whatever they are part of; their window is given back.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let recv = self.recv.as_mut().expect("the head came");
        let data = within("data or the end", poll_fn(|cx| recv.poll_data(cx))).await?;
        if let Ok(data) = &data {
            recv.flow_control()
                .release_capacity(data.len())
                .expect("was received");
        }
        Some(data)
    }

    pub(crate) async fn trailers(&mut self) -> HeaderMap {
        let recv = self.recv.as_mut().expect("the head came");
        let trailers = within("trailers", poll_fn(|cx| recv.poll_trailers(cx))).await;
        trailers.expect("a clean end").expect("trailers")
    }

    /// Everything to the end.
    pub(crate) async fn answer(mut self) -> Answer {
        let head = self.head().await;
        if self.recv.as_ref().is_some_and(RecvStream::is_end_stream) {
            return Answer {
                head: None,
                messages: Vec::new(),
                trailers: head,
            };
        }
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        let trailers = self.trailers().await;
        Answer {
            head: Some(head),
            messages,
            trailers,
        }
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u32 {
        text(&self.trailers, "grpc-status")
            .parse()
            .expect("a number")
    }

    /// The gateway's reason, where it made the status.
    pub(crate) fn reason(&self) -> &str {
        text(&self.trailers, "grpcrouter-reason")
    }
}

/// A header's value, empty where there is none.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}
