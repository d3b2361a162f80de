//! `grpcrouter-subject`: this project's gateway, instance and agent as subjects of the conformance suite, and
//! tonic's server without a tunnel.
//!
//! Beside them a client that makes calls as the suite tells it, for networks on which the suite is not.
//!
//! How they are started is `proto/subject.proto`'s; what they are asked for is put into the library's settings here,
//! and nothing else is decided.

mod agent;
mod client;
mod direct;
mod gateway;
mod instance;
mod life;
mod naive;
mod routes;
mod serving;
mod settings;

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand};
use grpcrouter_conformance::mutant::Mutant;
use grpcrouter_conformance::pb::{SubjectReply, SubjectRequest, SubjectRole};
use grpcrouter_conformance::subject::wire;
use prost::Message as _;

/// Run one of this project's implementations as a subject of the conformance suite.
///
/// It reads its request from the standard input, and is not for people.
#[derive(Debug, Parser)]
#[command(name = "grpcrouter-subject", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The request in base64, where nobody holds the standard input: SIGTERM alone ends the subject then
    #[arg(long, global = true, value_name = "BASE64")]
    request: Option<String>,
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
    /// A client, which makes the calls that the suite tells it.
    Client(client::ClientArgs),
}

#[derive(Debug, Args, Clone, Copy)]
struct GatewayArgs {
    /// Be broken in this way: a control, which the suite must notice
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Serve in so many threads, each with a runtime and sockets of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
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
    if let Command::Client(args) = cli.command {
        return client::run(args).await;
    }
    let asked = match cli.request {
        Some(request) => given(&request).map(|request| (request, life::End::of_signals())),
        None => read().await,
    };
    let (request, end) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
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

/// The request on the standard input, whose end is then the subject's.
async fn read() -> Result<(SubjectRequest, life::End), Refused> {
    let mut stdin = tokio::io::stdin();
    let request = wire::read(&mut stdin).await;
    let request = request.map_err(|error| format!("no request on the standard input: {error}"))?;
    Ok((request, life::End::of(stdin)))
}

/// The request of the command line.
fn given(base64: &str) -> Result<SubjectRequest, Refused> {
    let bytes = STANDARD.decode(base64);
    let bytes = bytes.map_err(|error| format!("--request: {error}"))?;
    SubjectRequest::decode(&bytes[..]).map_err(|error| format!("--request: {error}"))
}

async fn run(command: Command, request: SubjectRequest, end: life::End) -> Result<i32, Refused> {
    let asked = request.role();
    let role = match &command {
        Command::Gateway(_) | Command::NaiveGateway(_) => SubjectRole::Gateway,
        Command::Instance(_) | Command::Agent(_) => SubjectRole::Instance,
        Command::Direct(_) => SubjectRole::Direct,
        Command::Client(_) => return Err("a client is no subject".to_owned()),
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
        Command::Client(_) => Err("a client is no subject".to_owned()),
    }
}

/// Says that the subject is ready, or why not. Whoever does not read it is gone, and closes the standard input.
async fn reply(reply: SubjectReply) {
    if let Err(error) = wire::write(&mut tokio::io::stdout(), &reply).await {
        eprintln!("error: nobody reads the reply: {error}");
    }
}
