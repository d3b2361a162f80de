//! tonic's server: what the others are compared with, and what stands behind the agent and the peers.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use grpcrouter_bench::pb::bench_server::BenchServer;
use grpcrouter_bench::service::BenchService;
use grpcrouter_bench::windows;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Serves until it is killed.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let bound = TcpIncoming::bind(address).map_err(anyhow::Error::msg);
    let incoming = bound.with_context(|| format!("cannot listen on {address}"))?;
    let address = incoming.local_addr()?;
    println!("ready addr={address}");
    // Accepted by the task itself, as its connections are: on a multi_thread runtime main's thread is no worker.
    let serving = Server::builder()
        .initial_stream_window_size(windows::STREAM)
        .initial_connection_window_size(windows::CONNECTION)
        .add_service(BenchServer::new(BenchService))
        .serve_with_incoming(incoming.with_nodelay(Some(true)));
    tokio::spawn(serving).await??;
    Ok(())
}
