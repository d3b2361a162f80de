//! One call at the instance: from the tunnel to the service, and its response back.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use grpcrouter_core::frame::Open;
use grpcrouter_core::metadata::GRPC_STATUS;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::timeout::format_timeout;
use grpcrouter_core::tunnel::ResponseHead;
use grpcrouter_core::{Instance, OpenError};
use h2::Reason;
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use tower_service::Service;

use crate::hop::PIECE;
use crate::status::{Code, code_of_http, code_of_reset, status_trailers};
use crate::tunnel::Call;

use super::{BoxError, RequestBody};

/// In a response's extensions: the call provably reached nobody, and may be sent to another instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotDispatched;

/// Serves one call. It ends where it stands when the call is cancelled, past its deadline, or lost.
pub(super) async fn serve<S, B>(service: S, call: Arc<Call<Instance>>, open: Open)
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError> + Send,
{
    let _unwound = Unwound(&call);
    let request = request(open, RequestBody::new(call.clone()));
    let work = answer(service, request, &call);
    let mut work = pin!(work);
    let goes_on = sabotage::is(Sabotage::HandlerNotAborted)
        || sabotage::is(Sabotage::CutIsEnd)
        || sabotage::is(Sabotage::UploadCutIsEnd);
    poll_fn(|cx| {
        if call.poll_failed(cx).is_ready() && !goes_on {
            return Poll::Ready(());
        }
        work.as_mut().poll(cx)
    })
    .await;
}

/// Ends a call whose service panics, also while something else still holds the request's body.
struct Unwound<'a>(&'a Call<Instance>);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.reset(Reason::INTERNAL_ERROR.into());
        }
    }
}

fn request(open: Open, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(&open);
    *request.headers_mut() = open.metadata;
    let headers = request.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(CONTENT_TYPE, open.content_type.unwrap_or(grpc));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = open.timeout {
        headers.insert("grpc-timeout", format_timeout(timeout));
    }
    request
}

fn uri(open: &Open) -> Uri {
    let authority = open
        .authority
        .parse()
        .unwrap_or(Authority::from_static("localhost"));
    let path = open
        .method
        .parse()
        .unwrap_or(PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).unwrap_or_default()
}

async fn answer<S, B>(mut service: S, request: Request<RequestBody>, call: &Call<Instance>)
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError> + Send,
{
    let answered = async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    };
    let sent = match answered.await {
        Ok(response) if response.extensions().get::<NotDispatched>().is_some() => {
            call.link().with(|tunnel, _| tunnel.refuse_call(call.key()));
            Ok(())
        }
        Ok(response) => respond(response, call).await,
        Err(error) => send(call, &mut None, Bytes::new(), Some(&of_error(error.into()))),
    };
    if let Err(error) = sent {
        // What the service answered does not fit a frame; a status of ours does.
        let trailers = status_trailers(Code::ResourceExhausted, &error.to_string());
        let _ = send(call, &mut None, Bytes::new(), Some(&trailers));
    }
    if !sabotage::is(Sabotage::UnflushedDropped) {
        poll_fn(|cx| call.poll_flushed(cx)).await;
    }
}

/// Sends a response: the head with the first bytes and the trailers with the last, as far as they are
/// here together, without ever waiting for them to be.
async fn respond<B>(response: Response<B>, call: &Call<Instance>) -> Result<(), OpenError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError> + Send,
{
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    if let Some(trailers) = trailers_only(parts.status, &parts.headers, body.is_end_stream()) {
        return send(call, &mut None, Bytes::new(), Some(&trailers));
    }
    let mut head = Some(parts.headers);
    let mut next = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
    loop {
        let frame = match next {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if head.is_some() {
                    send(call, &mut head, Bytes::new(), None)?;
                }
                poll_fn(|cx| body.as_mut().poll_frame(cx)).await
            }
        };
        let mut data = match of_frame(frame) {
            Ok(data) => data,
            Err(trailers) => return send(call, &mut head, Bytes::new(), Some(&trailers)),
        };
        while data.len() > PIECE {
            send(call, &mut head, data.split_to(PIECE), None)?;
            poll_fn(|cx| call.poll_queued_below(cx, 0)).await;
        }
        next = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
        next = match next {
            Poll::Ready(frame) => match of_end(frame) {
                Ok(trailers) => return send(call, &mut head, data, Some(&trailers)),
                Err(frame) => Poll::Ready(frame),
            },
            Poll::Pending => Poll::Pending,
        };
        send(call, &mut head, data, None)?;
        poll_fn(|cx| call.poll_queued_below(cx, 0)).await;
    }
}

/// The response's whole content, where it is a status and nothing else.
fn trailers_only(status: StatusCode, headers: &HeaderMap, ended: bool) -> Option<HeaderMap> {
    if ended && headers.contains_key(GRPC_STATUS) {
        return Some(headers.clone());
    }
    if status != StatusCode::OK {
        let message = format!("the service answered HTTP {status}");
        return Some(status_trailers(code_of_http(status), &message));
    }
    None
}

type Polled<E> = Option<Result<Frame<Bytes>, E>>;

/// The data of a frame, or the trailers with which the response ends.
fn of_frame<E: Into<BoxError>>(frame: Polled<E>) -> Result<Bytes, HeaderMap> {
    match frame {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Ok(data),
            Err(frame) => Err(frame.into_trailers().unwrap_or_default()),
        },
        Some(Err(error)) => Err(of_error(error.into())),
        // Without trailers there is no status: the core says UNKNOWN.
        None => Err(HeaderMap::new()),
    }
}

/// The trailers of a frame that ends a response, or the frame.
fn of_end<E>(frame: Polled<E>) -> Result<HeaderMap, Polled<E>> {
    match frame {
        Some(Ok(frame)) => frame.into_trailers().map_err(|frame| Some(Ok(frame))),
        None => Ok(HeaderMap::new()),
        error => Err(error),
    }
}

/// The status of a service that failed instead of answering.
fn of_error(error: BoxError) -> HeaderMap {
    let error = match error.downcast::<tonic::Status>() {
        Ok(status) => {
            return status
                .into_http::<tonic::body::Body>()
                .into_parts()
                .0
                .headers;
        }
        Err(error) => error,
    };
    let code = match error.downcast_ref::<h2::Error>() {
        Some(error) if error.is_reset() => error
            .reason()
            .map_or(Code::Internal, |reason| code_of_reset(reason.into())),
        Some(_) => Code::Unavailable,
        None => Code::Unknown,
    };
    status_trailers(code, &error.to_string())
}

fn send(
    call: &Call<Instance>,
    head: &mut Option<HeaderMap>,
    data: Bytes,
    trailers: Option<&HeaderMap>,
) -> Result<(), OpenError> {
    let headers = head.take();
    let head = headers.as_ref().map(|headers| ResponseHead {
        content_type: headers
            .get(CONTENT_TYPE)
            .filter(|value| *value != "application/grpc"),
        headers,
    });
    call.link()
        .with(|tunnel, _| tunnel.respond(call.key(), head, data, trailers))
}
