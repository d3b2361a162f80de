//! A hop before a gateway's client port that keeps whatever its clients do not read.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that are taken off a socket at a time.
const PIECE: usize = 64 * 1024;

/// A hop without a limit.
#[derive(Debug)]
pub struct Queue {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Queue {
    /// Takes connections for this port.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn before(clients: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    // How it ended shows to both ends.
                    let _ = connection(near, clients).await;
                });
            }
        });
        Ok(Self { addr, task })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, until either end of it is gone.
async fn connection(mut near: TcpStream, clients: SocketAddr) -> std::io::Result<()> {
    let mut far = TcpStream::connect(clients).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = far.split();
    let there = async {
        tokio::io::copy(&mut near_read, &mut far_write).await?;
        far_write.shutdown().await
    };
    let back = async {
        let mut kept = BytesMut::new();
        let mut piece = vec![0; PIECE];
        let mut open = true;
        while open || !kept.is_empty() {
            tokio::select! {
                biased;
                read = far_read.read(&mut piece), if open => match read? {
                    0 => open = false,
                    n => kept.extend_from_slice(&piece[..n]),
                },
                written = near_write.write(&kept), if !kept.is_empty() => kept.advance(written?),
            }
        }
        near_write.shutdown().await
    };
    tokio::try_join!(there, back).map(drop)
}
