//! The gateway: takes clients' calls on one side and instances' tunnels on the other.

mod access;
mod admin;
mod backlog;
mod channel;
mod config;
mod connection;
mod descriptors;
mod directory;
mod gauges;
mod health;
mod inflow;
mod keepalive;
mod listen;
mod metrics;
mod mount;
mod open;
#[cfg(test)]
mod races;
mod reflection;
mod register;
mod relay;
mod request;
mod respond;
mod router;
mod routing;
mod waiting;

use std::sync::{self, Arc};

use arc_swap::ArcSwap;
use grpcrouter_core::routing::{Routes, ServiceRoutes};
use grpcrouter_core::sabotage::{self, Sabotage};
use tokio::sync::watch;
use tracing::info;

use crate::Clock;
use crate::net::Listener;

pub use channel::GatewayChannel;
pub use config::{Bound, CLIENT_WINDOW_MIN, GatewayConfig};
pub use gauges::{Counted, Gauge, Gauges};
pub use metrics::{CallCounts, Metrics};
pub use mount::{GatewayBody, GatewayService};
pub use router::{RouterService, ServiceRouter};

use descriptors::Descriptors;
use directory::Directory;
use listen::{Seats, Serves};
use metrics::Meter;
use waiting::Places;

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

/// What all connections of a shard share. The directory and the meter of calls are the shard's own; all else is every
/// shard's.
#[derive(Debug)]
struct Shared {
    config: Arc<GatewayConfig>,
    clock: Clock,
    directory: Directory,
    routes: Arc<ArcSwap<Routes>>,
    descriptors: Arc<Descriptors>,
    gauges: Gauges,
    meter: Meter,
    /// Connections, on the ports of each kind.
    seats: Arc<Seats>,
    /// Of calls that wait for an instance.
    waiting: Arc<Places>,
    /// Whether the gateway drains.
    drain: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway that serves nothing yet.
    ///
    /// # Panics
    /// If no gateway can run with these settings; [`GatewayConfig::check`] says which one is wrong.
    pub fn new(config: GatewayConfig, clock: Clock) -> Self {
        let one = Self::shards(config, clock, 1).pop();
        one.expect("as many as were asked for")
    }

    /// A gateway in so many shards, at least one: each is the same gateway, and is to be used by one thread with a
    /// runtime of its own. Calls may come in at one and go out at another. Their calls wait for no lock of each other's but
    /// those of tunnels that they share.
    ///
    /// Each shard takes turns for its own calls, and counts its own for the bound of hashed keys. The less loaded is found
    /// by the calls of all. Clones are of the same shard.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn shards(config: GatewayConfig, clock: Clock, count: usize) -> Vec<Self> {
        if let Err(wrong) = config.check() {
            panic!("gateway settings: {wrong}");
        }
        let config = Arc::new(config);
        let count = count.max(1);
        let directories = Directory::shards(&config.registry, config.seed, count);
        let meters = Meter::shards(count);
        let routes = Arc::new(ArcSwap::from_pointee(config.routes.clone()));
        let descriptors = Arc::new(Descriptors::new(config.descriptors.clone()));
        let drain = watch::Sender::new(false);
        let gauges = Gauges::default();
        let seats = Arc::default();
        let waiting = Arc::new(Places::new(config.max_waiting));
        let shard = |(directory, meter)| Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                clock,
                directory,
                routes: routes.clone(),
                descriptors: descriptors.clone(),
                gauges: gauges.clone(),
                meter,
                seats: Arc::clone(&seats),
                waiting: waiting.clone(),
                drain: drain.clone(),
            }),
        };
        directories.into_iter().zip(meters).map(shard).collect()
    }

    /// Serves clients' calls. Returns when the gateway begins to drain; connections go on by themselves.
    pub async fn serve_clients(&self, listener: impl Listener) {
        listen::serve(self.shared.clone(), listener, Serves::Clients).await;
    }

    /// Serves instances' tunnels and the `grpcrouter.v1.Router` service; returns as `serve_clients`.
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

    /// Routes the calls of a service in this way from now on, in place of any routes that it had. Calls that
    /// run keep the instance that they have.
    pub fn set_service_routes(&self, service: &ServiceRoutes) {
        self.shared
            .routes
            .rcu(|routes| Routes::clone(routes).with(service.clone()));
    }

    /// Routes the calls of all services in this way from now on. Calls that run keep the instance that they
    /// have.
    pub fn set_routes(&self, routes: Routes) {
        self.shared.routes.store(Arc::new(routes));
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

    /// Shuts down: no new connections or calls, clients get GOAWAY, instances are told to go elsewhere,
    /// and running calls finish within the configured time. Returns how many did not.
    pub async fn drain(&self) -> usize {
        let shared = &self.shared;
        let gauges = &shared.gauges;
        info!(calls = gauges.calls.get(), "draining");
        shared.drain.send_replace(true);
        let limit = match sabotage::is(Sabotage::GatewayDrainCuts) {
            true => std::time::Duration::ZERO,
            false => shared.config.drain_timeout,
        };
        let until = shared.clock.now() + limit;
        self.settle(until, || gauges.calls.get() == 0).await;
        // A call whose last bytes wait for its client's window is no longer counted as one. But a peer that
        // is gone without a word must not hold up the shutdown for long.
        let until = shared.clock.now() + GOODBYE_LIMIT.min(limit);
        self.settle(until, || {
            gauges.tunnels.get() + gauges.connections.get() == 0
        })
        .await;
        gauges.calls.get()
    }

    /// Waits until something holds, but no longer than `until`.
    async fn settle(&self, until: grpcrouter_core::Time, holds: impl Fn() -> bool) {
        let mut looks = tokio::time::interval(DRAIN_POLL);
        let unlimited = sabotage::is(Sabotage::DrainUnlimited);
        while !holds() && (unlimited || self.shared.clock.now() < until) {
            looks.tick().await;
        }
    }
}

/// How long a gateway that has drained waits for its peers to hang up.
const GOODBYE_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// How often a draining gateway looks whether it is done.
const DRAIN_POLL: std::time::Duration = std::time::Duration::from_millis(20);
