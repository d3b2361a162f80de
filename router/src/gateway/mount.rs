//! The gateway as a tower service, inside somebody else's HTTP/2 server.
//!
//! The same routing and the same tunnels as on the gateway's own listeners. The in-flight bound is larger
//! by what that server buffers: hyper frees a request's window as soon as it is read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::frame::{Head, Trailers};
use grpcrouter_core::registry::Identity;
use grpcrouter_core::tunnel::CallRequest;
use grpcrouter_core::{CallFault, OpenError, Received};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use tokio::sync::mpsc;
use tower_service::Service;

use crate::net::BoxFuture;
use crate::status::{GatewayStatus, INSTANCE};
use crate::tunnel::{BodyTransport, Call, Taken};

use super::request::{Ingress, Refusal};
use super::{Counted, Shared, admin, health, register, respond};

type GatewayCall = Call<grpcrouter_core::Gateway>;

/// A request's bytes that may wait for the tunnel, beyond what it has taken.
const QUEUED_MAX: usize = 64 * 1024;
/// The most that is given to the server at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// A [`Gateway`](super::Gateway) as a service: calls, tunnels, the registry and health.
#[derive(Debug, Clone)]
pub struct GatewayService {
    shared: Arc<Shared>,
}

impl GatewayService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl<B> Service<Request<B>> for GatewayService
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if path == admin::REGISTER {
                return Ok(tunnel(shared, request));
            }
            if admin::is_admin(path) {
                let response = admin::Admin::new(shared).call(request).await?;
                return Ok(response.map(|body| GatewayBody(Kind::Tonic(body))));
            }
            if health::is_health(path) && !request.headers().contains_key(INSTANCE) {
                let response = health::service(shared).call(request).await?;
                return Ok(response.map(|body| GatewayBody(Kind::Tonic(body))));
            }
            Ok(relay(shared, request).await)
        })
    }
}

fn tunnel<B>(shared: Arc<Shared>, request: Request<B>) -> Response<GatewayBody>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin + 'static,
{
    let (transport, frames) = BodyTransport::new(request.into_body());
    tokio::spawn(register::serve(shared, transport, Identity::anonymous()));
    respond::head(Head::default()).map(|()| GatewayBody(Kind::Tunnel(frames)))
}

/// Carries one call.
async fn relay<B>(shared: Arc<Shared>, request: Request<B>) -> Response<GatewayBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let ingress = match Ingress::parse(&parts, shared.config.tunnel.max_metadata) {
        Ok(ingress) => ingress,
        Err(refusal) => return refuse(refusal),
    };
    let counted = shared.gauges.calls.enter();
    let mut tried = None;
    let call = loop {
        let picked = shared
            .directory
            .pick(ingress.service, ingress.pinned, tried);
        let (key, link) = match picked {
            Ok(picked) => picked,
            Err(error) => return refuse(Refusal::Grpc(error.into())),
        };
        let opened = link.with(|tunnel, now| {
            let request = CallRequest {
                method: ingress.method,
                authority: ingress.authority,
                timeout: ingress.timeout,
                content_type: ingress.content_type,
                headers: &parts.headers,
            };
            tunnel.open(now, request, Bytes::new(), body.is_end_stream())
        });
        match opened {
            Ok(call) => break Arc::new(GatewayCall::new(link, call)),
            Err(OpenError::NotLive) if tried.is_none() => tried = Some(key),
            Err(error) => return refuse(Refusal::Grpc(error.into())),
        }
    };
    if !body.is_end_stream() {
        // A task of its own: the server reads no response while it has no room for one, and the request
        // must go on all the same.
        tokio::spawn(upload(call.clone(), body));
    }
    match poll_fn(|cx| call.poll_take(cx, 0)).await {
        Taken::Received(Received::Start(head)) => {
            respond::head(head).map(|()| GatewayBody(Kind::Call(Some((call, counted)))))
        }
        Taken::Received(Received::End(trailers)) => trailers_only(trailers.into_headers()),
        Taken::Received(Received::Failed(fault)) => {
            trailers_only(GatewayStatus::from(&fault).trailers())
        }
        _ => unreachable!("the head comes first"),
    }
}

/// Moves a request to the tunnel, as it takes it.
async fn upload<B>(call: Arc<GatewayCall>, mut body: B)
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    loop {
        poll_fn(|cx| call.poll_queued_below(cx, QUEUED_MAX)).await;
        let frame = poll_fn(|cx| {
            if call.poll_over(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        match frame.await {
            None => return,
            Some(None) => {
                call.send(Bytes::new(), true);
                return;
            }
            Some(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    call.send(data, false);
                }
            }
            // A cut is a cancellation, never an end of stream.
            Some(Some(Err(_))) => return call.reset(grpcrouter_core::tunnel::reset_code::CANCEL),
        }
    }
}

fn refuse(refusal: Refusal) -> Response<GatewayBody> {
    match refusal {
        Refusal::Grpc(status) => trailers_only(status.trailers()),
        Refusal::Http(status, say) => {
            let body = GatewayBody(Kind::Text(Full::from(format!("{say}\n"))));
            let mut response = Response::new(body);
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, respond::REFUSAL_TYPE);
            response
        }
    }
}

fn trailers_only(trailers: HeaderMap) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody(Kind::Empty));
    *response.headers_mut() = trailers;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The body of a mounted gateway's response.
#[derive(Debug)]
pub struct GatewayBody(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Text(Full<Bytes>),
    Tonic(tonic::body::Body),
    Tunnel(mpsc::Receiver<Frame<Bytes>>),
    /// The call, while its response goes on, and its place in the gauges.
    Call(Option<(Arc<GatewayCall>, Counted)>),
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Text(text) => {
                let frame = ready!(Pin::new(text).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Kind::Tonic(body) => Pin::new(body).poll_frame(cx),
            Kind::Tunnel(frames) => frames.poll_recv(cx).map(|frame| frame.map(Ok)),
            Kind::Call(call) => {
                let Some((open, _)) = call else {
                    return Poll::Ready(None);
                };
                let trailers = match ready!(open.poll_take(cx, PIECE)) {
                    Taken::Received(Received::Data(data)) => {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Taken::Received(received) => end(received),
                    Taken::Waiting(_) => unreachable!("there is room for a piece"),
                };
                *call = None;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty | Kind::Call(None))
    }
}

fn end(received: Received<Head, Trailers>) -> HeaderMap {
    match received {
        Received::End(trailers) => trailers.into_headers(),
        Received::Failed(fault) => GatewayStatus::from(&fault).trailers(),
        // A second head is a breach, found before it comes here.
        Received::Start(_) | Received::Data(_) | Received::Pending => {
            GatewayStatus::from(&CallFault::Lost { sent: true }).trailers()
        }
    }
}
