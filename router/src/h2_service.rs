//! Serves an HTTP service on one stream of an HTTP/2 connection that is ours.
//!
//! For what is rare and small: health, the registry, reflection. Calls never come this way.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::tunnel::Payload;

/// The body of a request, straight from HTTP/2. Its window opens as it is read.
#[derive(Debug)]
pub(crate) struct H2Body(pub(crate) RecvStream);

impl Body for H2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(Ok(data)) => {
                self.0.flow_control().release_capacity(data.len())?;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => match ready!(self.0.poll_trailers(cx)) {
                Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Answers one request with a service.
pub(crate) async fn serve<S, B>(
    mut service: S,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) where
    S: Service<Request<H2Body>, Response = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    let answer = async {
        poll_fn(|cx| service.poll_ready(cx)).await.ok()?;
        service.call(request.map(H2Body)).await.ok()
    };
    let response = tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        response = answer => response,
    };
    let Some(response) = response else {
        return respond.send_reset(h2::Reason::INTERNAL_ERROR);
    };
    let (parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    if let Ok(send) = respond.send_response(Response::from_parts(parts, ()), ended)
        && !ended
    {
        send_body(body, send).await;
    }
}

async fn send_body<B: Body<Data = Bytes> + Unpin>(mut body: B, mut send: SendStream<Payload>) {
    loop {
        let frame = poll_fn(|cx| {
            if send.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        match frame.await {
            None => return,
            Some(None) => {
                let _ = send.send_data(Payload::One(Bytes::new()), true);
                return;
            }
            Some(Some(Err(_))) => return send.send_reset(h2::Reason::INTERNAL_ERROR),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    if send_data(&mut send, data).await.is_none() {
                        return;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = send.send_trailers(trailers);
                        return;
                    }
                }
            },
        }
    }
}

/// Sends as the peer's window opens; none when the stream is gone.
async fn send_data(send: &mut SendStream<Payload>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        while send.capacity() == 0 {
            poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        }
        let piece = data.split_to(data.len().min(send.capacity()));
        send.send_data(Payload::One(piece), false).ok()?;
    }
    Some(())
}
