//! Gateway, instance and client over pipes in memory: HTTP/2 and the shell, without the kernel.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use grpcrouter::{
    BoxFuture, BoxIo, Clock, Dialer, Gateway, GatewayConfig, Instance, InstanceConfig,
    InstanceHandle, Listener, Target,
};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::service::Routes;

use crate::pb::bench_server::BenchServer;
use crate::service::{BenchService, NAME, payload};

/// What a pipe holds each way, in bytes: as a socket's buffers would.
const PIPE: usize = 256 * 1024;

/// The dialling end of a port in memory.
#[derive(Clone)]
pub struct Dial(mpsc::Sender<DuplexStream>);

/// The listening end.
pub struct Listen(mpsc::Receiver<DuplexStream>);

/// A port: up to 16 connections wait until they are accepted.
pub fn port() -> (Dial, Listen) {
    let (send, receive) = mpsc::channel(16);
    (Dial(send), Listen(receive))
}

impl Dial {
    async fn connect(&self) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(PIPE);
        let sent = self.0.send(far).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }
}

impl Dialer for Dial {
    fn dial<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async { Ok(Box::new(self.connect().await?) as BoxIo) })
    }
}

impl Listener for Listen {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(io) => Ok((Box::new(io) as BoxIo, nowhere())),
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(nowhere())
    }
}

fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// A gateway with its defaults; it serves until it is dropped.
pub async fn gateway(clients: Listen, tunnels: Listen) {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    tokio::join!(
        gateway.serve_clients(clients),
        gateway.serve_tunnels(tunnels)
    );
}

/// An instance of the bench service with its defaults.
///
/// # Panics
/// If an address that stands here is none.
pub fn instance(dial: Dial) -> (impl Future<Output = ()> + Send, InstanceHandle) {
    let mut config = InstanceConfig::new("bench", [NAME]);
    config
        .gateways
        .push("http://memory:1".parse().expect("an address"));
    let routes = Routes::new(BenchServer::new(BenchService));
    let (instance, handle) = Instance::new(config, routes, Arc::new(dial), Clock::start());
    let run = async move {
        if let Err(error) = instance.run().await {
            panic!("the instance ended: {error}");
        }
    };
    (run, handle)
}

/// Waits until an instance is registered.
///
/// # Panics
/// If it ends before.
pub async fn registered(handle: &InstanceHandle) {
    let mut counts = handle.registrations();
    let registered = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
    registered.await.expect("the instance runs");
}

/// A client's connection, frame by frame, as cheap as one can be.
#[derive(Clone)]
pub struct Client {
    requests: SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
}

impl Client {
    /// # Panics
    /// If the gateway is not there.
    pub async fn connect(dial: &Dial) -> Self {
        let io = dial.connect().await.expect("the gateway listens");
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24);
        let (requests, connection) = builder.handshake(io).await.expect("speaks HTTP/2");
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://memory/{NAME}/Unary"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(());
        Self {
            requests,
            request: request.expect("a request"),
            message: framed(),
        }
    }

    /// One call of 100 bytes each way.
    ///
    /// # Panics
    /// If the answer is not the one that is due.
    pub async fn unary(&self) {
        let requests = self.requests.clone().ready().await;
        let mut requests = requests.expect("the connection lives");
        let (response, mut send) = requests
            .send_request(self.request.clone(), false)
            .expect("a stream");
        send.send_data(self.message.clone(), true)
            .expect("a message");
        let response = response.await.expect("a response");
        let mut body = response.into_body();
        assert_eq!(
            read(&mut body).await,
            self.message.len(),
            "the length of the answer"
        );
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await;
        let trailers = trailers.expect("the stream ends well").expect("trailers");
        let status = trailers.get("grpc-status").map(http::HeaderValue::as_bytes);
        assert_eq!(status, Some(&b"0"[..]), "grpc-status");
    }
}

async fn read(body: &mut RecvStream) -> usize {
    let mut len = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("the stream goes on");
        len += data.len();
        let released = body.flow_control().release_capacity(data.len());
        released.expect("what was received");
    }
    len
}

/// A message of the bench service with its prefix.
fn framed() -> Bytes {
    let message = prost::Message::encode_to_vec(&payload(100));
    let len = u32::try_from(message.len()).expect("a short message");
    [&[0][..], &len.to_be_bytes(), &message].concat().into()
}

/// All of it on one runtime.
pub struct World {
    client: Client,
}

impl World {
    /// Started and registered.
    pub async fn start() -> Self {
        let (dial_clients, clients) = port();
        let (dial_tunnels, tunnels) = port();
        tokio::spawn(gateway(clients, tunnels));
        let (run, handle) = instance(dial_tunnels);
        tokio::spawn(run);
        registered(&handle).await;
        Self {
            client: Client::connect(&dial_clients).await,
        }
    }

    /// One call.
    pub async fn unary(&self) {
        self.client.unary().await;
    }

    /// So many calls at once.
    ///
    /// # Panics
    /// If one of them fails.
    pub async fn unary_at_once(&self, calls: usize) {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..calls {
            let client = self.client.clone();
            running.spawn(async move { client.unary().await });
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a call");
        }
    }
}
