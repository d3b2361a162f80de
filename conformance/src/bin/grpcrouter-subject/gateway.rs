//! The gateway.

use std::future::Future;
use std::{io, net};

use grpcrouter::{Clock, Gateway, TcpListener};
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
    let (clients, tunnels) = (bind(args.threads)?, bind(args.threads)?);
    let addr = |sockets: &[net::TcpListener]| {
        let addr = sockets[0].local_addr();
        addr.map_err(|error| error.to_string())
    };
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
    let shards = Gateway::shards(config, Clock::start(), clients.len());
    let gateway = shards[0].clone();
    let bound = gateway.bound();
    let mut bound = if grows { bound.grown } else { bound.fixed } as u64;
    if args.mutant == Some(Mutant::UnderstatesBound) {
        bound /= UNDERSTATED;
    }
    let mut threads = shards.into_iter().zip(clients.into_iter().zip(tunnels));
    let (first, sockets) = threads.next().expect("there is one");
    let serving = serve(first, sockets).map_err(|error| format!("cannot serve: {error}"))?;
    tokio::spawn(serving);
    for (shard, sockets) in threads {
        start_thread(shard, sockets)?;
    }
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

/// Takes the sockets into this runtime; what comes of it serves for as long as the runtime runs.
fn serve(
    gateway: Gateway,
    (clients, tunnels): (net::TcpListener, net::TcpListener),
) -> io::Result<impl Future<Output = ()>> {
    let (clients, tunnels) = (
        TcpListener::from_std(clients)?,
        TcpListener::from_std(tunnels)?,
    );
    Ok(async move {
        tokio::join!(
            gateway.serve_clients(clients),
            gateway.serve_tunnels(tunnels)
        );
        // It drains: what is connected is still served here.
        std::future::pending::<()>().await;
    })
}

/// Serves in a thread of its own, until the process ends. It listens since its sockets were bound.
fn start_thread(
    gateway: Gateway,
    sockets: (net::TcpListener, net::TcpListener),
) -> Result<(), Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let serving = {
        let _here = runtime.enter();
        serve(gateway, sockets)
    };
    match serving {
        Ok(serving) => {
            std::thread::spawn(move || runtime.block_on(serving));
            Ok(())
        }
        Err(error) => {
            // Where another runtime runs, to drop one panics.
            runtime.shutdown_background();
            Err(format!("cannot serve: {error}"))
        }
    }
}

fn bind(threads: u32) -> Result<Vec<net::TcpListener>, Refused> {
    let addr = ([127, 0, 0, 1], 0).into();
    let bound = TcpListener::listen_shared(addr, threads as usize);
    bound.map_err(|error| format!("cannot listen on {addr}: {error}"))
}
