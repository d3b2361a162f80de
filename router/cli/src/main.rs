//! `grpcrouter`: call any gRPC server behind a firewall.

mod agent;
mod args;
mod gateway;
mod instances;
mod logs;
mod metrics;
mod ports;
mod routes;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Calls allocate and free small pieces in several threads; the system's allocator was a tenth of their cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Call any gRPC server behind a firewall: it dials out, clients call the gateway.
#[derive(Debug, Parser)]
#[command(name = "grpcrouter", version, after_help = SIGNALS_AND_EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    logs: logs::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway: clients call it, instances dial it.
    Gateway(gateway::GatewayArgs),
    /// Run an agent: an instance for a gRPC server on this machine, in any language.
    Agent(agent::AgentArgs),
    /// Show who is registered with a gateway.
    Instances(instances::InstancesArgs),
}

const SIGNALS_AND_EXIT_CODES: &str = "\
Signals:
  SIGTERM, SIGINT  gateway, agent: drain, then end; a second one ends at once
  SIGHUP           gateway: read --config again; without it, and at an agent, nothing

Exit codes:
  0  done, or stopped by SIGTERM or SIGINT after draining
  1  failed; the last line on stderr says why
  2  the command line is wrong
  3  agent: another process took over this id, and has it for good
  4  agent: a gateway refused the registration, and would again
  5  calls were still running when the time for draining ended, or a second signal came";

/// Why a command failed: its exit code, and one line.
struct Failure {
    code: u8,
    message: String,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            message: error.to_string(),
        }
    }
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

fn main() -> ExitCode {
    let Cli { logs, command } = Cli::parse();
    if let Err(message) = logs::init(&logs) {
        eprintln!("error: {message}");
        return ExitCode::from(2);
    }
    let done = match command {
        Command::Gateway(args) => gateway::run(args),
        Command::Agent(args) => block_on(agent::run(args)),
        Command::Instances(args) => block_on(instances::run(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("error: {message}");
            ExitCode::from(code)
        }
    }
}

/// Runs a command in this thread: what is to use more than one takes more itself.
fn block_on(run: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run)
}

/// Asks of the process to stop: SIGTERM and SIGINT, from when this was made, awaited or not.
struct Stop {
    terminate: io::Result<Signal>,
    interrupt: io::Result<Signal>,
}

impl Stop {
    fn listen() -> Self {
        Self {
            terminate: signal(SignalKind::terminate()),
            interrupt: signal(SignalKind::interrupt()),
        }
    }

    /// Waits for the next signal.
    async fn asked(&mut self) {
        async fn wait(signal: &mut io::Result<Signal>) {
            match signal {
                Ok(signal) => {
                    signal.recv().await;
                }
                // Where signals cannot be had, the process is ended without draining.
                Err(_) => std::future::pending().await,
            }
        }
        tokio::select! {
            biased;
            () = wait(&mut self.terminate) => {}
            () = wait(&mut self.interrupt) => {}
        }
    }
}

/// Goes on at SIGHUP, which asks for a file to be read again, where there is none.
fn nothing_to_reload() -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            info!("SIGHUP: nothing to reload");
        }
    });
    Ok(())
}

/// The end of a process that was asked twice: at once, whatever runs.
fn asked_twice() -> Failure {
    Failure::new(5, "a second signal ended it before its calls had finished")
}
