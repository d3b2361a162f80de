//! A silent tunnel is noticed by both ends; a busy one is never taken for a dead one.

use std::time::Duration;

use grpcrouter::{Clock, GatewayConfig};
use grpcrouter_core::Time;
use tokio::task::JoinSet;

use super::support::fault::Proxy;
use super::support::handler::{Handler, Park, named};
use super::support::until;
use super::support::world::{Running, World};

const INTERVAL: Duration = Duration::from_millis(200);
/// Two intervals, ten times as long: what a busy machine may take.
const NOTICED: Duration = Duration::from_secs(4);

/// Proves: T5
#[tokio::test]
async fn both_ends_notice_a_silent_link_within_two_intervals() {
    for (up, down) in [(true, true), (true, false), (false, true)] {
        let park = Park::new();
        let (world, proxy, running) = behind_a_link(park.handler()).await;
        let client = world.client().await;
        let mut call = client.call("Hold").await;
        call.head().await;
        park.holds(1).await;
        let clock = Clock::start();
        proxy.silence(up, down);
        let lost = call.trailers().await;
        assert_eq!(
            lost["grpcrouter-reason"], "instance-lost",
            "silent {up} {down}"
        );
        until("no instance is registered", || {
            world.gateway.instances() == 0
        })
        .await;
        park.holds(0).await;
        let noticed = clock.now().since(Time::ZERO);
        assert!(noticed < NOTICED, "both ends knew only after {noticed:?}");
        proxy.silence(false, false);
        let mut counts = running.handle.registrations();
        counts
            .wait_for(|counts| counts[0] > 1)
            .await
            .expect("it dials again");
        world.quiet().await;
    }
}

/// Proves: T5
#[tokio::test]
async fn a_busy_tunnel_whose_heartbeats_are_late_lives_on() {
    let (world, proxy, running) = behind_a_link(Handler::echo()).await;
    // 2 MiB/s, and half a megabyte under way: a heartbeat's answer takes longer than two intervals.
    proxy.slow(Duration::from_millis(2));
    let clock = Clock::start();
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let client = world.client().await;
        calls.spawn(async move {
            let mut call = client.call("Echo").await;
            for _ in 0..8 {
                call.send(&[7; 60_000]).await;
            }
            call.half_close();
            call.answer().await
        });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.expect("no panic");
        assert_eq!(answer.status(), 0, "{:?}", answer.trailers);
        assert_eq!(answer.messages.len(), 8);
    }
    let took = clock.now().since(Time::ZERO);
    assert!(took > INTERVAL * 5, "too short to show anything: {took:?}");
    assert_eq!(
        *running.handle.registrations().borrow(),
        [1],
        "never declared dead"
    );
}

/// Proves: T5
#[tokio::test]
async fn an_idle_tunnel_lives_on() {
    let (world, _proxy, running) = behind_a_link(named("a")).await;
    let clock = Clock::start();
    let rested = || clock.now().since(Time::ZERO) > INTERVAL * 6;
    until("six intervals pass", rested).await;
    assert_eq!(
        *running.handle.registrations().borrow(),
        [1],
        "heartbeats keep it"
    );
    assert_eq!(world.client().await.unary("Name", b"").await.status(), 0);
}

/// An instance behind a link of its own, with short heartbeats.
async fn behind_a_link(handler: Handler) -> (World, Proxy, Running) {
    let mut config = GatewayConfig::default();
    config.tunnel.heartbeat_interval = INTERVAL;
    let world = World::with(config).await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    config.dial_timeout = INTERVAL;
    let running = world.instance_with(config, handler).await;
    (world, proxy, running)
}
