//! The gateway: takes clients' calls on one side and instances' tunnels on the other.

mod access;
mod admin;
mod config;
mod connection;
mod directory;
mod gauges;
mod health;
mod listen;
mod mount;
mod register;
mod relay;
mod request;
mod respond;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use crate::Clock;
use crate::net::Listener;

pub use config::{Bound, GatewayConfig};
pub(crate) use config::{PIECE, REPLAY_MAX, SEND_BUFFER, UPSTREAM_WINDOW};
pub use gauges::{Counted, Gauge, Gauges};
pub use mount::{GatewayBody, GatewayService};

use directory::Directory;
use listen::Serves;

/// A gateway. Cheap to clone; every clone is the same gateway.
///
/// It runs in the runtime of its caller. Give it listeners with [`serve_clients`](Self::serve_clients) and
/// [`serve_tunnels`](Self::serve_tunnels), or one for both with [`serve_both`](Self::serve_both), or
/// mount it in another HTTP server with [`service`](Self::service).
///
/// ```no_run
/// use grpcrouter::{Clock, Gateway, GatewayConfig, TcpListener};
///
/// # async fn run() -> std::io::Result<()> {
/// let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
/// let clients = TcpListener::bind("127.0.0.1:50051".parse().unwrap()).await?;
/// let tunnels = TcpListener::bind("127.0.0.1:50052".parse().unwrap()).await?;
/// tokio::join!(gateway.serve_clients(clients), gateway.serve_tunnels(tunnels));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What all connections of a gateway share.
#[derive(Debug)]
struct Shared {
    config: GatewayConfig,
    clock: Clock,
    directory: Directory,
    gauges: Gauges,
    /// Whether the gateway drains.
    drain: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway that serves nothing yet.
    pub fn new(config: GatewayConfig, clock: Clock) -> Self {
        let directory = Directory::new(config.registry.clone());
        let drain = watch::Sender::new(false);
        let gauges = Gauges::default();
        Self {
            shared: Arc::new(Shared {
                config,
                clock,
                directory,
                gauges,
                drain,
            }),
        }
    }

    /// Serves clients' calls, until the gateway has drained.
    pub async fn serve_clients(&self, listener: impl Listener) {
        listen::serve(self.shared.clone(), listener, Serves::Clients).await;
    }

    /// Serves instances' tunnels and the `grpcrouter.v1.Router` service, until the gateway has drained.
    pub async fn serve_tunnels(&self, listener: impl Listener) {
        listen::serve(self.shared.clone(), listener, Serves::Tunnels).await;
    }

    /// Serves both on one port: whoever can call can then also register.
    pub async fn serve_both(&self, listener: impl Listener) {
        listen::serve(self.shared.clone(), listener, Serves::Both).await;
    }

    /// The gateway as a tower service, to be mounted in an HTTP/2 server such as tonic's.
    pub fn service(&self) -> GatewayService {
        GatewayService::new(self.shared.clone())
    }

    /// What is open now.
    pub fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }

    /// How many instances are registered.
    pub fn instances(&self) -> usize {
        self.shared
            .directory
            .read(grpcrouter_core::registry::Registry::len)
    }

    /// The in-flight bound of the path through this gateway.
    pub fn bound(&self) -> Bound {
        self.shared.config.bound()
    }

    /// Shuts down: no new connections or calls, instances are told to go elsewhere, running calls finish
    /// within the configured time, to the last byte that their clients take. Returns how many did not.
    pub async fn drain(&self) -> usize {
        let shared = &self.shared;
        info!(calls = shared.gauges.calls.get(), "draining");
        shared.drain.send_replace(true);
        let until = shared.clock.now() + shared.config.drain_timeout;
        let mut poll = tokio::time::interval(DRAIN_POLL);
        // A connection ends once its calls have; a call whose end still waits for its client's window is
        // no longer counted as one.
        let open = || shared.gauges.calls.get() + shared.gauges.connections.get();
        while open() > 0 && shared.clock.now() < until {
            poll.tick().await;
        }
        shared.gauges.calls.get()
    }
}

/// How often a draining gateway looks whether it is done.
const DRAIN_POLL: std::time::Duration = std::time::Duration::from_millis(20);
