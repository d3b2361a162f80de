//! Drains: of an instance, and of a gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use grpcrouter::GatewayConfig;
use http::HeaderMap;
use tokio::task::JoinSet;

use super::support::client::Client;
use super::support::handler::{Handler, Park, named};
use super::support::world::{Running, World};
use super::support::{until, within};

/// Proves: T6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_drains_under_load_lose_no_call() {
    const LANES: usize = 4;
    const DRAINS: usize = 250;
    let world = World::start().await;
    // One always stays, so that there is somebody for every call.
    let _stays = world.instance("stays", Handler::echo()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        load.spawn(ping_pongs(world.client().await, stop.clone()));
    }
    let world = &world;
    let lanes = (0..LANES).map(|lane| async move {
        let mut running = world.instance(&format!("l{lane}"), Handler::echo()).await;
        for round in 0..DRAINS {
            // Half of them hand over to another id, the others come back under their own.
            if lane % 2 == 0 {
                let id = format!("l{lane}-{round}");
                let next = world.instance(&id, Handler::echo()).await;
                drained(std::mem::replace(&mut running, next)).await;
            } else {
                drained(running).await;
                running = world.instance(&format!("l{lane}"), Handler::echo()).await;
            }
        }
    });
    join_all(lanes).await;
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    while let Some(done) = load.join_next().await {
        calls += done.expect("every call ended with OK");
    }
    assert!(calls > 1_000, "{calls} calls are no load");
    world.quiet().await;
}

/// Proves: T6
#[tokio::test]
async fn a_draining_instance_finishes_what_runs_and_gets_nothing_new() {
    let park = Park::new();
    let world = World::start().await;
    let leaves = world.instance("leaves", park.handler()).await;
    let client = world.client().await;
    let call = client.call("Hold").await;
    park.holds(1).await;
    let _stays = world.instance("stays", named("stays")).await;
    leaves.handle.drain();
    within("nothing new for it", async {
        // Round robin would come to it every second time.
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let mut probe = client.call("Name").await;
            probe.half_close();
            in_a_row = if probe.head().await.is_empty() {
                0
            } else {
                in_a_row + 1
            };
            assert!(park.waiting() <= 2, "at most one crossed the drain");
        }
    })
    .await;
    assert!(!leaves.task.is_finished(), "a call runs");
    park.open();
    let answer = call.answer().await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    within("its end", leaves.task)
        .await
        .expect("no panic")
        .expect("a clean end");
    until("it is gone", || world.gateway.instances() == 1).await;
}

/// Proves: T7
#[tokio::test]
async fn a_draining_gateway_finishes_what_runs_and_sends_the_rest_elsewhere() {
    let park = Park::new();
    let (here, there) = (World::start().await, World::start().await);
    let mut config = here.config("a");
    config.gateways.push(there.target());
    let instance = here.instance_with(config, park.handler()).await;
    let client = here.client().await;
    let call = client.call("Hold").await;
    park.holds(1).await;
    let gateway = here.gateway.clone();
    let drain = tokio::spawn(async move { gateway.drain().await });
    within("GOAWAY", client.closing()).await;
    assert!(!drain.is_finished(), "it waits for the call");
    assert!(!instance.task.is_finished(), "its instance lives on");
    let elsewhere = there.client().await.call("Hold").await;
    park.holds(2).await;
    park.open();
    assert_eq!(call.answer().await.status(), 0, "the running call finishes");
    assert_eq!(
        elsewhere.answer().await.status(),
        0,
        "and the next one elsewhere"
    );
    assert_eq!(
        within("the end of the drain", drain)
            .await
            .expect("no panic"),
        0
    );
    assert_eq!(here.gateway.gauges().connections.get(), 0, "nobody is left");
}

/// Proves: T7
#[tokio::test]
async fn a_drain_ends_after_its_limit_and_says_how_many_calls_were_left() {
    let park = Park::new();
    let config = GatewayConfig {
        drain_timeout: Duration::from_millis(200),
        ..GatewayConfig::default()
    };
    let world = World::with(config).await;
    let _instance = world.instance("a", park.handler()).await;
    let client = world.client().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(client.call("Hold").await);
    }
    park.holds(3).await;
    assert_eq!(
        within("the end of the drain", world.gateway.drain()).await,
        3
    );
}

/// Proves: T7
#[tokio::test]
async fn a_drain_waits_for_a_client_that_reads_slowly() {
    let handler = Handler::new(|mut call| async move {
        call.head(http::HeaderMap::new());
        call.send(&[1; 60_000]).await;
        call.finish(0, "").await;
    });
    let world = World::start().await;
    let _instance = world.instance("a", handler).await;
    let client = Client::with(world.clients, |settings| {
        settings.initial_window_size(1_000);
    })
    .await;
    let mut call = client.call("Big").await;
    call.half_close();
    call.head().await;
    let gateway = world.gateway.clone();
    let drain = tokio::spawn(async move { gateway.drain().await });
    within("GOAWAY", client.closing()).await;
    assert!(!drain.is_finished(), "its client has not got it yet");
    assert_eq!(
        call.message().await.map(|message| message.len()),
        Some(60_000)
    );
    assert_eq!(call.trailers().await["grpc-status"], "0");
    assert_eq!(
        within("the end of the drain", drain)
            .await
            .expect("no panic"),
        0
    );
}

/// Calls of three messages each way, one after the other; how many.
async fn ping_pongs(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let calls = AtomicU64::new(0);
    while !stop.load(Ordering::Relaxed) {
        let mut call = client.call("Echo").await;
        for round in 0..3 {
            call.send(&[round; 100]).await;
            if round == 0 {
                call.head().await;
            }
            assert_eq!(call.message().await.expect("an echo"), vec![round; 100]);
        }
        call.half_close();
        assert_eq!(call.message().await, None);
        let trailers = call.trailers().await;
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        calls.fetch_add(1, Ordering::Relaxed);
    }
    calls.into_inner()
}

async fn drained(running: Running) {
    running.handle.drain();
    let end = within("the end of a drain", running.task).await;
    end.expect("no panic").expect("a clean end");
}

/// Proves: T6
#[tokio::test]
async fn an_instance_is_gone_as_soon_as_its_last_call_is() {
    let mut config = GatewayConfig::default();
    // Nothing but the end of the call may wake who waits for it.
    config.tunnel.heartbeat_interval = Duration::from_secs(600);
    let world = World::with(config).await;
    let large = Handler::new(|mut call| async move {
        call.head(HeaderMap::new());
        while call.message().await.is_some() {}
        call.send(&vec![7; 1 << 20]).await;
        call.finish(0, "").await;
    });
    let running = world.instance("a", large).await;
    let client = world.client().await;
    let mut call = client.call("Large").await;
    call.head().await;
    running.handle.drain();
    call.half_close();
    while call.message().await.is_some() {}
    assert_eq!(call.trailers().await["grpc-status"], "0");
    let ended = within("the instance's end", running.task).await;
    ended.expect("no panic").expect("it drained");
}
