//! A small client on HTTP/2 that sends and reads only when a test says so.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grpcrouter_conformance::probe::{CALL, SCRIPT, Script, path};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

/// The most that any event may take; only a failure uses it up.
const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing may go before a sender counts as stalled. Only what must not happen is waited for so.
const SILENCE: Duration = Duration::from_secs(1);

/// Waits for an event, and fails with its name when it does not come.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain: {what}"),
    }
}

/// A connection.
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    addr: SocketAddr,
}

/// A call. Its response may not have begun.
pub(crate) struct Call {
    response: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    /// What did not go yet.
    rest: Bytes,
}

/// A response that has begun.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    /// Whether nothing follows the headers.
    pub(crate) is_only: bool,
    body: RecvStream,
    bytes: BytesMut,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).await.expect("connects");
        let handshake = h2::client::Builder::new()
            .initial_window_size(65_535)
            .handshake(socket);
        let (requests, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { requests, addr }
    }

    /// Begins a call with these headers besides.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        name: &str,
        script: &Script,
        headers: &[(&str, &str)],
    ) -> Call {
        let mut request = Request::post(format!("http://{}{}", self.addr, path(method)))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(CALL, name)
            .header(SCRIPT, script.header());
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let ready = within("room for a call", self.requests.clone().ready());
        let mut requests = ready.await.expect("is connected");
        let sent = requests.send_request(request.body(()).expect("a request"), false);
        let (response, send) = sent.expect("is connected");
        Call {
            response: Some(response),
            send,
            rest: Bytes::new(),
        }
    }

    /// Calls until an instance answers: a call that has none yet fails with UNAVAILABLE.
    pub(crate) async fn until_routed(&self) {
        let routed = async {
            for n in 0.. {
                let script = Script::new();
                let mut call = self.call("Unary", &format!("routed-{n}"), &script).await;
                if status_of(&call.answer().await.headers) != "14" {
                    return;
                }
            }
        };
        within("an instance", routed).await;
    }

    pub(crate) async fn call(&self, method: &str, name: &str, script: &Script) -> Call {
        self.call_with(method, name, script, &[]).await
    }
}

impl Call {
    /// Sends these bytes, as the windows let them go.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        self.send.send_data(bytes, false).expect("the call goes on");
    }

    /// Sends what the windows let go, and keeps the rest: ends when all of it went. `sent` counts.
    pub(crate) async fn send_with_windows(&mut self, sent: &mut usize) {
        while !self.rest.is_empty() {
            self.send.reserve_capacity(self.rest.len());
            while self.send.capacity() == 0 {
                let capacity = poll_fn(|cx| self.send.poll_capacity(cx)).await;
                capacity
                    .expect("the call goes on")
                    .expect("the call goes on");
            }
            let piece = self
                .rest
                .split_to(self.rest.len().min(self.send.capacity()));
            *sent += piece.len();
            self.send(piece);
        }
    }

    /// Has these bytes sent as the windows let them, for as long as silence counts as a stall: how many went.
    pub(crate) async fn send_until_stalled(&mut self, bytes: Bytes) -> usize {
        self.rest = bytes;
        let mut sent = 0;
        let all = tokio::time::timeout(SILENCE, self.send_with_windows(&mut sent)).await;
        assert!(all.is_err(), "all of it went, and nobody read");
        sent
    }

    /// Sends what is left, and half-closes.
    pub(crate) async fn send_the_rest(&mut self) {
        let mut sent = 0;
        within("windows", self.send_with_windows(&mut sent)).await;
        self.half_close();
    }

    pub(crate) fn half_close(&mut self) {
        let end = self.send.send_data(Bytes::new(), true);
        end.expect("the call goes on");
    }

    pub(crate) fn cancel(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    /// The response, once it begins.
    pub(crate) async fn answer(&mut self) -> Answer {
        let response = self.response.take().expect("one response");
        let response: Response<RecvStream> = within("a response", response)
            .await
            .expect("the call goes on");
        let (parts, body) = response.into_parts();
        assert_eq!(parts.status, 200);
        Answer {
            headers: parts.headers,
            is_only: body.is_end_stream(),
            body,
            bytes: BytesMut::new(),
        }
    }

    /// The error that the call ends with before it is answered.
    pub(crate) async fn failure(&mut self) -> h2::Error {
        let response = self.response.take().expect("one response");
        within("a reset", response).await.expect_err("a reset")
    }
}

impl Answer {
    /// The next message in its frame, as it came; none at the end.
    pub(crate) async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some(prefix) = self.bytes.get(..5) {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
                if self.bytes.len() >= 5 + length as usize {
                    return Some(self.bytes.split_to(5 + length as usize).freeze());
                }
            }
            let Some(data) = within("data", self.body.data()).await else {
                assert!(self.bytes.is_empty(), "no part of a message");
                return None;
            };
            let data = data.expect("the call goes on");
            let flow = self.body.flow_control();
            flow.release_capacity(data.len()).expect("was received");
            self.bytes.extend_from_slice(&data);
        }
    }

    /// The trailers, after the last message.
    pub(crate) async fn trailers(&mut self) -> Option<HeaderMap> {
        assert_eq!(self.message().await, None, "no more messages");
        within("trailers", self.body.trailers())
            .await
            .expect("the call goes on")
    }

    /// The status, after the last message.
    pub(crate) async fn status(&mut self) -> String {
        let trailers = self.trailers().await.expect("a status");
        status_of(&trailers)
    }
}

pub(crate) fn status_of(headers: &HeaderMap) -> String {
    let status = headers.get("grpc-status").expect("a status");
    status.to_str().expect("digits").to_owned()
}
