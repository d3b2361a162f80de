//! A gateway with the generated router of `MyService`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, TcpListener};
use grpcrouter_myservice::pb::my_service_router::MyServiceRouter;
use grpcrouter_myservice::process::{Result, exit, log, stopped};

/// A gateway for MyService: clients call it, instances dial it.
#[derive(Parser)]
struct Args {
    /// Where clients call, as IP:PORT; port 0 takes any free port.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where instances dial, as IP:PORT. Without it both use --listen.
    #[arg(long, value_name = "ADDR")]
    tunnel_listen: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<()> {
    log();
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    gateway.mount(MyServiceRouter::new());

    let clients = TcpListener::bind(args.listen).await?;
    let client_addr = clients.local_addr()?;
    let serving = gateway.clone();
    let tunnel_addr = match args.tunnel_listen {
        Some(addr) => {
            let tunnels = TcpListener::bind(addr).await?;
            let tunnel_addr = tunnels.local_addr()?;
            tokio::spawn(async move {
                tokio::join!(
                    serving.serve_clients(clients),
                    serving.serve_tunnels(tunnels)
                )
            });
            tunnel_addr
        }
        None => {
            tokio::spawn(async move { serving.serve_both(clients).await });
            client_addr
        }
    };
    println!("ready client={client_addr} tunnel={tunnel_addr}");

    stopped().await?;
    match gateway.drain().await {
        0 => Ok(()),
        left => Err(format!("{left} calls did not finish in time").into()),
    }
}
