//! `mounted [ADDR]`: the server of the library beside it, on 127.0.0.1:50051 or where it is told.

use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:50051".into());
    let listening = TcpIncoming::bind(addr.parse()?)?;
    let addr = listening.local_addr()?;
    println!("listening on {addr}: Echo is served here, MyService by whoever registers");
    Ok(Server::builder()
        .add_routes(grpcrouter_mounted::routes())
        .serve_with_incoming(listening)
        .await?)
}
