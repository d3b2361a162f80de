//! Calls to a local gRPC server over HTTP/2, as a service.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grpcrouter_core::sabotage::{self, Sabotage};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tower_service::Service;

use crate::hop::REPLAY_MAX;
use crate::instance::{NotDispatched, RequestBody};
use crate::net::{BoxFuture, Dialer, Target};
use crate::outflow::{Outflow, OutflowEnd};
use crate::status::{Code, code_of_reset, status_trailers};
use crate::tunnel::{Call, Payload};

use super::inflow::UpstreamBody;
use super::pool::{Lease, Opened, Pool, PoolError};

type InstanceCall = Call<grpcrouter_core::Instance>;

/// A local gRPC server, as the service of an instance. Cheap to clone: clones share its connections.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(super) pool: Arc<Pool>,
}

impl Upstream {
    /// The server at `target`. Nothing is dialled before the first call.
    pub fn new(target: Target, dialer: Arc<dyn Dialer>, dial_timeout: Duration) -> Self {
        Self {
            pool: Arc::new(Pool::new(target, dialer, dial_timeout)),
        }
    }
}

impl Service<Request<RequestBody>> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let pool = self.pool.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let call = match body.into_call() {
                Ok(call) => call,
                Err(body) => {
                    let body = tonic::body::Body::new(http_body_util::Full::new(body));
                    let answer = small(&pool, Request::from_parts(parts, body)).await;
                    return Ok(answer.unwrap_or_else(Failure::into_response));
                }
            };
            let request = Request::from_parts(parts, ());
            let mut upload = Upload::new(call);
            let response = match attempt(&pool, &request, &mut upload).await {
                // The server did nothing with it: the same call once more, elsewhere.
                Err(failure) if failure.is_safe_to_repeat() && upload.kept.is_some() => {
                    attempt(&pool, &request, &mut upload).await
                }
                response => response,
            };
            let (head, recv, lease) = match response {
                Ok(response) => response,
                Err(failure) => return Ok(failure.into_response()),
            };
            upload.kept = None;
            if upload.out.is_some() {
                // A task of its own: the response waits for its reader, the request must not.
                tokio::spawn(poll_upload(upload));
            }
            let body = UpstreamBody::new(recv, lease).await;
            Ok(Response::from_parts(head, body))
        })
    }
}

type Answer = (http::response::Parts, RecvStream, Lease);

/// Sends a call and waits for the head of its response, sending meanwhile what comes of the request.
async fn attempt(
    pool: &Pool,
    request: &Request<()>,
    upload: &mut Upload,
) -> Result<Answer, Failure> {
    let Opened {
        lease,
        mut response,
        send,
    } = pool.open(request).await.map_err(Failure::Pool)?;
    upload.start(send);
    let response = poll_fn(|cx| {
        if upload.out.is_some() {
            let _ = upload.poll(cx);
        }
        Pin::new(&mut response).poll(cx)
    });
    let response = response.await.map_err(|error| {
        lease.retire_after(&error);
        Failure::Ended(error)
    })?;
    let (head, recv) = response.into_parts();
    Ok((head, recv, lease))
}

/// Why the server did not answer.
enum Failure {
    /// Before anything of the call was sent.
    Pool(PoolError),
    /// After.
    Ended(h2::Error),
}

impl Failure {
    /// Whether the server provably never saw the call, or says that it did nothing with it.
    fn is_safe_to_repeat(&self) -> bool {
        match self {
            Self::Pool(_) => false,
            // GOAWAY fails only the streams that it says were not processed; those that were run on.
            Self::Ended(error) => {
                error.reason() == Some(Reason::REFUSED_STREAM)
                    || (error.is_go_away() && error.is_remote())
            }
        }
    }

    /// For a call of the agent's own, whose log says why its server cannot be called.
    fn into_own_response(self) -> Response<UpstreamBody> {
        match self {
            // The server is up.
            Self::Pool(PoolError::Exhausted) => self.into_response(),
            Self::Pool(error) => refusal(Code::Unavailable, &error.to_string()),
            Self::Ended(_) => self.into_response(),
        }
    }

