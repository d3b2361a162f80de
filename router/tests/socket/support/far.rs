//! The far end of a call, step by step as the test says, behind any path: the instance library, the
//! agent, or nothing at all between it and the client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grpcrouter::{GatewayConfig, TcpDialer, TunnelConfig, Upstream};
use http::HeaderMap;
use tokio::sync::{mpsc, oneshot};

use super::client::{Client, Exchange};
use super::handler::{Call, Handler};
use super::server;
use super::within;
use super::world::World;

/// What lies between the client and the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing: what any two HTTP/2 peers have in flight.
    Direct,
    /// Gateway and instance library.
    Library,
    /// Gateway and agent, with a raw HTTP/2 server behind it.
    Agent,
}

/// A client and the far ends of its calls.
pub(crate) struct Path {
    /// None where nothing lies between.
    pub(crate) world: Option<World>,
    pub(crate) client: Client,
    calls: mpsc::Receiver<FarCall>,
}

/// The far end of one call of method `Step`. Dropping it ends the call without a status.
pub(crate) struct FarCall {
    steps: mpsc::Sender<Step>,
    counts: Arc<Counts>,
}

/// What happened at the far end so far, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Taken off the transport by the application.
    pub(crate) read: AtomicUsize,
    /// Handed to the transport and taken by it.
    pub(crate) sent: AtomicUsize,
}

/// What the far end is told to do.
pub(crate) enum Step {
    /// Read until so many bytes, or the end, and report them.
    Take(usize, oneshot::Sender<Bytes>),
    /// Send, and report when the transport took all of it.
    Give(Bytes, oneshot::Sender<()>),
    Finish,
}

impl Path {
    pub(crate) async fn start(way: Way) -> Self {
        Self::with(way, fixed(), |_| {}).await
    }

    /// As `start`, with settings of the gateway and of the client. The instance's tunnel is set as the
    /// gateway's.
    pub(crate) async fn with(
        way: Way,
        config: GatewayConfig,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Self {
        let (far, calls) = mpsc::channel(2_048);
        let tunnel = config.tunnel.clone();
        let (world, addr) = match way {
            Way::Direct => (None, server::start(far).await),
            Way::Library => {
                let world = World::with(config).await;
                library(&world, far, tunnel).await;
                let addr = world.clients;
                (Some(world), addr)
            }
            Way::Agent => {
                let world = World::with(config).await;
                agent(&world, server::start(far).await, tunnel).await;
                let addr = world.clients;
                (Some(world), addr)
            }
        };
        let client = Client::with(addr, settings).await;
        Self {
            world,
            client,
            calls,
        }
    }

    /// Opens a call and waits for its far end.
    pub(crate) async fn open(&mut self) -> (Exchange, FarCall) {
        let call = self.client.call("Step").await;
        let far = within("the far end", self.calls.recv()).await;
        (call, far.expect("the far end is there"))
    }

    /// The bound that the gateway declares, with windows at their first size.
    pub(crate) fn bound(&self) -> usize {
        let world = self.world.as_ref().expect("there is a gateway");
        world.gateway.bound().fixed
    }

    /// So many short calls, one after the other, on the same connection and tunnel.
    pub(crate) async fn siblings(&self, count: usize) {
        for _ in 0..count {
            let answer = self.client.unary("Echo", b"sibling").await;
            assert_eq!(answer.status(), 0, "a sibling goes on");
            assert_eq!(answer.messages, [Bytes::from_static(b"sibling")]);
        }
    }
}

/// The defaults with growth off: a round trip is 2 ms or more whenever the machine is busy, and windows
/// that may grow have another bound.
pub(crate) fn fixed() -> GatewayConfig {
    let mut config = GatewayConfig::default();
    config.tunnel.call_window_max = config.tunnel.call_window;
    config
}

impl FarCall {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Step>, Arc<Counts>) {
        let (steps, recv) = mpsc::channel(1);
        let counts = Arc::new(Counts::default());
        let far = Self {
            steps,
            counts: counts.clone(),
        };
        (far, recv, counts)
    }

