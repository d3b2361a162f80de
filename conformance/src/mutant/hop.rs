//! A hop before a gateway's port for clients, of mutants that are broken there.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Mutant, front, queue};

/// Takes connections of clients until it is dropped.
#[derive(Debug)]
pub struct Hop {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Hop {
    /// A hop before this port; none for a mutant that is broken elsewhere.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn before(clients: SocketAddr, mutant: Mutant) -> std::io::Result<Option<Self>> {
        if !matches!(mutant, Mutant::LowersKeys | Mutant::QueuesAnswers) {
            return Ok(None);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    // How it ended shows to both ends.
                    let _ = connection(mutant, near, clients).await;
                });
            }
        });
        Ok(Some(Self { addr, task }))
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mutant: Mutant, near: TcpStream, clients: SocketAddr) -> std::io::Result<()> {
    let far = TcpStream::connect(clients).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    match mutant {
        Mutant::LowersKeys => front::connection(near, far).await,
        _ => queue::connection(near, far).await,
    }
}
