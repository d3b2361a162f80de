//! Answers on an HTTP/2 stream.

use bytes::Bytes;
use grpcrouter_core::frame::Head;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};

use crate::tunnel::Payload;

use super::request::Refusal;

/// The type of what is said to those who made no gRPC call: a line for people.
pub(super) const REFUSAL_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The head of a call's response.
pub(super) fn head(head: Head) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = head.metadata;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, head.content_type.unwrap_or(GRPC));
    response
}

/// A status and nothing else: one HEADERS frame with END_STREAM.
pub(super) fn trailers_only(respond: &mut SendResponse<Payload>, trailers: HeaderMap) {
    let mut response = Response::new(());
    *response.headers_mut() = trailers;
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    // A client that is gone needs no answer.
    let _ = respond.send_response(response, true);
}

/// What a request gets that is no routable call.
pub(super) fn refuse(respond: &mut SendResponse<Payload>, refusal: &Refusal) {
    match refusal {
        Refusal::Grpc(status) => trailers_only(respond, status.trailers()),
        Refusal::Http(status, say) => {
            let mut response = Response::new(());
            *response.status_mut() = *status;
            response.headers_mut().insert(CONTENT_TYPE, REFUSAL_TYPE);
            if let Ok(mut send) = respond.send_response(response, false) {
                let _ = send.send_data(Payload::One(Bytes::from(format!("{say}\n"))), true);
            }
        }
    }
}
