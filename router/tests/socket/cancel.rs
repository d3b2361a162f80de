//! Calls that their client or their handler gives up.

use std::time::Duration;

use grpcrouter::GatewayConfig;

use super::support::client::{Client, Exchange};
use super::support::framed;
use super::support::handler::Handler;
use super::support::proxy::{Proxy, Way};
use super::support::raw::{DATA, Raw};
use super::support::reports::{Reports, Seen, endless, silent};
use super::support::until;
use super::support::world::World;

/// Proves: R11
#[tokio::test]
async fn a_cancel_at_any_point_drops_the_handler() {
    for answers in [false, true] {
        let (handler, mut seen) = if answers { endless() } else { silent() };
        let (world, client) = World::probe(handler).await;
        for (sends, half_closes) in [(false, false), (true, false), (true, true)] {
            let mut call = client.call("Do").await;
            seen.expect(Seen::Started).await;
            if answers {
                call.head().await;
            }
            if sends {
                call.send(b"message").await;
                seen.expect(Seen::Message("message".into())).await;
            }
            if half_closes {
                call.half_close();
                seen.expect(Seen::HalfClosed).await;
            }
            call.reset();
            seen.expect(Seen::Dropped).await;
            world.quiet().await;
        }
        seen.nothing();
    }
}

/// Proves: R11
#[tokio::test]
async fn a_cancel_gives_the_calls_slot_back() {
    let world = World::start().await;
    let mut config = world.config("a");
    config.tunnel.max_calls = 2;
    let (handler, mut seen) = silent();
    let _instance = world.instance_with(config, handler).await;
    let client = world.client().await;
    for _ in 0..100 {
        let mut pair = [client.call("Do").await, client.call("Do").await];
        seen.expect_all(Seen::Started, 2).await;
        for call in &mut pair {
            call.reset();
        }
        seen.expect_all(Seen::Dropped, 2).await;
        world.quiet().await;
    }
}

/// A cancel of a call before any instance could have it leaves nothing behind.
#[tokio::test]
async fn a_cancel_right_after_the_request_leaves_nothing_behind() {
    let (handler, _seen) = silent();
    let (world, client) = World::probe(handler).await;
    for _ in 0..200 {
        client.call("Do").await.reset();
    }
    world.quiet().await;
    assert_eq!(world.gateway.instances(), 1, "the tunnel bears it");
}

/// A client behind a hop, with three calls at different points.
async fn three_calls(world: &World, seen: &mut Reports) -> (Proxy, Client, Vec<Exchange>) {
    let proxy = Proxy::before(world.clients).await;
    let client = Client::connect(proxy.addr).await;
    let mut calls = Vec::new();
    for sends in [false, true, true] {
        let mut call = client.call("Do").await;
        seen.expect(Seen::Started).await;
        if sends {
            call.send(b"m").await;
            seen.expect(Seen::Message("m".into())).await;
        }
        calls.push(call);
    }
    calls[2].half_close();
    seen.expect(Seen::HalfClosed).await;
    (proxy, client, calls)
}

/// Proves: R12
#[tokio::test]
async fn a_client_that_closes_or_resets_its_connection_cancels_its_calls() {
    for reset in [false, true] {
        let (handler, mut seen) = endless();
        let (world, other) = World::probe(handler).await;
        let mut stays = other.call("Do").await;
        seen.expect(Seen::Started).await;
        let (proxy, _client, _calls) = three_calls(&world, &mut seen).await;
        if reset {
            proxy.reset();
        } else {
            proxy.close();
        }
        seen.expect_all(Seen::Dropped, 3).await;
        until("one call is left", || {
            world.gateway.gauges().calls.get() == 1
        })
        .await;
        stays.send(b"on").await;
        seen.expect(Seen::Message("on".into())).await;
        stays.reset();
        world.quiet().await;
    }
}

/// Proves: R12
#[tokio::test]
async fn a_client_that_falls_silent_is_given_up_after_the_keepalive() {
    let config = GatewayConfig {
        client_keepalive: Duration::from_millis(200),
        ..GatewayConfig::default()
    };
    for way in [Way::Both, Way::There] {
        let world = World::with(config.clone()).await;
        let (handler, mut seen) = endless();
        let _instance = world.instance("a", handler).await;
        let (proxy, _client, _calls) = three_calls(&world, &mut seen).await;
        let connections = world.gateway.gauges().connections.get();
        proxy.stop(way);
        seen.expect_all(Seen::Dropped, 3).await;
        world.quiet().await;
        until("its connection is closed", || {
            world.gateway.gauges().connections.get() == connections.saturating_sub(1)
        })
        .await;
    }
}

/// A client that answers pings is never given up, however long it says nothing.
#[tokio::test]
async fn a_quiet_client_that_answers_pings_keeps_its_calls() {
    let config = GatewayConfig {
        client_keepalive: Duration::from_millis(20),
        ..GatewayConfig::default()
    };
    let world = World::with(config).await;
    let (handler, mut seen) = endless();
    let _instance = world.instance("a", handler).await;
    let mut client = Raw::connect(world.clients).await;
    client.call(1, "Do", &[]).await;
    seen.expect(Seen::Started).await;
    client.answer_pings(10).await;
    client.write(DATA, 0, 1, &framed(b"still here")).await;
    seen.expect(Seen::Message("still here".into())).await;
}

/// Proves: R13
#[tokio::test]
async fn a_handler_that_dies_costs_its_call_a_status_and_nothing_else() {
    let handler = Handler::new(|mut call| async move {
        match call.method.rsplit('/').next() {
            Some("DieAtOnce") => panic!("a handler died, as the test wants"),
            Some("DieLater") => {
                call.head(http::HeaderMap::new());
                call.send(b"one").await;
                let _ = call.message().await;
                panic!("a handler died, as the test wants");
            }
            Some("Abort") => call.trailers_only(http::HeaderMap::new(), 10, "aborted"),
            _ => {
                call.head(http::HeaderMap::new());
                while let Some(message) = call.message().await {
                    call.send(&message).await;
                }
                call.finish(0, "").await;
            }
        }
    });
    let (world, client) = World::probe(handler).await;
    let mut sibling = client.call("Echo").await;
    sibling.send(b"1").await;
    sibling.head().await;

    let answer = client.unary("DieAtOnce", b"").await;
    assert_eq!((answer.status(), answer.reason()), (13, "instance-reset"));
    let answer = client.unary("DieLater", b"").await;
    assert_eq!((answer.status(), answer.reason()), (13, "instance-reset"));
    let answer = client.unary("Abort", b"").await;
    assert_eq!((answer.status(), answer.reason()), (10, ""));

    assert_eq!(sibling.message().await.expect("an answer"), "1");
    sibling.half_close();
    assert_eq!(sibling.message().await, None);
    assert_eq!(sibling.trailers().await["grpc-status"], "0");
    world.quiet().await;
}
