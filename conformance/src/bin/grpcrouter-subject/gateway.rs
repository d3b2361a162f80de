//! The gateway.

use grpcrouter::{Clock, Gateway, Listener, TcpListener};
use grpcrouter_conformance::mutant::{Hop, Mutant, Relay};
use grpcrouter_conformance::pb::{SubjectReply, SubjectRequest};

use crate::life::{CUT_OFF, End};
use crate::{GatewayArgs, Refused, reply, settings};

/// What is declared by a mutant is so many times less than what is held: also where windows may grow, and do not.
const UNDERSTATED: u64 = 32;

/// Longer than any run.
const AN_HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Runs it until it is to end, then drains it: the exit code.
pub(crate) async fn run(
    request: SubjectRequest,
    mut end: End,
    args: GatewayArgs,
) -> Result<i32, Refused> {
    let mut asked = request.settings.unwrap_or_default();
    if args.mutant == Some(Mutant::ForgetsRoutes) {
        asked.routes.clear();
    }
    let mut config = settings::gateway(&asked)?;
    if args.mutant == Some(Mutant::NeverPings) {
        config.client_keepalive = AN_HOUR;
    }
    let grows = config.tunnel.call_window_max > config.tunnel.call_window;
    let (clients, tunnels) = (bind().await?, bind().await?);
    let addr = |listener: &TcpListener| listener.local_addr().map_err(|error| error.to_string());
    let (mut client_addr, mut tunnel_addr) = (addr(&clients)?, addr(&tunnels)?);
    let hop = match args.mutant {
        Some(mutant) => Hop::before(client_addr, mutant).await,
        None => Ok(None),
    };
    let hop = hop.map_err(|error| format!("no hop: {error}"))?;
    if let Some(hop) = &hop {
        client_addr = hop.addr();
    }
    let relay = match args.mutant {
        Some(mutant) if hop.is_none() => {
            let relay = Relay::before(tunnel_addr, mutant).await;
            let relay = relay.map_err(|error| format!("no relay: {error}"))?;
            tunnel_addr = relay.addr();
            Some(relay)
        }
        _ => None,
    };
    let gateway = Gateway::new(config, Clock::start());
    let bound = gateway.bound();
    let mut bound = if grows { bound.grown } else { bound.fixed } as u64;
    if args.mutant == Some(Mutant::UnderstatesBound) {
        bound /= UNDERSTATED;
    }
    let serving = gateway.clone();
    tokio::spawn(async move {
        tokio::join!(
            serving.serve_clients(clients),
            serving.serve_tunnels(tunnels)
        )
    });
    reply(SubjectReply {
        client_addr: client_addr.to_string(),
        tunnel_addr: tunnel_addr.to_string(),
        bound_bytes: bound,
        name: "grpcrouter gateway".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        honoured: settings::OF_GATEWAY
            .iter()
            .map(ToString::to_string)
            .collect(),
        ..SubjectReply::default()
    })
    .await;
    end.asked().await;
    let left = tokio::select! {
        biased;
        left = gateway.drain() => left,
        () = end.forced() => return Ok(CUT_OFF),
    };
    drop((hop, relay));
    Ok(if left == 0 { 0 } else { CUT_OFF })
}

async fn bind() -> Result<TcpListener, Refused> {
    let addr = ([127, 0, 0, 1], 0).into();
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| format!("cannot listen on {addr}: {error}"))
}
