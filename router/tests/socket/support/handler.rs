//! Handlers whose every step the test decides.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpcrouter::RequestBody;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use super::{Messages, framed};

/// A service that hands every call to a function.
#[derive(Clone)]
pub(crate) struct Handler(Arc<dyn Fn(Call) -> BoxFuture<()> + Send + Sync>);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call as its handler has it. The handler ends when its function returns; without `finish` that is an
/// end without a status.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) headers: HeaderMap,
    pub(crate) authority: String,
    body: RequestBody,
    messages: Messages,
    head: Option<oneshot::Sender<Response<HandlerBody>>>,
    frames: Option<mpsc::Sender<Frame<Bytes>>>,
}

impl Handler {
    pub(crate) fn new<F>(handle: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |call| Box::pin(handle(call))))
    }

    /// Sends every message back, at once.
    pub(crate) fn echo() -> Self {
        Self::new(|mut call| async move {
            call.head(HeaderMap::new());
            while let Some(message) = call.message().await {
                call.send(&message).await;
            }
            call.finish(0, "").await;
        })
    }
}

/// Answers every call with a name, once it has half-closed.
pub(crate) fn named(name: &str) -> Handler {
    let name: Arc<str> = name.into();
    Handler::new(move |mut call| {
        let name = name.clone();
        async move {
            while call.message().await.is_some() {}
            call.head(HeaderMap::new());
            call.send(name.as_bytes()).await;
            call.finish(0, "").await;
        }
    })
}

/// Where handlers wait for the test, and how many do.
#[derive(Clone)]
pub(crate) struct Park {
    open: tokio::sync::watch::Sender<bool>,
    waiting: tokio::sync::watch::Sender<usize>,
}

/// One that waits; it is counted until it is dropped.
struct Parked(tokio::sync::watch::Sender<usize>);

impl Park {
    pub(crate) fn new() -> Self {
        Self {
            open: tokio::sync::watch::Sender::new(false),
            waiting: tokio::sync::watch::Sender::new(0),
        }
    }

    /// A handler that sends its head, and ends with OK once the park opens.
    pub(crate) fn handler(&self) -> Handler {
        let park = self.clone();
        Handler::new(move |mut call| {
            let park = park.clone();
            async move {
                park.waiting.send_modify(|n| *n += 1);
                let _parked = Parked(park.waiting.clone());
                call.head(HeaderMap::new());
                let mut open = park.open.subscribe();
                open.wait_for(|open| *open).await.expect("the park stands");
                call.finish(0, "").await;
            }
        })
    }

    /// How many handlers wait.
    pub(crate) fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Waits until so many handlers wait.
    pub(crate) async fn holds(&self, n: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = waiting.wait_for(|waiting| *waiting == n);
        super::within(&format!("{n} handlers wait"), reached)
            .await
            .expect("the park stands");
    }

    /// Lets all of them end.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl tower_service::Service<Request<RequestBody>> for Handler {
    type Response = Response<HandlerBody>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let (head, response) = oneshot::channel();
            let call = Call {
                method: parts.uri.path().to_owned(),
                authority: parts
                    .uri
                    .authority()
                    .map_or(String::new(), ToString::to_string),
                headers: parts.headers,
                body,
                messages: Messages::default(),
                head: Some(head),
                frames: None,
            };
            // The handler goes on beside its response, and ends when the call does.
            let mut work = handler(call);
            let mut response = response;
            let response = std::future::poll_fn(|cx| {
                let done = work.as_mut().poll(cx).is_ready();
                match Pin::new(&mut response).poll(cx) {
                    Poll::Ready(Ok(response)) => Poll::Ready((response, (!done).then_some(()))),
                    Poll::Ready(Err(_)) => panic!("the handler ended without a head"),
                    Poll::Pending => Poll::Pending,
                }
            });
            let (mut response, goes_on) = response.await;
            response.body_mut().work = goes_on.map(|()| work);
            Ok(response)
        })
    }
}

impl Call {
    /// Sends the head; its content type is the plain one where it names none.
    pub(crate) fn head(&mut self, mut headers: HeaderMap) {
        let grpc = HeaderValue::from_static("application/grpc");
        headers.entry("content-type").or_insert(grpc);
        let (frames, recv) = mpsc::channel(1);
        let mut response = Response::new(HandlerBody {
            frames: Some(recv),
            work: None,
        });
        *response.headers_mut() = headers;
        self.frames = Some(frames);
        let head = self.head.take().expect("one head");
        head.send(response).ok().expect("the call goes on");
    }

    /// Answers with a status and nothing else.
    pub(crate) fn trailers_only(&mut self, mut trailers: HeaderMap, status: u32, message: &str) {
        status_into(&mut trailers, status, message);
        self.trailers_only_as(trailers);
    }

    /// Answers with these trailers and nothing else, whether they make a status or not.
    pub(crate) fn trailers_only_as(&mut self, trailers: HeaderMap) {
        let mut response = Response::new(HandlerBody {
            frames: None,
            work: None,
        });
        *response.headers_mut() = trailers;
        let head = self.head.take().expect("one head");
        head.send(response).ok().expect("the call goes on");
    }

    /// The next message; none when the client half-closed. Panics where the call was cut: a cut ends the
    /// handler.
    pub(crate) async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some((_, message)) = self.messages.next() {
                return Some(message);
            }
            let Some(data) = self.data().await else {
                assert_eq!(
                    self.messages.rest(),
                    0,
                    "the end came in the middle of a message"
                );
                return None;
            };
            self.messages.push(&data.expect("the call goes on"));
        }
    }

    /// The next bytes, whatever they are part of.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, tonic::Status>> {
        let frame = self.body.frame().await?;
        Some(frame.map(|frame| frame.into_data().expect("requests have no trailers")))
    }

    /// Sends a message; waits until there is room for it.
    pub(crate) async fn send(&mut self, message: &[u8]) {
        self.send_raw(framed(message)).await;
    }

    pub(crate) async fn send_raw(&mut self, data: Bytes) {
        let frames = self.frames.as_ref().expect("the head was sent");
        // The call may have ended; then the handler is about to.
        let _ = frames.send(Frame::data(data)).await;
    }

    pub(crate) async fn finish(&mut self, status: u32, message: &str) {
        self.finish_with(HeaderMap::new(), status, message).await;
    }

    pub(crate) async fn finish_with(
        &mut self,
        mut trailers: HeaderMap,
        status: u32,
        message: &str,
    ) {
        status_into(&mut trailers, status, message);
        self.finish_as(trailers).await;
    }

    /// Ends with these trailers, whether they make a status or not.
    pub(crate) async fn finish_as(&mut self, trailers: HeaderMap) {
        let frames = self.frames.take().expect("the head was sent");
        let _ = frames.send(Frame::trailers(trailers)).await;
    }
}

fn status_into(trailers: &mut HeaderMap, status: u32, message: &str) {
    trailers.insert("grpc-status", status.into());
    if !message.is_empty() {
        let encoded = grpcrouter_core::percent::encode(message);
        trailers.insert("grpc-message", encoded);
    }
}

/// A response's body; it carries the handler along.
pub(crate) struct HandlerBody {
    frames: Option<mpsc::Receiver<Frame<Bytes>>>,
    work: Option<BoxFuture<()>>,
}

impl Body for HandlerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(cx).is_ready()
        {
            self.work = None;
        }
        match &mut self.frames {
            Some(frames) => frames.poll_recv(cx).map(|frame| frame.map(Ok)),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none()
    }
}
