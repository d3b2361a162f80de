//! An instance whose every frame the test decides: the core's tunnel over a raw HTTP/2 stream.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use grpcrouter::proto::v1::{HealthStatus, InstanceInfo, ServiceInfo};
use grpcrouter::{Clock, TunnelConfig, first_epoch};
use grpcrouter_core::tunnel::{Event, InstanceEvent};
use grpcrouter_core::{Instance, Key, Tunnel};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::net::TcpStream;

use super::within;

/// A registered instance of `test.Probe` that does nothing by itself.
pub(crate) struct Scripted {
    pub(crate) tunnel: Tunnel<Instance>,
    clock: Clock,
    recv: RecvStream,
    send: SendStream<Bytes>,
    /// Whether HTTP/2 window is given back for what is read.
    pub(crate) releases: bool,
}

impl Scripted {
    /// Registers, with a stream window of so many bytes.
    pub(crate) async fn register(tunnels: SocketAddr, id: &str, window: u32) -> Self {
        Self::register_on(dial(tunnels, window).await, id).await
    }

    /// Registers on a connection that may have other tunnels.
    pub(crate) async fn register_on(mut requests: SendRequest<Bytes>, id: &str) -> Self {
        let request = Request::post("http://gateway.test/grpcrouter.v1.Router/Register")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let (response, send) = requests.send_request(request, false).expect("a request");
        let response = within("a response", response).await.expect("a response");
        let clock = Clock::start();
        let probe = ServiceInfo {
            name: "test.Probe".to_owned(),
            health: HealthStatus::Healthy.into(),
        };
        let info = InstanceInfo {
            instance_id: id.to_owned(),
            epoch: Some(first_epoch()),
            services: vec![probe],
            weight: 1,
            ..InstanceInfo::default()
        };
        let tunnel = Tunnel::<Instance>::new(clock.now(), TunnelConfig::default(), info);
        let mut scripted = Self {
            tunnel,
            clock,
            recv: response.into_body(),
            send,
            releases: true,
        };
        let event = scripted.event().await;
        assert!(
            matches!(event, Event::Role(InstanceEvent::Registered(_))),
            "{event:?}"
        );
        scripted
    }

    /// The next call.
    pub(crate) async fn incoming(&mut self) -> Key {
        loop {
            if let Event::Role(InstanceEvent::Incoming(key, _)) = self.event().await {
                return key;
            }
        }
    }

    /// Waits until so many bytes of a call are here.
    pub(crate) async fn readable(&mut self, key: Key, bytes: usize) {
        while self.tunnel.readable(key) < bytes {
            self.event().await;
        }
    }

    /// Writes what the tunnel has to say.
    pub(crate) fn flush(&mut self) {
        while let Some(mut batch) = self.tunnel.poll_transmit(self.clock.now()) {
            let data = batch.copy_to_bytes(batch.remaining());
            self.send
                .send_data(data, false)
                .expect("the stream is open");
        }
    }

    /// Waits until the gateway gives HTTP/2 window for so many bytes.
    pub(crate) async fn window(&mut self, bytes: usize) {
        self.send.reserve_capacity(bytes);
        while self.send.capacity() < bytes {
            let send = &mut self.send;
            let more = within("HTTP/2 window", poll_fn(|cx| send.poll_capacity(cx))).await;
            more.expect("the stream is open")
                .expect("the stream is open");
        }
    }

    async fn event(&mut self) -> Event<Instance> {
        loop {
            self.flush();
            if let Some(event) = self.tunnel.poll_event() {
                return event;
            }
            let recv = &mut self.recv;
            let data = within("the gateway's frames", poll_fn(|cx| recv.poll_data(cx))).await;
            let data = data
                .expect("the tunnel is open")
                .expect("the stream goes on");
            if self.releases {
                let released = self.recv.flow_control().release_capacity(data.len());
                released.expect("was received");
            }
            self.tunnel.handle_bytes(self.clock.now(), data);
        }
    }
}

/// A connection to a gateway's tunnels, with a stream window of so many bytes.
pub(crate) async fn dial(tunnels: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(tunnels).await.expect("connects");
    socket.set_nodelay(true).expect("a socket");
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(window)
        .max_send_buffer_size(1 << 24);
    let shaken = within("a handshake", builder.handshake(socket)).await;
    let (requests, connection) = shaken.expect("speaks HTTP/2");
    tokio::spawn(connection);
    requests
}
