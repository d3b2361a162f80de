//! A gateway on loopback, and instances that dial it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use grpcrouter::{
    Clock, Gateway, GatewayConfig, Instance, InstanceConfig, InstanceError, InstanceHandle,
    Listener, Target, TcpDialer, TcpListener,
};
use tokio::task::JoinHandle;

use super::arms::Arm;
use super::client::Client;
use super::handler::Handler;
use super::{until, within};

/// A running gateway. It ends with the test's runtime.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) clients: SocketAddr,
    pub(crate) tunnels: SocketAddr,
}

/// A running instance.
pub(crate) struct Running {
    pub(crate) handle: InstanceHandle,
    pub(crate) task: JoinHandle<Result<(), InstanceError>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub(crate) async fn with(config: GatewayConfig) -> Self {
        Self::on_with(Arm::of_this_test(), config).await
    }

    /// On the gateway's own listeners.
    pub(super) async fn on_listeners(config: GatewayConfig) -> Self {
        let gateway = Gateway::new(config, Clock::start());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (client, tunnel) = (TcpListener::bind(any), TcpListener::bind(any));
        let (client, tunnel) = (client.await.expect("binds"), tunnel.await.expect("binds"));
        let clients = client.local_addr().expect("is bound");
        let tunnels = tunnel.local_addr().expect("is bound");
        let serving = gateway.clone();
        tokio::spawn(async move {
            tokio::join!(serving.serve_clients(client), serving.serve_tunnels(tunnel))
        });
        Self {
            gateway,
            clients,
            tunnels,
        }
    }

    /// A world with one instance `a` of `test.Probe`, and a client.
    pub(crate) async fn probe(handler: Handler) -> (Self, Client) {
        let world = Self::start().await;
        world.instance("a", handler).await;
        let client = world.client().await;
        (world, client)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.clients).await
    }

    /// Starts an instance of `test.Probe` and waits until it is registered.
    pub(crate) async fn instance(&self, id: &str, handler: Handler) -> Running {
        self.instance_with(self.config(id), handler).await
    }

    /// The settings of an instance of `test.Probe` here, with short waits.
    pub(crate) fn config(&self, id: &str) -> InstanceConfig {
        let mut config = InstanceConfig::new(id, ["test.Probe"]);
        config.gateways.push(self.target());
        config.backoff.cap = Duration::from_millis(200);
        // Handlers answer what they are asked, whatever it is.
        config.health_watch = None;
        config
    }

    pub(crate) fn target(&self) -> Target {
        format!("http://{}", self.tunnels)
            .parse()
            .expect("an address")
    }

    pub(crate) async fn instance_with(&self, config: InstanceConfig, handler: Handler) -> Running {
        let running = Self::spawn(config, handler);
        let mut counts = running.handle.registrations();
        let registered = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
        within("the registration", registered)
            .await
            .expect("the instance runs");
        running
    }

    /// Starts an instance and waits for nothing.
    pub(crate) fn spawn(config: InstanceConfig, handler: Handler) -> Running {
        let (instance, handle) =
            Instance::new(config, handler, Arc::new(TcpDialer), Clock::start());
        Running {
            handle,
            task: tokio::spawn(instance.run()),
        }
    }

    /// Waits until no call is open.
    pub(crate) async fn quiet(&self) {
        until("no call is open", || self.gateway.gauges().calls.get() == 0).await;
    }
}
