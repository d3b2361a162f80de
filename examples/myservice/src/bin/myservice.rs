//! `MyService`, served directly, through gateways, or both at once.

use std::process::ExitCode;

use clap::Parser;
use grpcrouter::Mode;
use grpcrouter_myservice::Implementation;
use grpcrouter_myservice::pb::my_service_router::MyServiceInstance;
use grpcrouter_myservice::process::{Result, exit, log, stopped};

/// MyService, served directly, through gateways, or both at once.
#[derive(Parser)]
struct Args {
    /// direct, routed or both.
    #[arg(long)]
    mode: String,
    /// Where to listen in the modes direct and both, as IP:PORT; port 0 takes any free port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The gateways to dial in the modes routed and both: their tunnel ports.
    #[arg(long, value_name = "URI", num_args = 1..)]
    gateway: Vec<String>,
    /// Who the instance is: what calls are pinned by.
    #[arg(long)]
    id: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<()> {
    log();
    let (listen, id) = (args.listen.as_deref(), args.id.as_deref());
    let mode = Mode::parse(&args.mode, listen, &args.gateway, id)?;
    let mut ready = format!("ready mode={mode}");

    let implementation = Implementation::new(id.unwrap_or("direct"));
    let mut serving = MyServiceInstance::new(implementation).start(mode).await?;

    if let Some(addr) = serving.listen_addr() {
        ready += &format!(" listen={addr}");
    }
    if let Some(id) = serving.id() {
        let gateways: Vec<_> = serving
            .registered()
            .iter()
            .map(ToString::to_string)
            .collect();
        ready += &format!(" id={id} gateway={}", gateways.join(","));
    }
    println!("{ready}");

    tokio::select! {
        biased;
        // Another process took the id, or a gateway does not want it any more.
        ended = serving.ended() => return Ok(ended?),
        stop = stopped() => stop?,
    }
    serving.drain();
    Ok(serving.ended().await?)
}
