//! The processes of a run: gateways, instances, agents and the servers behind them.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter::proto::v1::Epoch;
use grpcrouter::{
    Agent, AgentConfig, Backoff, Clock, Gateway, GatewayConfig, Instance, InstanceConfig, Listener,
    TunnelConfig,
};
use h2::server::SendResponse;
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Handle;

use crate::plan::Options;

use super::handler::{Incoming, Outgoing, Probe, SERVICE};
use super::node::{Node, is_agent};
use super::wire::{CALLS, Dial, Port, TUNNELS, target};
use super::world::World;

type Result = std::result::Result<(), Box<dyn Error>>;

/// How long a dial and a handshake may take.
pub(super) const DIAL: Duration = Duration::from_secs(1);
/// Between an agent's looks at its server.
pub(super) const PROBES: Duration = Duration::from_secs(1);
/// The longest wait before an instance dials again.
pub(super) const BACKOFF: Duration = Duration::from_millis(400);
/// How long running calls may take to finish once a gateway or an instance drains.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// Stream window of the server behind an agent, in bytes.
pub(super) const SERVER_WINDOW: u32 = 16 * 1024;

/// The id of an instance.
pub(super) fn id(instance: usize) -> String {
    format!("site-{instance}")
}

/// The settings of all gateways.
pub(super) fn gateway_config(options: &Options) -> GatewayConfig {
    GatewayConfig {
        tunnel: tunnel_config(options),
        client_window: options.client_window,
        client_keepalive: options.heartbeat,
        drain_timeout: DRAIN,
        seed: 0,
        ..GatewayConfig::default()
    }
}

fn tunnel_config(options: &Options) -> TunnelConfig {
    TunnelConfig {
        call_window: options.call_window,
        call_window_max: options.call_window_max,
        heartbeat_interval: options.heartbeat,
        handshake_timeout: DIAL,
        ..TunnelConfig::default()
    }
}

/// A gateway: it serves until it is told to drain, and then stands still until it is started anew.
pub(super) async fn gateway(world: Arc<World>, number: usize) -> Result {
    let node = Node::Gateway(number);
    let mut config = gateway_config(&world.options);
    config.seed = world.next_seed();
    let gateway = Gateway::new(config, Clock::start());
    let clients = Port::bind(world.clone(), node, CALLS).await?;
    let tunnels = Port::bind(world.clone(), node, TUNNELS).await?;
    let drain = world.with(|state, _| {
        let host = &mut state.gateways[number];
        host.ended = None;
        host.tasks = Some(Handle::current().metrics());
        host.gateway = Some(gateway.clone());
        host.told = false;
        host.drain = Arc::default();
        host.drain.clone()
    });
    let (calls, tunnelled) = (gateway.clone(), gateway.clone());
    tokio::spawn(async move { calls.serve_clients(clients).await });
    tokio::spawn(async move { tunnelled.serve_tunnels(tunnels).await });
    drain.notified().await;
    gateway.drain().await;
    world.with(|state, now| state.gateways[number].ended = Some(now));
    std::future::pending().await
}

/// An instance, or an agent, that dials all gateways.
pub(super) async fn instance(world: Arc<World>, number: usize) -> Result {
    let epoch = world.with(|state, _| {
        state.instances[number].ended = None;
        state.instances[number].tasks = Some(Handle::current().metrics());
        state.next_epoch(number)
    });
    let dial = Dial {
        world: world.clone(),
        local: Node::Instance(number),
    };
    let config = instance_config(&world, number, epoch);
    if is_agent(number) {
        agent(&world, number, config, dial).await;
    } else {
        serve(&world, number, number, config, dial).await;
    }
    world.with(|state, now| state.instances[number].ended = Some(now));
    std::future::pending().await
}

/// Another process with the id of an instance, and a later epoch or an earlier one.
pub(super) async fn rival(world: Arc<World>, number: usize) -> Result {
    let epoch = world.with(|state, _| {
        let later = state.rivals[number];
        later.map(|later| if later { state.next_epoch(number) } else { 1 })
    });
    let Some(epoch) = epoch else {
        return std::future::pending().await;
    };
    let dial = Dial {
        world: world.clone(),
        local: Node::Rival(number),
    };
    let config = instance_config(&world, number, epoch);
    let slot = world.options.instances + number;
    serve(&world, number, slot, config, dial).await;
    std::future::pending().await
}

