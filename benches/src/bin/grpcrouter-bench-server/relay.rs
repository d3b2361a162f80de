//! A bare TCP relay: what one hop costs that understands nothing of what it carries.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// The most that is read at a time, as much as the gateway reads: with tokio's 8 KiB large messages would take
/// this hop more calls of the system than they take the gateway.
const PIECE: usize = 64 * 1024;

/// Carries connections to `target` until it is killed. A connection that breaks ends alone.
pub(crate) async fn serve(address: SocketAddr, target: SocketAddr) -> Result<()> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.with_context(|| format!("cannot listen on {address}"))?;
    println!("ready addr={}", listener.local_addr()?);
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = carry(near, target).await {
                eprintln!("a connection to {target} ended: {error:#}");
            }
        });
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr) -> Result<()> {
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut near, &mut far, PIECE, PIECE).await?;
    Ok(())
}
