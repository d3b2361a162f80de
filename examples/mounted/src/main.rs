//! The server of the library beside it.

use std::net::SocketAddr;

use clap::Parser;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// A tonic server with a service of its own, Echo, and MyService from instances that register here.
#[derive(Parser)]
struct Args {
    /// Where clients call and instances dial, as IP:PORT; port 0 takes any free port.
    #[arg(default_value = "127.0.0.1:50051")]
    addr: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listening = TcpIncoming::bind(Args::parse().addr)?;
    let addr = listening.local_addr()?;
    println!("listening on {addr}: Echo is served here, MyService by whoever registers");
    Ok(Server::builder()
        .add_routes(grpcrouter_mounted::routes())
        .serve_with_incoming(listening)
        .await?)
}
