//! Networks of the daemon's, whose links are cut and mended.
//!
//! What a cut is, seen from inside: `network disconnect` takes the interface out of the container, with its address and
//! its routes. Sockets of that address stay open and get no error: what they send takes the default route over another
//! network of the container's, where the daemon's rules drop it, and TCP sends it again later, as it does where
//! packets are lost. The other end gets no answers, not even to ARP. With the same address given back, connections go
//! on with the next retransmission. A connection that is opened meanwhile has an address of the other network, and
//! stays unanswered after the cut too.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, bail};
use testcontainers::bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkDisconnectRequest,
};

use crate::daemon::{LABEL, docker, run_name, undo, unique};

/// How often a subnet may be taken by another process between two steps.
const TRIES: usize = 5;

/// A network. It is gone with its value.
pub(crate) struct Network {
    pub(crate) name: String,
    /// The address of this machine there.
    pub(crate) host: Ipv4Addr,
    next: AtomicU8,
}

impl Network {
    /// A network of its own subnet, from which nothing leads to other networks.
    pub(crate) async fn create(what: &str) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::attempt(what).await {
                Ok(network) => return Ok(network),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("tries")?)
    }

    /// An address can only be asked for in a subnet that was asked for. So the daemon chooses one that is free, and
    /// then is asked for that.
    async fn attempt(what: &str) -> Result<Self> {
        let chosen = Self::with(what, None).await?;
        let ipam = chosen.ipam().await?;
        drop(chosen);
        let mut network = Self::with(what, Some(ipam.clone())).await?;
        network.host = ipam.gateway.context("it was asked for")?.parse()?;
        Ok(network)
    }

    async fn with(what: &str, ipam: Option<IpamConfig>) -> Result<Self> {
        let name = unique(what);
        let request = NetworkCreateRequest {
            name: name.clone(),
            // The daemon lets nothing pass between it and other networks, so there is no way around a cut.
            internal: Some(true),
            labels: Some([(LABEL.to_owned(), run_name())].into()),
            ipam: ipam.map(|config| Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            ..NetworkCreateRequest::default()
        };
        docker().await?.create_network(request).await?;
        Ok(Self {
            name,
            host: Ipv4Addr::UNSPECIFIED,
            next: AtomicU8::new(1),
        })
    }

    async fn ipam(&self) -> Result<IpamConfig> {
        let seen = docker().await?.inspect_network(&self.name, None).await?;
        let configs = seen.ipam.and_then(|ipam| ipam.config);
        let Some(config) = configs.and_then(|configs| configs.into_iter().next()) else {
            bail!("network {} has no subnet", self.name);
        };
        let subnet = config.subnet.context("its subnet")?;
        let first: Ipv4Addr = subnet.split('/').next().unwrap_or_default().parse()?;
        // Not every daemon says which address this machine has there, so it is asked for too.
        let host = Ipv4Addr::from_bits(first.to_bits() + 1);
        Ok(IpamConfig {
            subnet: Some(subnet),
            gateway: Some(host.to_string()),
            ..IpamConfig::default()
        })
    }

    /// An address that no container of this network has yet.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from_bits(self.host.to_bits() + u32::from(n))
    }

    /// Gives a container an interface of this address.
    pub(crate) async fn connect(&self, container: &str, address: Ipv4Addr) -> Result<()> {
        let ipam_config = EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        };
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: Some(ipam_config),
                ..EndpointSettings::default()
            }),
        };
        let docker = docker().await?;
        docker.connect_network(&self.name, request).await?;
        Ok(())
    }

    /// Takes it away.
    pub(crate) async fn disconnect(&self, container: &str) -> Result<()> {
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(false),
        };
        let docker = docker().await?;
        docker.disconnect_network(&self.name, request).await?;
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        undo(&self.name, async {
            docker().await?.remove_network(&self.name).await?;
            Ok(())
        });
    }
}
