//! A gateway and an instance: whose they are is the arm.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use grpcrouter::{
    Clock, Gateway, GatewayConfig, Instance, InstanceConfig, InstanceHandle, Listener, TcpDialer,
    TcpListener,
};
use grpcrouter_conformance::client::Client;
use grpcrouter_conformance::tunnel::gateway::{NaiveGateway, Settings};
use grpcrouter_conformance::tunnel::instance::{ServedInstance, serve};
use grpcrouter_conformance::tunnel::{info, limits};
use grpcrouter_conformance::wait::{LIMIT, until, within};

use super::echo::Echo;

/// Who plays what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    /// Both are the suite's.
    Own,
    /// The product's gateway, the suite's instance.
    ProductGateway,
    /// The suite's gateway, the product's instance.
    ProductInstance,
}

pub(crate) const ARMS: [Arm; 3] = [Arm::Own, Arm::ProductGateway, Arm::ProductInstance];

pub(crate) struct World {
    pub(crate) clients: SocketAddr,
    pub(crate) echo: Echo,
    /// What the path may hold of a request beyond the receiver's own window.
    pub(crate) request_bound: u64,
    pub(crate) response_bound: u64,
    pub(crate) gateway: Side<NaiveGateway, Gateway>,
    pub(crate) instance: Side<ServedInstance, InstanceHandle>,
}

pub(crate) enum Side<O, P> {
    Own(O),
    Product(P),
}

impl World {
    pub(crate) async fn start(arm: Arm) -> Result<Self> {
        let echo = Echo::default();
        let (clients, tunnels, bounds, gateway) = if arm == Arm::ProductGateway {
            product_gateway().await?
        } else {
            own_gateway().await?
        };
        let instance = if arm == Arm::ProductInstance {
            Side::Product(product_instance(tunnels, echo.clone()).await?)
        } else {
            Side::Own(serve(tunnels, info("a", &["test.Echo"]), echo.clone()).await?)
        };
        Ok(Self {
            clients,
            echo,
            request_bound: bounds[0],
            response_bound: bounds[1],
            gateway,
            instance,
        })
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(self.clients).await
    }

    /// Waits until no call is open, at either end that the suite plays.
    pub(crate) async fn quiet(&self) -> Result<()> {
        until("end of all calls", LIMIT, || {
            let gateway = match &self.gateway {
                Side::Own(gateway) => gateway.calls_open(),
                Side::Product(gateway) => gateway.gauges().calls.get(),
            };
            let instance = match &self.instance {
                Side::Own(instance) => instance.calls_open(),
                Side::Product(_) => 0,
            };
            gateway + instance == 0
        })
        .await
    }

    /// The suite's instance has seen no broken rule.
    pub(crate) fn check(&self) {
        if let Side::Own(instance) = &self.instance {
            assert!(instance.breaches().is_empty(), "{:?}", instance.breaches());
        }
    }
}

type Started = (
    SocketAddr,
    SocketAddr,
    [u64; 2],
    Side<NaiveGateway, Gateway>,
);

async fn own_gateway() -> Result<Started> {
    let settings = Settings::default();
    let bound = settings.bound(limits::CALL_WINDOW);
    let gateway = NaiveGateway::start(settings).await?;
    let (clients, tunnels) = (gateway.client_addr, gateway.tunnel_addr);
    let bounds = [bound.request, bound.response];
    Ok((clients, tunnels, bounds, Side::Own(gateway)))
}

async fn product_gateway() -> Result<Started> {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (client, tunnel) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
    let (clients, tunnels) = (client.local_addr()?, tunnel.local_addr()?);
    let serving = gateway.clone();
    tokio::spawn(async move {
        tokio::join!(serving.serve_clients(client), serving.serve_tunnels(tunnel))
    });
    let bounds = [gateway.bound().grown as u64; 2];
    Ok((clients, tunnels, bounds, Side::Product(gateway)))
}

async fn product_instance(tunnels: SocketAddr, echo: Echo) -> Result<InstanceHandle> {
    let mut config = InstanceConfig::new("a", ["test.Echo"]);
    config.gateways.push(format!("http://{tunnels}").parse()?);
    config.health_watch = None;
    let (instance, handle) = Instance::new(config, echo, Arc::new(TcpDialer), Clock::start());
    tokio::spawn(instance.run());
    let mut counts = handle.registrations();
    let registered = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
    within("registration", LIMIT, registered).await??;
    Ok(handle)
}
