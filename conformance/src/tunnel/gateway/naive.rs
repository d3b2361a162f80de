//! A gateway that relays and does nothing else.
//!
//! It is right in ordinary cases: kinds, order, metadata, status, deadlines, cancellation, flow. It has no limits
//! and no defences: it believes its instances, so that cases of hostile ones must fail against it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::registry::Registry;
use super::settings::Settings;
use super::{Registered, TunnelPort, peer, relay};
use crate::wait::{LIMIT, until};

/// A gateway with a port for clients and one for tunnels, until it is dropped.
#[derive(Debug)]
pub struct NaiveGateway {
    /// Where clients connect.
    pub client_addr: SocketAddr,
    /// Where instances dial.
    pub tunnel_addr: SocketAddr,
    registry: Arc<Registry>,
    tasks: [JoinHandle<()>; 2],
}

impl NaiveGateway {
    /// Listens on loopback.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start(settings: Settings) -> Result<Self> {
        let clients = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let client_addr = clients.local_addr()?;
        let tunnels = TunnelPort::listen().await?;
        let tunnel_addr = tunnels.addr();
        let registry = Arc::new(Registry::new(settings));
        let tasks = [
            tokio::spawn(serve_tunnels(tunnels, registry.clone())),
            tokio::spawn(serve_clients(clients, registry.clone())),
        ];
        Ok(Self {
            client_addr,
            tunnel_addr,
            registry,
            tasks,
        })
    }

    /// Waits until so many instances are registered.
    ///
    /// # Errors
    /// Where that does not happen.
    pub async fn instances(&self, count: usize) -> Result<()> {
        let what = format!("{count} instances");
        until(&what, LIMIT, || self.registry.len() == count).await
    }

    /// Tells an instance that the gateway drains: it gets no new calls.
    pub async fn drain(&self, id: &str) {
        if let Some(peer) = self.registry.by_id(id) {
            peer.drain(false).await;
        }
    }

    /// What was said and heard on the tunnel of this instance; none where it has none.
    pub fn tap(&self, id: &str) -> Option<crate::tunnel::tap::Tap> {
        self.registry.by_id(id).map(|peer| peer.tap.clone())
    }

    /// Calls that run.
    pub fn calls_open(&self) -> usize {
        self.registry.calls_open()
    }
}

impl Drop for NaiveGateway {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve_tunnels(mut port: TunnelPort, registry: Arc<Registry>) {
    let mut tunnels = JoinSet::new();
    while let Some(stream) = port.next().await {
        while tunnels.try_join_next().is_some() {}
        let registry = registry.clone();
        tunnels.spawn(async move {
            // Who does not say who it is has gone, or is dropped here.
            if let Ok(registered) = Registered::read(stream).await {
                peer::run(registered, registry).await;
            }
        });
    }
}

async fn serve_clients(listener: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let registry = registry.clone();
        connections.spawn(async move {
            // What is wrong with a connection shows to its client.
            let _ = serve_client(socket, registry).await;
        });
    }
}

async fn serve_client(socket: TcpStream, registry: Arc<Registry>) -> Result<()> {
    socket.set_nodelay(true)?;
    let settings = registry.settings();
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(settings.client_window)
        // Never the reason to wait: a stalled call must not stop its siblings.
        .initial_connection_window_size(1 << 30)
        .max_send_buffer_size(settings.send_buffer)
        .max_header_list_size(1 << 20)
        .max_pending_accept_reset_streams(usize::MAX)
        .max_local_error_reset_streams(None)
        .data_frame_budget(1 << 30);
    let mut connection = builder.handshake::<_, Bytes>(socket).await?;
    let mut calls = JoinSet::new();
    // A connection that fails is one that ends.
    while let Some(Ok((request, respond))) = connection.accept().await {
        while calls.try_join_next().is_some() {}
        calls.spawn(relay::run(request, respond, registry.clone()));
    }
    // The connection is gone: each call sees it at its own stream, and tells its instance. Where a write failed, h2
    // tells its streams no earlier than this.
    drop(connection);
    while calls.join_next().await.is_some() {}
    Ok(())
}
