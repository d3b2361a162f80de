//! `grpcrouter-bench-load`: calls a server, directly or through whatever stands before it, and prints what it saw.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use grpcrouter_bench::load::{Group, Plan, Processes, Settings, Workload, hold, run};
use grpcrouter_bench::windows;
use tokio::io::AsyncReadExt;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

/// Calls the bench service on one thread and prints one line of JSON.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures one workload
    Run(RunArgs),
    /// Opens streams, prints `ready`, and holds them idle until its standard input ends
    Hold(HoldArgs),
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    to: To,
    /// What to measure
    workload: Workload,
    /// Length of each measured interval
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Before each of them, unmeasured
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    warm_up: f64,
    /// Processes whose processor time in the interval is reported (repeatable)
    #[arg(long, value_name = "NAME=PID[,PID]")]
    cpu: Vec<Group>,
    /// Fail where an answer was wrong, or none came
    #[arg(long)]
    strict: bool,
}

#[derive(Args)]
struct HoldArgs {
    #[command(flatten)]
    to: To,
    /// How many
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Over how many connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
}

#[derive(Args)]
struct To {
    /// What to call, as IP:PORT
    address: String,
    /// HTTP/2 window of each stream, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = windows::STREAM)]
    stream_window: u32,
    /// HTTP/2 window of each connection, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = windows::CONNECTION)]
    connection_window: u32,
    /// Sent with every call, for what finds its server by it
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

impl From<To> for Settings {
    fn from(to: To) -> Self {
        Self {
            address: to.address,
            stream_window: to.stream_window,
            connection_window: to.connection_window,
            header: to.header,
        }
    }
}

fn header(text: &str) -> Result<(MetadataKey<Ascii>, MetadataValue<Ascii>), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.parse().map_err(|error| format!("{name}: {error}"))?;
    let value = value.parse().map_err(|error| format!("{value}: {error}"))?;
    Ok((name, value))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => measure(args).await,
        Command::Hold(args) => keep(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: RunArgs) -> Result<()> {
    let plan = Plan {
        settings: args.to.into(),
        warm_up: Duration::try_from_secs_f64(args.warm_up)?,
        measured: Duration::try_from_secs_f64(args.seconds)?,
        processes: Processes::new(args.cpu),
    };
    let report = run(&plan, args.workload).await?;
    println!("{}", serde_json::to_string(&report)?);
    if args.strict {
        for part in &report.parts {
            let first = part.first_error.as_deref().unwrap_or("none came in time");
            ensure!(part.errors == 0 && part.count > 0, "answers: {first}");
        }
    }
    Ok(())
}

async fn keep(args: HoldArgs) -> Result<()> {
    let held = hold(&args.to.into(), args.streams, args.connections).await?;
    println!("ready streams={}", args.streams);
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    drop(held);
    Ok(())
}
