//! Several gateways, gateways that die, and links that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;

use super::support::fault::Proxy;
use super::support::handler::{Handler, Park};
use super::support::mortal::Mortal;
use super::support::world::World;
use super::support::{until, within};

/// Proves: T8
#[tokio::test]
async fn an_instance_finds_its_gateway_again_after_a_crash() {
    let park = Park::new();
    let mortal = Mortal::start().await;
    let running = mortal.world.instance("a", park.handler()).await;
    let mut lost = mortal.world.client().await.call("Hold").await;
    lost.head().await;
    let ports = mortal.kill().await;
    let end = within("the end of the call", lost.data()).await;
    assert!(
        matches!(end, Some(Err(_))),
        "its client loses the connection: {end:?}"
    );
    park.holds(0).await;
    let mortal = Mortal::start_at(ports).await;
    let mut counts = running.handle.registrations();
    let again = counts.wait_for(|counts| counts[0] == 2);
    within("the registration after the crash", again)
        .await
        .expect("it runs");
    park.open();
    let client = mortal.world.client().await;
    assert_eq!(client.unary("Hold", b"").await.status(), 0);
}

/// Proves: T10
#[tokio::test]
async fn an_instance_with_two_gateways_runs_every_call_once() {
    const CALLS: usize = 500;
    let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..CALLS).map(|_| AtomicUsize::new(0)).collect());
    let (mortal, other) = (Mortal::start().await, World::start().await);
    let mut config = mortal.world.config("a");
    config.gateways.push(other.target());
    let _instance = other.instance_with(config, counting(runs.clone())).await;
    let (first, second) = (mortal.world.client().await, other.client().await);
    let mut calls = Vec::new();
    for nonce in 0..CALLS {
        let client = if nonce % 2 == 0 { &first } else { &second };
        let mut call = client.call("Count").await;
        call.send(&(nonce as u32).to_be_bytes()).await;
        call.half_close();
        calls.push(call);
    }
    // The first dies while it has calls; the second never takes them over.
    mortal.kill().await;
    for call in calls.into_iter().skip(1).step_by(2) {
        assert_eq!(
            call.answer().await.status(),
            0,
            "the other gateway's calls go on"
        );
    }
    other.quiet().await;
    for (nonce, runs) in runs.iter().enumerate() {
        let runs = runs.load(Ordering::Relaxed);
        if nonce % 2 == 0 {
            assert!(runs <= 1, "call {nonce} ran {runs} times");
        } else {
            assert_eq!(runs, 1, "call {nonce}");
        }
    }
}

/// Proves: T9
#[tokio::test]
async fn an_instance_that_drains_finishes_what_a_draining_gateway_left_it() {
    let park = Park::new();
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let mut running = world.instance_with(config, park.handler()).await;
    let mut call = world.client().await.call("Hold").await;
    call.head().await;
    let gateway = world.gateway.clone();
    let draining = tokio::spawn(async move { gateway.drain().await });
    until("it looks for another gateway", || proxy.dialled() > 1).await;
    running.handle.drain();
    let early = tokio::time::timeout(Duration::from_millis(100), &mut running.task).await;
    assert!(early.is_err(), "a call still runs: {early:?}");
    park.open();
    assert_eq!(call.trailers().await["grpc-status"], "0");
    let ended = within("the instance's end", running.task).await;
    ended.expect("no panic").expect("drained");
    assert_eq!(within("the drain", draining).await.expect("no panic"), 0);
}

/// Proves: T14
#[tokio::test]
async fn a_link_that_flaps_a_hundred_times_leaves_nothing_behind() {
    let park = Park::new();
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    config.backoff.first = Duration::from_millis(1);
    config.backoff.cap = Duration::from_millis(10);
    let running = world.instance_with(config, park.handler()).await;
    let client = world.client().await;
    let connected = || world.gateway.gauges().connections.get() == 2;
    until("both connections are accepted", connected).await;
    let base = Open::now(&world);
    for flap in 1..=100 {
        let mut calls = [client.call("Hold").await, client.call("Hold").await];
        for call in &mut calls {
            call.head().await;
        }
        proxy.cut();
        for mut call in calls {
            assert_eq!(call.trailers().await["grpc-status"], "14", "flap {flap}");
        }
        park.holds(0).await;
        let mut counts = running.handle.registrations();
        let again = counts.wait_for(|counts| counts[0] == flap + 1);
        within("the next registration", again)
            .await
            .expect("it runs");
    }
    assert_eq!(proxy.dialled(), 101, "one dial for each flap");
    until("everything is as before", || Open::now(&world) == base).await;
    park.open();
    assert_eq!(client.unary("Hold", b"").await.status(), 0);
}

/// What is open in a world, and in the runtime that it shares with its test.
#[derive(Debug, PartialEq)]
struct Open {
    instances: usize,
    calls: usize,
    tunnels: usize,
    connections: usize,
    tasks: usize,
    sockets: usize,
}

impl Open {
    fn now(world: &World) -> Self {
        let gauges = world.gateway.gauges();
        Self {
            instances: world.gateway.instances(),
            calls: gauges.calls.get(),
            tunnels: gauges.tunnels.get(),
            connections: gauges.connections.get(),
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            sockets: sockets(world.tunnels.port()),
        }
    }
}

/// Descriptors of sockets on a port. Of this port alone: other tests run in this process.
fn sockets(port: u16) -> usize {
    let Ok(table) = std::fs::read_to_string("/proc/self/net/tcp") else {
        return 0;
    };
    let port = format!(":{port:04X}");
    let held = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ours = |word: usize| words.get(word).is_some_and(|addr| addr.ends_with(&port));
        // Without an inode it is the kernel's memory of a closed one.
        (ours(1) || ours(2)) && words.get(9).is_some_and(|inode| *inode != "0")
    };
    table.lines().filter(held).count()
}

/// Counts the runs of each call by the nonce in its request.
fn counting(runs: Arc<Vec<AtomicUsize>>) -> Handler {
    Handler::new(move |mut call| {
        let runs = runs.clone();
        async move {
            let nonce = call.message().await.expect("a nonce");
            let nonce = u32::from_be_bytes(nonce[..].try_into().expect("four bytes"));
            runs[nonce as usize].fetch_add(1, Ordering::Relaxed);
            call.head(HeaderMap::new());
            call.finish(0, "").await;
        }
    })
}