fn instance_config(world: &World, number: usize, epoch: u64) -> InstanceConfig {
    let gateways = 0..world.options.gateways;
    InstanceConfig {
        gateways: gateways
            .map(|g| target(Node::Gateway(g), TUNNELS))
            .collect(),
        tunnel: tunnel_config(&world.options),
        dial_timeout: DIAL,
        drain_timeout: DRAIN,
        backoff: Backoff {
            first: BACKOFF / 4,
            cap: BACKOFF,
        },
        epoch: Epoch {
            started_us: epoch,
            attempt: 0,
        },
        seed: world.next_seed(),
        health_watch: None,
        ..InstanceConfig::new(id(number), [SERVICE])
    }
}

async fn serve(world: &Arc<World>, number: usize, slot: usize, config: InstanceConfig, dial: Dial) {
    let service = Probe {
        world: world.clone(),
        instance: number,
    };
    let (instance, handle) = Instance::new(config, service, Arc::new(dial), Clock::start());
    world.with(|state, _| state.instances[slot].handle = Some(handle));
    // Superseded, refused or drained: in each case another process goes on.
    let _ = instance.run().await;
}

async fn agent(world: &Arc<World>, number: usize, instance: InstanceConfig, dial: Dial) {
    let config = AgentConfig {
        instance,
        probe_interval: PROBES,
        probe_timeout: DIAL,
        ..AgentConfig::new(id(number), target(Node::Server(number), CALLS))
    };
    let agent = Agent::discover(config, Arc::new(dial), Clock::start()).await;
    world.with(|state, _| state.instances[number].handle = Some(agent.handle()));
    let _ = agent.run().await;
}

/// The server behind an agent: it knows nothing of the router.
pub(super) async fn server(world: Arc<World>, number: usize) -> Result {
    let mut port = Port::bind(world.clone(), Node::Server(number), CALLS).await?;
    loop {
        let (io, _) = port.accept().await?;
        let probe = Probe {
            world: world.clone(),
            instance: number,
        };
        tokio::spawn(async move {
            // Its streams get an error of their own where the connection fails.
            let _ = connection(io, probe).await;
        });
    }
}

async fn connection(io: grpcrouter::BoxIo, probe: Probe) -> std::result::Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(SERVER_WINDOW)
        // Wide: a stalled call must not stop its siblings.
        .initial_connection_window_size(SERVER_WINDOW * 1_024)
        .max_send_buffer_size(SERVER_WINDOW as usize)
        .handshake::<_, Bytes>(io)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(probe.clone(), request, respond));
    }
    Ok(())
}

async fn answer(probe: Probe, request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let answer = probe.answer(parts.headers, Incoming::Plain(body));
    let response = tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        response = answer => response,
    };
    let (parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    if let Ok(send) = respond.send_response(Response::from_parts(parts, ()), ended)
        && !ended
    {
        send_body(body, send).await;
    }
}

async fn send_body(mut body: Outgoing, mut send: h2::SendStream<Bytes>) {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = tokio::select! {
            biased;
            _ = poll_fn(|cx| send.poll_reset(cx)) => return,
            frame = frame => frame,
        };
        let Some(Ok(frame)) = frame else {
            return send.send_reset(h2::Reason::CANCEL);
        };
        match frame.into_data() {
            Ok(data) => {
                if send_data(&mut send, data).await.is_none() {
                    return;
                }
            }
            Err(frame) => {
                let _ = send.send_trailers(frame.into_trailers().unwrap_or_default());
                return;
            }
        }
    }
}

/// Sends as the peer's window opens; none when the stream is gone.
pub(super) async fn send_data(send: &mut h2::SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        while send.capacity() == 0 {
            poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        }
        let piece = data.split_to(data.len().min(send.capacity()));
        send.send_data(piece, false).ok()?;
    }
    Some(())
}