    /// Reads `n` bytes; fewer at the end.
    pub(crate) async fn take(&self, n: usize) -> Bytes {
        let (reply, taken) = oneshot::channel();
        self.step(Step::Take(n, reply)).await;
        within("the far end's reading", taken)
            .await
            .expect("the call goes on")
    }

    /// Reads one message.
    pub(crate) async fn message(&self) -> Bytes {
        let prefix = self.take(5).await;
        let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"));
        self.take(length as usize).await
    }

    /// Sends, and waits until the transport took it.
    pub(crate) async fn give(&self, data: Bytes) {
        within("room at the far end", self.begin_give(data).await)
            .await
            .expect("the call goes on");
    }

    /// Sends; what is returned ends when the transport has taken all of it.
    pub(crate) async fn begin_give(&self, data: Bytes) -> oneshot::Receiver<()> {
        let (reply, given) = oneshot::channel();
        self.step(Step::Give(data, reply)).await;
        given
    }

    pub(crate) async fn finish(&self) {
        self.step(Step::Finish).await;
    }

    /// Waits until the far end is told that the call is over.
    pub(crate) async fn cancelled(&self) {
        within("the far end's cancellation", self.steps.closed()).await;
    }

    pub(crate) fn read(&self) -> usize {
        self.counts.read.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> usize {
        self.counts.sent.load(Ordering::Relaxed)
    }

    async fn step(&self, step: Step) {
        let step = within("the far end", self.steps.send(step)).await;
        assert!(step.is_ok(), "the call goes on");
    }
}

/// The far end as a handler of the instance library: `Step` as told, everything else echoes.
pub(crate) fn handler(far: mpsc::Sender<FarCall>) -> Handler {
    Handler::new(move |call| {
        let far = far.clone();
        async move {
            if call.method.ends_with("/Step") {
                let (end, steps, counts) = FarCall::new();
                // A test that is over takes no more calls.
                let _ = far.send(end).await;
                play(call, steps, &counts).await;
            } else {
                echo(call).await;
            }
        }
    })
}

async fn echo(mut call: Call) {
    call.head(HeaderMap::new());
    while let Some(message) = call.message().await {
        call.send(&message).await;
    }
    call.finish(0, "").await;
}

async fn play(mut call: Call, mut steps: mpsc::Receiver<Step>, counts: &Counts) {
    call.head(HeaderMap::new());
    let mut kept = BytesMut::new();
    while let Some(step) = steps.recv().await {
        match step {
            Step::Take(n, reply) => {
                while kept.len() < n
                    && let Some(data) = call.data().await
                {
                    let data = data.expect("the call goes on");
                    counts.read.fetch_add(data.len(), Ordering::Relaxed);
                    kept.extend_from_slice(&data);
                }
                let n = n.min(kept.len());
                let _ = reply.send(kept.split_to(n).freeze());
            }
            Step::Give(data, reply) => {
                let length = data.len();
                call.send_raw(data).await;
                counts.sent.fetch_add(length, Ordering::Relaxed);
                let _ = reply.send(());
            }
            Step::Finish => return call.finish(0, "").await,
        }
    }
}

async fn library(world: &World, far: mpsc::Sender<FarCall>, tunnel: TunnelConfig) {
    let mut config = world.config("a");
    config.tunnel = tunnel;
    world.instance_with(config, handler(far)).await;
}

async fn agent(world: &World, upstream: SocketAddr, tunnel: TunnelConfig) {
    assert_eq!(upstream.ip(), Ipv4Addr::LOCALHOST);
    let target = format!("http://{upstream}").parse().expect("an address");
    let service = Upstream::new(target, Arc::new(TcpDialer), Duration::from_secs(5));
    let mut config = world.config("a");
    config.tunnel = tunnel;
    let (instance, handle) = grpcrouter::Instance::new(
        config,
        service,
        Arc::new(TcpDialer),
        grpcrouter::Clock::start(),
    );
    tokio::spawn(instance.run());
    let mut counts = handle.registrations();
    let registered = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
    within("the registration", registered)
        .await
        .expect("the agent runs");
}
