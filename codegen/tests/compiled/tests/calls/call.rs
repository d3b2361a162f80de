//! A gateway, an instance behind it, and calls of each kind.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, Mode, TcpListener};
use tonic::{Response, Status, Streaming};

/// The id of the instance.
pub(crate) const ID: &str = "here-1";

/// A gateway, and the mode in which an instance dials it over loopback.
pub(crate) async fn gateway() -> (Gateway, Mode) {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(loopback).await.expect("a port");
    let tunnels = listener.local_addr().expect("an address");
    let serving = gateway.clone();
    tokio::spawn(async move { serving.serve_tunnels(listener).await });
    let gateways = [format!("http://{tunnels}")];
    let mode = Mode::parse("routed", None, &gateways, Some(ID)).expect("a mode");
    (gateway, mode)
}

/// Waits for the answer, which is one message, and empty.
pub(crate) async fn one<T: Default + PartialEq + Debug>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) {
    let answer = in_time(call).await.expect("an answer").into_inner();
    assert_eq!(answer, T::default());
}

/// Waits for messages, of which there is one, and empty.
pub(crate) async fn stream<T: Default + PartialEq + Debug>(
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
) {
    let mut answers = in_time(call).await.expect("an answer").into_inner();
    let first = in_time(answers.message()).await.expect("a message");
    assert_eq!(first, Some(T::default()));
    let rest = in_time(answers.message()).await.expect("the end");
    assert_eq!(rest, None);
}

/// A call takes milliseconds; one that hangs should say so.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, call).await.expect("in time")
}

macro_rules! call {
    ($client:ident unary $method:ident $request:ty) => {
        crate::call::one($client.$method(<$request>::default())).await
    };
    ($client:ident server_streaming $method:ident $request:ty) => {
        crate::call::stream($client.$method(<$request>::default())).await
    };
    ($client:ident client_streaming $method:ident $request:ty) => {
        crate::call::one($client.$method(tokio_stream::once(<$request>::default()))).await
    };
    ($client:ident bidirectional $method:ident $request:ty) => {
        crate::call::stream($client.$method(tokio_stream::once(<$request>::default()))).await
    };
}

pub(crate) use call;
