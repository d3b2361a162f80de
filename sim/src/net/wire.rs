//! The network of a run, behind the listener and the dialer that the libraries take as parameters.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use grpcrouter::{BoxFuture, BoxIo, Dialer, Io, Listener, Target};
use turmoil::net::{TcpListener, TcpStream};

use super::lossy::On;
use super::node::Node;
use super::stream::Stream;
use super::world::World;

/// A gateway's port for clients, and a server's port.
pub(super) const CALLS: u16 = 50_051;
/// A gateway's port for tunnels.
pub(super) const TUNNELS: u16 = 50_052;

/// What a host listens at.
pub(super) struct Port {
    listener: Socket,
    local: Node,
    world: Arc<World>,
}

enum Socket {
    /// turmoil's own.
    Whole(TcpListener),
    /// On a network that loses packets.
    Lossy(On<turmoil_net::shim::tokio::net::TcpListener>),
}

impl Port {
    pub(super) async fn bind(world: Arc<World>, local: Node, port: u16) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = match &world.air {
            None => Socket::Whole(TcpListener::bind(any).await?),
            Some(air) => Socket::Lossy(air.bind(local, port).await?),
        };
        Ok(Self {
            listener,
            local,
            world,
        })
    }
}

impl Port {
    fn taken(&self, io: impl Io, peer: SocketAddr) -> io::Result<BoxIo> {
        let remote = node_at(&self.world, peer.ip())?;
        let stream = Stream::new(io, self.world.clone(), self.local, remote);
        Ok(Box::new(stream))
    }
}

impl Listener for Port {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            Ok(match &self.listener {
                Socket::Whole(listener) => {
                    let (io, peer) = listener.accept().await?;
                    (self.taken(io, peer)?, peer)
                }
                Socket::Lossy(listener) => {
                    let (io, peer) = listener.accept().await?;
                    (self.taken(io, peer)?, peer)
                }
            })
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Socket::Whole(listener) => listener.local_addr(),
            Socket::Lossy(listener) => listener.local_addr(),
        }
    }
}

/// How a host reaches others.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) world: Arc<World>,
    pub(super) local: Node,
}

impl Dial {
    /// Connects to a port of another host.
    pub(super) async fn connect(&self, remote: Node, port: u16) -> io::Result<BoxIo> {
        let (world, local) = (self.world.clone(), self.local);
        Ok(match &self.world.air {
            None => {
                let io = TcpStream::connect((remote.to_string(), port)).await?;
                Box::new(Stream::new(io, world, local, remote))
            }
            Some(air) => {
                let io = air.connect(local, remote, port).await?;
                Box::new(Stream::new(io, world, local, remote))
            }
        })
    }
}

impl Dialer for Dial {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            let Target::Tcp { host, port } = target else {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            };
            let remote = node_of(&self.world, host)?;
            if let Some(delay) = self.world.with(|state, _| state.dial_delay()) {
                tokio::time::sleep(delay).await;
            }
            self.connect(remote, *port).await
        })
    }
}

/// How a host is named to those who dial it.
pub(super) fn target(node: Node, port: u16) -> Target {
    Target::Tcp {
        host: node.to_string(),
        port,
    }
}

fn node_of(world: &World, name: &str) -> io::Result<Node> {
    let all = Node::all(&world.options).into_iter();
    let found = all.into_iter().find(|node| node.to_string() == name);
    found.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn node_at(world: &World, ip: IpAddr) -> io::Result<Node> {
    if let Some(air) = &world.air {
        return air
            .node_at(ip)
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    }
    let name = turmoil::reverse_lookup(ip);
    node_of(world, &name.ok_or(io::ErrorKind::AddrNotAvailable)?)
}
