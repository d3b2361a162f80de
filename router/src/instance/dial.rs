//! From a gateway's address to a transport for a tunnel.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use grpcrouter_core::percent;
use h2::client;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::time::timeout;

use crate::hop::TUNNEL_WINDOW;
use crate::net::{Dialer, Target, drive, gathered};
use crate::tunnel::{H2Transport, Payload};

/// What HTTP/2 may hold of a tunnel on its way to the socket, in bytes.
const TUNNEL_SEND_BUFFER: usize = 128 * 1024;

/// Why there is no tunnel: one line.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("does not speak HTTP/2 there: {0}")]
    Http2(h2::Error),
    #[error("is not a gateway's tunnel port: it answered {0}")]
    NoGateway(String),
}

/// Dials a gateway and opens the stream of a tunnel.
pub(super) async fn dial(
    dialer: &Arc<dyn Dialer>,
    target: &Target,
    limit: Duration,
) -> Result<H2Transport, DialError> {
    timeout(limit, connect(dialer, target))
        .await
        .unwrap_or(Err(DialError::Timeout(limit)))
}

async fn connect(dialer: &Arc<dyn Dialer>, target: &Target) -> Result<H2Transport, DialError> {
    let io = dialer.dial(target).await.map_err(DialError::Connect)?;
    let (io, outlet) = gathered(io, BytesMut::new());
    let (mut requests, connection) = client::Builder::new()
        .initial_window_size(TUNNEL_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOW)
        .max_send_buffer_size(TUNNEL_SEND_BUFFER)
        .enable_push(false)
        .handshake::<_, Payload>(io)
        .await
        .map_err(DialError::Http2)?;
    // It ends with its stream: nobody else holds on to it.
    tokio::spawn(async move {
        if let Err(error) = drive(connection, outlet).await {
            tracing::debug!("connection to the gateway ended: {error}");
        }
    });
    let request = request(target);
    let opened = requests.send_request(request, false);
    let (response, send) = opened.map_err(DialError::Http2)?;
    let response = response.await.map_err(DialError::Http2)?;
    check(&response)?;
    Ok(H2Transport::new(response.into_body(), send))
}

fn request(target: &Target) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let uri = format!(
        "http://{}/grpcrouter.v1.Router/Register",
        target.authority()
    );
    if let Ok(uri) = uri.parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    headers.insert("te", http::HeaderValue::from_static("trailers"));
    request
}

fn check(response: &Response<h2::RecvStream>) -> Result<(), DialError> {
    let headers = response.headers();
    if response.status() != StatusCode::OK {
        return Err(DialError::NoGateway(format!("HTTP {}", response.status())));
    }
    if let Some(status) = headers.get("grpc-status") {
        let status = status.to_str().unwrap_or("?");
        return Err(DialError::NoGateway(format!(
            "grpc-status {status}{}",
            message(headers)
        )));
    }
    let content_type = headers
        .get("content-type")
        .map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/grpc") {
        return Err(DialError::NoGateway(
            "something that is not gRPC".to_owned(),
        ));
    }
    Ok(())
}

fn message(headers: &HeaderMap) -> String {
    let message = headers
        .get("grpc-message")
        .map(|value| percent::decode(value.as_bytes()));
    message.map_or_else(String::new, |message| format!(", {message:?}"))
}
