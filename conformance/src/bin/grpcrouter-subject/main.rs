//! `grpcrouter-subject`: this project's gateway, instance and agent as subjects of the conformance suite, and
//! tonic's server without a tunnel.
//!
//! How they are started is `proto/subject.proto`'s; what they are asked for is put into the library's settings here,
//! and nothing else is decided.

mod agent;
mod direct;
mod gateway;
mod instance;
mod life;
mod naive;
mod routes;
mod serving;
mod settings;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use grpcrouter_conformance::mutant::Mutant;
use grpcrouter_conformance::pb::{SubjectReply, SubjectRequest, SubjectRole};
use grpcrouter_conformance::subject::wire;

/// Run one of this project's implementations as a subject of the conformance suite.
///
/// It reads its request from the standard input, and is not for people.
#[derive(Debug, Parser)]
#[command(name = "grpcrouter-subject", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The gateway.
    Gateway(GatewayArgs),
    /// The suite's own gateway, which has no limits: a control
    NaiveGateway(NaiveArgs),
    /// The instance library, hosting the probe.
    Instance(ProbeArgs),
    /// The agent, in front of tonic's server hosting the probe.
    Agent(ProbeArgs),
    /// tonic's server hosting the probe, with no tunnel.
    Direct(ProbeArgs),
}

#[derive(Debug, Args, Clone, Copy)]
struct GatewayArgs {
    /// Be broken in this way: a control, which the suite must notice
    #[arg(long)]
    mutant: Option<Mutant>,
}

#[derive(Debug, Args, Clone, Copy)]
struct NaiveArgs {
    /// Take and say what no gateway may: a control, which the suite must notice
    #[arg(long)]
    careless: bool,
}

#[derive(Debug, Args, Clone, Copy)]
struct ProbeArgs {
    /// Report messages as taken without reading them: a control, which the suite must notice
    #[arg(long)]
    lie: bool,
    /// Do not dial again when a tunnel is lost: a control, which the suite must notice
    #[arg(long)]
    gives_up: bool,
}

/// Why a subject is not ready: one line.
type Refused = String;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut stdin = tokio::io::stdin();
    let request: SubjectRequest = match wire::read(&mut stdin).await {
        Ok(request) => request,
        Err(error) => {
            eprintln!("error: no request on the standard input: {error}");
            return ExitCode::from(2);
        }
    };
    let end = life::End::of(stdin);
    let code = match run(cli.command, request, end).await {
        Ok(code) => code,
        Err(refused) => {
            eprintln!("error: {refused}");
            let error = refused;
            reply(SubjectReply {
                error,
                ..SubjectReply::default()
            })
            .await;
            2
        }
    };
    // Not a return: the standard input may still be read, and would be waited for.
    std::process::exit(code)
}

async fn run(command: Command, request: SubjectRequest, end: life::End) -> Result<i32, Refused> {
    let asked = request.role();
    let role = match &command {
        Command::Gateway(_) | Command::NaiveGateway(_) => SubjectRole::Gateway,
        Command::Instance(_) | Command::Agent(_) => SubjectRole::Instance,
        Command::Direct(_) => SubjectRole::Direct,
    };
    if asked != role {
        return Err(format!(
            "this subject is a {role:?}, and was asked for as {asked:?}"
        ));
    }
    match command {
        Command::Gateway(args) => gateway::run(request, end, args).await,
        Command::NaiveGateway(args) => naive::run(request, end, args).await,
        Command::Instance(args) => instance::run(request, end, args).await,
        Command::Agent(args) => agent::run(request, end, args).await,
        Command::Direct(args) => direct::run(request, end, args).await,
    }
}

/// Says that the subject is ready, or why not. Whoever does not read it is gone, and closes the standard input.
async fn reply(reply: SubjectReply) {
    if let Err(error) = wire::write(&mut tokio::io::stdout(), &reply).await {
        eprintln!("error: nobody reads the reply: {error}");
    }
}
