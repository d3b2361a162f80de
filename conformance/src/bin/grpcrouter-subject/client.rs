//! The client.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use grpcrouter_conformance::remote::obey::obey;

#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct ClientArgs {
    /// Where the gateway takes calls
    #[arg(long, value_name = "IP:PORT")]
    gateway: SocketAddr,
    /// Where the suite listens
    #[arg(long, value_name = "IP:PORT")]
    suite: SocketAddr,
    /// Between two pings of the gateway, in milliseconds, and how long it may take to answer one
    #[arg(long, value_name = "MS")]
    keepalive_ms: u64,
}

/// Obeys until the suite closes the connection.
pub(crate) async fn run(args: ClientArgs) -> ExitCode {
    let keepalive = Duration::from_millis(args.keepalive_ms);
    match obey(args.gateway, args.suite, keepalive).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
