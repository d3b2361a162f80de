//! The gateway as a tower service, inside somebody else's HTTP/2 server.
//!
//! The same routing and the same tunnels as on the gateway's own listeners. The in-flight bound is larger
//! by what that server buffers: hyper frees a request's window as soon as it is read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::Received;
use grpcrouter_core::frame::Head;
use grpcrouter_core::registry::Identity;
use grpcrouter_core::tunnel::reset_code;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use tokio::sync::mpsc;
use tower_service::Service;

use crate::net::BoxFuture;
use crate::status::{Code, GatewayStatus, INSTANCE, Reason};
use crate::tunnel::{BodyTransport, Taken};

use super::access::Access;
use super::inflow::{BodySource, Inflow};
use super::open::{Answer, Failure, Opening, Placed};
use super::request::{Ingress, Refusal};
use super::{Counted, Shared, admin, health, reflection, register, respond};

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
            let pinned = request.headers().contains_key(INSTANCE);
            if health::is_health(path) && !pinned {
                let response = health::service(shared).call(request).await?;
                return Ok(response.map(|body| GatewayBody(Kind::Tonic(body))));
            }
            if reflection::is_reflection(path) && !pinned {
                let response = reflection::Reflection::new(shared).call(request).await?;
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
    let mut access = Access::begin(shared.clone(), parts.uri.path());
    let routes = shared.routes.load_full();
    let ingress = match Ingress::parse(&parts, &routes, shared.config.tunnel.max_metadata) {
        Ok(ingress) => ingress,
        Err(refusal) => {
            access.refused(&refusal);
            return refuse(refusal);
        }
    };
    access.resolved(&ingress);
    let counted = shared.gauges.calls.enter();
    let mut request = Inflow::new(BodySource(body));
    let opening = Opening {
        shared: &shared,
        parts: &parts,
        ingress,
        request: &mut request,
        access: &mut access,
    };
    // A client that goes away is told by the server dropping this future.
    let answer = opening.run(|_| false).await;
    access.bytes(request.received as u64, 0);
    match answer {
        Ok(Answer::Head(placed, head)) => {
            let placed = Arc::new(placed);
            // A task of its own: the server reads no response while it has no room for one, and the
            // request must go on all the same.
            let received = Arc::new(AtomicU64::new(request.received as u64));
            tokio::spawn(upload(placed.clone(), request, received.clone()));
            let open = OpenCall {
                placed,
                access,
                received,
                sent: 0,
                _counted: counted,
            };
            respond::head(head).map(|()| GatewayBody(Kind::Call(Some(Box::new(open)))))
        }
        Ok(Answer::Trailers(trailers)) => {
            access.code(trailers.status);
            trailers_only(trailers.into_headers())
        }
        Err(Failure::Status(status)) => {
            access.status(&status);
            trailers_only(status.trailers())
        }
        // Cut: nobody reads the answer, but a server wants one.
        Err(Failure::Gone) => {
            access.gone();
            let message = "the client went away";
            let status = GatewayStatus::new(Code::Cancelled, Reason::Cancelled, message);
            trailers_only(status.trailers())
        }
    }
}

/// Moves a request to the tunnel, as the tunnel takes it.
async fn upload<B>(
    placed: Arc<Placed>,
    mut request: Inflow<BodySource<B>>,
    received: Arc<AtomicU64>,
) where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let call = &placed.call;
    poll_fn(|cx| {
        if request.poll(cx, call).is_err() {
            // A cut is a cancellation, never an end of stream.
            call.reset(reset_code::CANCEL);
        }
        received.store(request.received as u64, Ordering::Relaxed);
        call.poll_over(cx)
    })
    .await;
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
    /// The call, while its response goes on.
    Call(Option<Box<OpenCall>>),
}

/// A call whose response goes on.
#[derive(Debug)]
struct OpenCall {
    placed: Arc<Placed>,
    access: Access,
    /// Counted by the request's task.
    received: Arc<AtomicU64>,
    sent: u64,
    _counted: Counted,
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
            Kind::Call(slot) => {
                let Some(open) = slot else {
                    return Poll::Ready(None);
                };
                let frame = ready!(open.poll_frame(cx));
                if frame.is_trailers() {
                    *slot = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty | Kind::Call(None))
    }
}

/// A client that goes away takes its call along, although the request's task still holds it.
impl Drop for OpenCall {
    fn drop(&mut self) {
        self.placed.call.reset(reset_code::CANCEL);
    }
}

impl OpenCall {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Frame<Bytes>> {
        let trailers = match ready!(self.placed.call.poll_take(cx, PIECE)) {
            Taken::Received(Received::Data(data)) => {
                self.sent += data.len() as u64;
                return Poll::Ready(Frame::data(data));
            }
            Taken::Received(Received::End(trailers)) => {
                self.access.code(trailers.status);
                trailers.into_headers()
            }
            Taken::Received(Received::Failed(fault)) => {
                let status = GatewayStatus::from(&fault);
                self.access.status(&status);
                status.trailers()
            }
            Taken::Received(Received::Start(_) | Received::Pending) | Taken::Waiting(_) => {
                unreachable!("a second head is a breach, and there is room for a piece")
            }
        };
        let received = self.received.load(Ordering::Relaxed);
        self.access.bytes(received, self.sent);
        Poll::Ready(Frame::trailers(trailers))
    }
}
