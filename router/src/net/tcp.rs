//! The real network.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::{BoxFuture, BoxIo, Dialer, Listener, Target};

/// Bytes that the kernel may hold unsent before a socket counts as full. Small, so that what waits
/// stays where it can still be put in order, or dropped.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// Listens on TCP.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    /// Listens at `addr`; port 0 takes any free port.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        tokio::net::TcpListener::bind(addr).await.map(Self)
    }

    /// A socket of [`listen_shared`](Self::listen_shared), to be used in the runtime that this is called in.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        tokio::net::TcpListener::from_std(socket).map(Self)
    }

    /// Listens at `addr` with so many sockets, at least one, among which the system spreads connections: one for each
    /// shard of a gateway.
    ///
    /// Several have SO_REUSEPORT. So that they do not share a port with another program of the same user, which that
    /// would allow, a port that is named is first taken without it.
    ///
    /// # Errors
    /// Those of bind(2), such as an address that is in use.
    pub fn listen_shared(addr: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
        let several = count > 1;
        if several && addr.port() != 0 {
            drop(std::net::TcpListener::bind(addr)?);
        }
        let first = socket(addr, several)?;
        let addr = first.local_addr()?;
        let others = (1..count).map(|_| socket(addr, several));
        std::iter::once(Ok(first)).chain(others).collect()
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            prepare(&stream)?;
            Ok((Box::new(stream) as BoxIo, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Dials TCP and Unix domain sockets, with the system's name resolution.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

impl Dialer for TcpDialer {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<BoxIo>> {
        Box::pin(async move {
            match target {
                Target::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    prepare(&stream)?;
                    Ok(Box::new(stream) as BoxIo)
                }
                Target::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?) as BoxIo),
            }
        })
    }
}

/// Connections that may wait to be accepted, on each socket: a burst of instances that come back.
const WAITING_MAX: i32 = 4_096;

fn socket(addr: SocketAddr, shares_port: bool) -> io::Result<std::net::TcpListener> {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), kind, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(WAITING_MAX)?;
    Ok(socket.into())
}

/// Sends at once what is written, and holds little unsent.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    Ok(())
}
