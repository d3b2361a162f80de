//! A service of four methods, for any instance.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use grpcrouter_conformance::framing::framed;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use tokio::sync::watch;

type Frames = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// `/test.Echo/...`:
///
/// - `Echo` sends back what it reads, as it comes.
/// - `Count` reads to the end and answers how many bytes that was.
/// - `Numbers` reads to the end and sends 10,000 messages.
/// - `Hold` reads nothing until the gate is open, then as `Echo`.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    gate: Arc<watch::Sender<bool>>,
    taken: Arc<AtomicU64>,
    began: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

pub(crate) const NUMBERS: u32 = 10_000;

impl Default for Echo {
    fn default() -> Self {
        Self {
            gate: Arc::new(watch::Sender::new(false)),
            taken: Arc::default(),
            began: Arc::default(),
            dropped: Arc::default(),
        }
    }
}

impl Echo {
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Bytes that handlers took of their requests.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Handlers of `Hold` that have begun.
    pub(crate) fn began(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }

    /// Handlers of `Hold` that were dropped before their gate was open.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    fn counted<B>(&self, body: B) -> impl futures_util::Stream<Item = Frame<Bytes>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let taken = self.taken.clone();
        BodyStream::new(body).filter_map(move |frame| {
            let frame = frame.ok();
            let length = frame
                .as_ref()
                .and_then(Frame::data_ref)
                .map_or(0, Bytes::len);
            taken.fetch_add(length as u64, Ordering::SeqCst);
            std::future::ready(frame)
        })
    }
}

/// Counts where it is dropped armed.
struct Armed(Arc<AtomicUsize>, bool);

impl Drop for Armed {
    fn drop(&mut self) {
        if self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Echo
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Debug + Send,
{
    type Response = Response<StreamBody<Frames>>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let data: Frames = match parts.uri.path() {
                "/test.Echo/Echo" => Box::pin(echo.counted(body).map(Ok)),
                "/test.Echo/Count" => {
                    let all = body
                        .collect()
                        .await
                        .map(http_body_util::Collected::to_bytes);
                    let length = all.map_or(0, |all| all.len() as u32);
                    Box::pin(stream::iter([Ok(Frame::data(framed(
                        &length.to_be_bytes(),
                    )))]))
                }
                "/test.Echo/Numbers" => {
                    let _ = body.collect().await;
                    let number = |n: u32| Ok(Frame::data(framed(&n.to_be_bytes())));
                    Box::pin(stream::iter((0..NUMBERS).map(number)))
                }
                "/test.Echo/Hold" => {
                    let mut armed = Armed(echo.dropped.clone(), true);
                    echo.began.fetch_add(1, Ordering::SeqCst);
                    let _ = echo.gate.subscribe().wait_for(|open| *open).await;
                    armed.1 = false;
                    Box::pin(echo.counted(body).map(Ok))
                }
                _ => return Ok(ended(12)),
            };
            let trailers = stream::iter([Ok(Frame::trailers(status(0)))]);
            let mut response =
                Response::new(StreamBody::new(Box::pin(data.chain(trailers)) as Frames));
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            for (name, value) in &parts.headers {
                if name.as_str().starts_with("x-") {
                    headers.append(name, value.clone());
                }
            }
            Ok(response)
        })
    }
}

fn status(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers.insert("x-trailer", HeaderValue::from_static("kept"));
    trailers
}

fn ended(code: u32) -> Response<StreamBody<Frames>> {
    let mut response = Response::new(StreamBody::new(Box::pin(stream::iter([Ok(Frame::trailers(
        status(code),
    ))])) as Frames));
    let header = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", header);
    response
}
