//! `--metrics`: the gateway's figures over HTTP, for Prometheus to fetch.

mod text;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter::Gateway;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Where the figures are.
const PATH: &str = "/metrics";

/// Connections at once: a few Prometheus servers and someone who looks. More wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 8;

/// How long one may take to ask, so that who only connects holds no place.
const REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// How long it may take to ask and to read the answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// After a failed accept, such as too many open files, the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers for as long as the process runs, while it drains as well.
pub(crate) async fn serve(listener: TcpListener, gateway: Gateway) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("never closed");
        match listener.accept().await {
            Ok((socket, _)) => {
                let gateway = gateway.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let served = connection(socket, gateway);
                    match tokio::time::timeout(CONNECTION_LIMIT, served).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => debug!("--metrics: {error}"),
                        Err(_) => debug!("--metrics: a connection took too long"),
                    }
                });
            }
            Err(error) => {
                warn!("--metrics: cannot take a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, gateway: Gateway) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &gateway);
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .serve_connection(TokioIo::new(socket), answer)
        .await
}

fn respond(request: &Request<Incoming>, gateway: &Gateway) -> Response<Full<Bytes>> {
    let say = |status, line: &'static str| {
        let mut response = Response::new(Full::from(line));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != PATH {
        return say(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "GET it\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    let mut response = Response::new(Full::from(text::of(gateway.metrics())));
    let kind = HeaderValue::from_static(text::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
