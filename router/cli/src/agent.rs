//! `grpcrouter agent`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use grpcrouter::{Agent, AgentConfig, AgentError, Clock, InstanceError, Target, TcpDialer};
use tracing::info;

use crate::{Failure, Stop, args, asked_twice, nothing_to_reload};

/// Run an agent.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// A gateway's tunnel port, as http://HOST:PORT or unix:PATH. Several: a tunnel to each.
    #[arg(long, value_name = "URI", required = true, num_args = 1..)]
    gateway: Vec<Target>,
    /// The gRPC server to call, as http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URI")]
    upstream: Target,
    /// Who the agent is: 1 to 128 of A-Z a-z 0-9 . _ : - An agent that starts later under the same id takes
    /// its place, and this one ends with exit code 3.
    #[arg(long, value_parser = args::id)]
    id: String,
    /// A service to offer, by its full name, or `*` for whatever nobody else offers. Without it the
    /// server is asked by reflection.
    #[arg(long, value_name = "NAME", value_parser = args::service)]
    service: Vec<String>,
    /// Words about the instance.
    #[arg(long, value_name = "K=V", value_parser = args::label)]
    label: Vec<(String, String)>,
    /// A routing key of calls that belong here: where the gateway's balancer is pinned, they come to this
    /// agent. 1 to 256 bytes; repeatable.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// The agent's share of calls against the other instances' weights: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    weight: u32,
    /// What may be under way on the tunnel, per call and direction.
    #[arg(long, value_name = "SIZE", default_value = "80KiB", value_parser = args::window)]
    call_window: u32,
    /// What a call window may grow to while its reader keeps up over a long round trip.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = args::window)]
    call_window_max: u32,
    /// Calls at once on a tunnel.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_calls: u32,
    /// How often the server's health is looked at.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = args::time)]
    probe_interval: Duration,
    /// How long running calls may take to finish after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::time)]
    drain_timeout: Duration,
}

/// Runs an agent until it is told to stop, then drains it.
pub(crate) async fn run(args: AgentArgs) -> Result<(), Failure> {
    let id = args.id.clone();
    let gateways = args.gateway.clone();
    let mut stop = Stop::listen();
    nothing_to_reload()?;
    let agent = tokio::select! {
        biased;
        () = stop.asked() => return Ok(()),
        agent = Agent::discover(config(args), Arc::new(TcpDialer), Clock::start()) => agent,
    };
    let services = agent.services().join(",");
    let handle = agent.handle();
    let mut registrations = handle.registrations();
    let announce = async move {
        let mut announced = vec![false; gateways.len()];
        while registrations.changed().await.is_ok() {
            for (index, count) in registrations.borrow_and_update().iter().enumerate() {
                if *count > 0 && !std::mem::replace(&mut announced[index], true) {
                    println!(
                        "ready id={id} gateway={} services={services}",
                        gateways[index]
                    );
                }
            }
        }
    };
    tokio::spawn(announce);
    let stopped_twice = async {
        stop.asked().await;
        info!("draining");
        handle.drain();
        stop.asked().await;
    };
    tokio::select! {
        biased;
        ended = agent.run() => ended.map_err(failure),
        () = stopped_twice => Err(asked_twice()),
    }
}

fn failure(AgentError::Instance(error): AgentError) -> Failure {
    let code = match &error {
        InstanceError::Superseded { .. } => 3,
        InstanceError::Refused { .. } => 4,
        InstanceError::NoGateway | InstanceError::GatewayTwice(_) => 2,
        InstanceError::DrainTimeout(_) => 5,
    };
    Failure::new(code, error.to_string())
}

fn config(args: AgentArgs) -> AgentConfig {
    let mut config = AgentConfig::new(args.id, args.upstream);
    config.probe_interval = args.probe_interval;
    let instance = &mut config.instance;
    instance.drain_timeout = args.drain_timeout;
    instance.gateways = args.gateway;
    instance.services = args.service;
    instance.labels = args.label.into_iter().collect();
    instance.keys = args.key;
    instance.weight = args.weight;
    instance.version = env!("CARGO_PKG_VERSION").to_owned();
    instance.tunnel.call_window = args.call_window;
    instance.tunnel.call_window_max = args.call_window_max.max(args.call_window);
    instance.tunnel.max_calls = args.max_calls;
    config
}