    fn into_response(self) -> Response<UpstreamBody> {
        let (code, message) = match self {
            Self::Pool(error @ PoolError::Exhausted) => {
                (Code::ResourceExhausted, format!("upstream: {error}"))
            }
            // Where the server is, is nothing for clients to know.
            Self::Pool(error) => {
                tracing::debug!("the upstream cannot be called: {error}");
                let message = "the upstream server is down".to_owned();
                let mut response = refusal(Code::Unavailable, &message);
                response.extensions_mut().insert(NotDispatched);
                return response;
            }
            Self::Ended(error) if error.is_reset() => {
                let code = error
                    .reason()
                    .map_or(Code::Internal, |r| code_of_reset(r.into()));
                (code, format!("upstream: {error}"))
            }
            Self::Ended(error) => {
                tracing::debug!("call to the upstream failed: {error}");
                let message = "the connection to the upstream server ended";
                (Code::Unavailable, message.to_owned())
            }
        };
        refusal(code, &message)
    }
}

fn refusal(code: Code, message: &str) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::empty());
    *response.headers_mut() = status_trailers(code, message);
    response
}

/// The request on its way to the server.
struct Upload {
    call: Arc<InstanceCall>,
    /// None while nothing is to be sent.
    out: Option<Outflow>,
    /// What was sent so far, while it is short enough to be sent again.
    kept: Option<BytesMut>,
    /// The request's end was sent.
    ended: bool,
}

impl Upload {
    fn new(call: Arc<InstanceCall>) -> Self {
        Self {
            call,
            out: None,
            kept: Some(BytesMut::new()),
            ended: false,
        }
    }

    /// Begins, or begins again with what was sent before.
    fn start(&mut self, send: SendStream<Payload>) {
        let mut out = Outflow::new(send);
        if let Some(kept) = self.kept.as_ref().filter(|kept| !kept.is_empty()) {
            out.again(Bytes::copy_from_slice(kept));
        }
        if self.ended {
            out.end();
        } else {
            self.out = Some(out);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(out) = &mut self.out else {
            return Poll::Ready(());
        };
        let kept = &mut self.kept;
        let end = match out.poll_gone(cx) {
            true => OutflowEnd::Gone,
            false => ready!(out.poll(cx, &self.call, |data| keep(kept, data))),
        };
        if let Some(out) = self.out.take() {
            match end {
                OutflowEnd::End(()) => {
                    self.ended = true;
                    out.end();
                }
                OutflowEnd::Failed(_) if sabotage::is(Sabotage::UploadCutIsEnd) => out.end(),
                // A reset, never an end of stream: the server must not commit half a request.
                OutflowEnd::Failed(_) => out.reset(Reason::CANCEL),
                OutflowEnd::Gone => {}
            }
        }
        Poll::Ready(())
    }
}

fn keep(kept: &mut Option<BytesMut>, data: &[u8]) {
    match kept {
        Some(sent) if sent.len() + data.len() <= REPLAY_MAX => sent.extend_from_slice(data),
        _ => *kept = None,
    }
}

async fn poll_upload(mut upload: Upload) {
    poll_fn(|cx| upload.poll(cx)).await;
}

/// The agent's own small calls, such as a health check: the same connections, an ordinary body.
impl Service<Request<tonic::body::Body>> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let pool = self.pool.clone();
        Box::pin(async move {
            let answer = small(&pool, request).await;
            Ok(answer.unwrap_or_else(Failure::into_own_response))
        })
    }
}

async fn small(
    pool: &Pool,
    request: Request<tonic::body::Body>,
) -> Result<Response<UpstreamBody>, Failure> {
    let (mut parts, body) = request.into_parts();
    let uri = format!("http://{}{}", pool.target.authority(), parts.uri.path());
    parts.uri = uri.parse().unwrap_or_default();
    let body = http_body_util::BodyExt::collect(body).await;
    let body = body.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let opened = pool.open(&Request::from_parts(parts, ())).await;
    let Opened {
        lease,
        response,
        mut send,
    } = opened.map_err(Failure::Pool)?;
    // A server may answer, and close, before it has the request; the answer is what counts.
    let _ = send.send_data(Payload::One(body), true);
    let unanswered = Unanswered(&lease);
    let response = response.await;
    std::mem::forget(unanswered);
    let response = response.map_err(|error| {
        lease.retire_after(&error);
        Failure::Ended(error)
    })?;
    let (head, recv) = response.into_parts();
    let body = UpstreamBody::new(recv, lease).await;
    Ok(Response::from_parts(head, body))
}

/// A small call that nobody waits for any longer: its connection may be dead without a word, so the next
/// call gets another. Calls that run on it go on.
struct Unanswered<'a>(&'a Lease);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.retire();
    }
}
