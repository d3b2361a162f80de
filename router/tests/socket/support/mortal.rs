//! A gateway that can die as a killed process does, and come back on the same ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, TcpListener};
use tokio::runtime::{Builder, Runtime};

use super::world::World;

/// A gateway in a runtime of its own.
pub(crate) struct Mortal {
    pub(crate) world: World,
    /// None once it was killed.
    runtime: Option<Runtime>,
}

/// Where its clients and its tunnels come in.
type Ports = (SocketAddr, SocketAddr);

impl Mortal {
    pub(crate) async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_at((any, any)).await
    }

    pub(crate) async fn start_at((clients, tunnels): Ports) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let started = runtime.spawn(async move {
            let client = TcpListener::bind(clients).await.expect("binds");
            let tunnel = TcpListener::bind(tunnels).await.expect("binds");
            let clients = client.local_addr().expect("is bound");
            let tunnels = tunnel.local_addr().expect("is bound");
            let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
            let serving = gateway.clone();
            tokio::spawn(async move {
                tokio::join!(serving.serve_clients(client), serving.serve_tunnels(tunnel))
            });
            World {
                gateway,
                clients,
                tunnels,
            }
        });
        let world = started.await.expect("starts");
        Self {
            world,
            runtime: Some(runtime),
        }
    }

    /// Ends everything where it stands, as SIGKILL does. The ports are free again when this returns.
    pub(crate) async fn kill(mut self) -> Ports {
        let runtime = self.runtime.take().expect("lives");
        let end = move || runtime.shutdown_timeout(Duration::from_secs(5));
        tokio::task::spawn_blocking(end).await.expect("ends");
        (self.world.clients, self.world.tunnels)
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        // A test's own runtime may not wait for this one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
