//! Clients at several shards at once, which the other cases' clients are not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::join_all;
use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, TcpListener};
use http::Request;

use super::support::client::{Client, assert_status, request};
use super::support::handler::{Handler, named};
use super::support::until;
use super::support::world::World;

const SHARDS: usize = 3;

/// A gateway in shards, each with a port of its own for clients; all tunnels come in at the first.
async fn shards(config: GatewayConfig) -> (World, Vec<Client>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let gateways = Gateway::shards(config, Clock::start(), SHARDS);
    let tunnel = TcpListener::bind(any).await.expect("binds");
    let world = World {
        gateway: gateways[0].clone(),
        clients: any,
        tunnels: tunnel.local_addr().expect("is bound"),
    };
    let first = gateways[0].clone();
    tokio::spawn(async move { first.serve_tunnels(tunnel).await });
    let mut clients = Vec::new();
    for gateway in gateways {
        let listener = TcpListener::bind(any).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        tokio::spawn(async move { gateway.serve_clients(listener).await });
        clients.push(Client::connect(addr).await);
    }
    (world, clients)
}

#[tokio::test]
async fn each_shard_takes_its_turns_and_all_counts_are_of_all() {
    const ROUNDS: usize = 20;
    let (world, clients) = shards(GatewayConfig::default()).await;
    let mut running = Vec::new();
    for id in ["a", "b"] {
        running.push(world.instance(id, named(id)).await);
    }
    let calls = clients.iter().map(async |client| {
        let mut served = BTreeMap::new();
        for _ in 0..ROUNDS {
            let answer = client.unary("Name", b"").await;
            assert_eq!(answer.status(), 0, "{answer:?}");
            *served.entry(answer.messages[0].clone()).or_insert(0) += 1;
        }
        served
    });
    for served in join_all(calls).await {
        let turns: Vec<_> = served.into_values().collect();
        assert_eq!(turns, [ROUNDS / 2; 2], "of one shard's calls");
    }
    let count = || world.gateway.metrics().calls["test.Probe"].ended[0];
    let all = (SHARDS * ROUNDS) as u64;
    until("all shards' calls are counted", || count() == all).await;
    world.quiet().await;
}

#[tokio::test]
async fn the_places_to_wait_are_those_of_all_shards_and_a_registration_wakes_them_all() {
    let (world, clients) = shards(GatewayConfig {
        max_waiting: SHARDS,
        ..GatewayConfig::default()
    })
    .await;
    let waiting = || -> Request<()> {
        let mut request = request("Echo");
        let yes = http::HeaderValue::from_static("true");
        request
            .headers_mut()
            .insert("grpcrouter-wait-for-ready", yes);
        request
    };
    let mut calls = Vec::new();
    for client in &clients {
        let mut call = client.open(waiting()).await;
        call.send(b"x").await;
        call.half_close();
        calls.push(call);
    }
    let wait = || world.gateway.metrics().waiting_calls;
    until("all places are taken", || wait() == SHARDS).await;
    for client in &clients {
        let mut call = client.open(waiting()).await;
        call.half_close();
        assert_status(&call.answer().await, 14, "no-instance");
    }
    world.instance("a", Handler::echo()).await;
    for call in calls {
        assert_eq!(call.answer().await.status(), 0);
    }
    assert_eq!(wait(), 0);
    world.quiet().await;
}
