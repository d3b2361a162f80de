//! The gateway's ports: for each thread a socket of each.

use std::io;
use std::net::{self, SocketAddr};

use grpcrouter::{Clock, Gateway, GatewayConfig, TcpListener};

use crate::Failure;
use crate::gateway::GatewayArgs;

/// Both ports, or one for both.
pub(crate) struct Ports {
    clients: Vec<net::TcpListener>,
    pub(crate) tunnels: Option<Vec<net::TcpListener>>,
}

/// One thread's sockets.
pub(crate) struct Sockets {
    clients: net::TcpListener,
    tunnels: Option<net::TcpListener>,
}

/// The same in the thread's runtime.
pub(crate) struct Listeners {
    clients: TcpListener,
    tunnels: Option<TcpListener>,
}

impl Ports {
    pub(crate) fn bind(args: &GatewayArgs, threads: usize) -> Result<Self, Failure> {
        let bind = |addr| bind(addr, threads);
        Ok(Self {
            clients: bind(args.listen)?,
            tunnels: args.tunnel_listen.map(bind).transpose()?,
        })
    }

    /// Where clients call, and where instances dial.
    pub(crate) fn addrs(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let clients = self.clients[0].local_addr()?;
        let tunnels = match &self.tunnels {
            Some(tunnels) => tunnels[0].local_addr()?,
            None => clients,
        };
        Ok((clients, tunnels))
    }

    /// A gateway, each shard with its sockets.
    pub(crate) fn into_shards(
        self,
        config: GatewayConfig,
    ) -> impl Iterator<Item = (Gateway, Sockets)> {
        let shards = Gateway::shards(config, Clock::start(), self.clients.len());
        let mut tunnels = self.tunnels.map(Vec::into_iter);
        let sockets = self.clients.into_iter().map(move |clients| Sockets {
            clients,
            tunnels: tunnels.as_mut().and_then(Iterator::next),
        });
        shards.into_iter().zip(sockets)
    }
}

impl Sockets {
    /// Takes them into the runtime that this is called in.
    pub(crate) fn listen(self) -> io::Result<Listeners> {
        Ok(Listeners {
            clients: TcpListener::from_std(self.clients)?,
            tunnels: self.tunnels.map(TcpListener::from_std).transpose()?,
        })
    }
}

impl Listeners {
    /// Serves for as long as the thread's runtime does.
    pub(crate) async fn serve(self, gateway: Gateway) {
        match self.tunnels {
            Some(tunnels) => {
                tokio::join!(
                    gateway.serve_clients(self.clients),
                    gateway.serve_tunnels(tunnels)
                );
            }
            None => gateway.serve_both(self.clients).await,
        }
        // It drains: nobody comes in any more, but its connections are still served here.
        std::future::pending::<()>().await;
    }
}

/// One socket that listens, for one thread.
pub(crate) fn bind_one(addr: SocketAddr) -> Result<net::TcpListener, Failure> {
    Ok(bind(addr, 1)?.pop().expect("as many as were asked for"))
}

fn bind(addr: SocketAddr, count: usize) -> Result<Vec<net::TcpListener>, Failure> {
    let failed = |error: io::Error| Failure::new(1, format!("cannot listen on {addr}: {error}"));
    TcpListener::listen_shared(addr, count).map_err(failed)
}
