//! `grpcrouter-bench-server`: the service that is measured, as tonic's server or behind the instance library, and what
//! stands around it in experiments.

mod direct;
mod instance;
mod many;
mod relay;

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use grpcrouter::Target;

/// As in this project's binaries, behind every path alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves the bench service; prints `ready ...` once, when it is true.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// tonic's own server
    Direct(DirectArgs),
    /// The instance library, which dials a gateway
    Instance(InstanceArgs),
    /// Many instances that take no calls
    ManyInstances(ManyArgs),
    /// A bare TCP relay before a server
    Relay(RelayArgs),
}

#[derive(Args)]
struct DirectArgs {
    /// Where to listen, as IP:PORT; port 0 takes any free port
    address: SocketAddr,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Args)]
struct InstanceArgs {
    /// The gateway's tunnel port, as http://HOST:PORT
    gateway: Target,
    /// Who it is
    #[arg(long, default_value = "bench")]
    id: String,
    /// What a client may have under way to it on the tunnel, per call, in bytes
    #[arg(long, value_name = "BYTES")]
    call_window: Option<u32>,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Args)]
struct ManyArgs {
    /// The gateway's tunnel port, as http://HOST:PORT
    gateway: Target,
    /// How many
    instances: usize,
    /// How many share a TCP connection: 1 as in life, up to the gateway's --max-streams
    #[arg(long, value_name = "N", default_value = "1")]
    per_connection: std::num::NonZero<usize>,
}

#[derive(Args)]
struct RelayArgs {
    /// Where to listen, as IP:PORT; port 0 takes any free port
    address: SocketAddr,
    /// Where connections go, as IP:PORT
    target: SocketAddr,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Args)]
struct Threads {
    /// 1: tokio's current_thread runtime; more: multi_thread with so many workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
}

impl Threads {
    fn run(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let mut builder = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(self.threads.into()).enable_all();
        builder.build().context("a runtime")?.block_on(work)
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Direct(args) => args.threads.run(direct::serve(args.address)),
        Command::Instance(InstanceArgs {
            gateway,
            id,
            call_window,
            threads,
        }) => threads.run(instance::serve(gateway, id, call_window)),
        Command::ManyInstances(ManyArgs {
            gateway,
            instances,
            per_connection,
        }) => Threads { threads: 1 }.run(many::keep(&gateway, instances, per_connection.get())),
        Command::Relay(RelayArgs {
            address,
            target,
            threads,
        }) => threads.run(relay::serve(address, target)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
