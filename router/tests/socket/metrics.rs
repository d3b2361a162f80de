//! What a gateway counts of calls and tunnels.

use std::sync::Arc;
use std::time::Duration;

use grpcrouter::Metrics;
use http::{HeaderMap, Request};
use tokio::sync::Notify;

use super::support::client::request;
use super::support::fault::Proxy;
use super::support::handler::{Handler, Park};
use super::support::until;
use super::support::world::World;

#[tokio::test]
async fn calls_are_counted_by_service_and_code() {
    let world = World::start().await;
    let handler = Handler::new(|mut call| async move {
        if call.method.ends_with("Fail") {
            return call.trailers_only(HeaderMap::new(), 7, "no");
        }
        call.head(HeaderMap::new());
        while call.message().await.is_some() {}
        call.finish(0, "").await;
    });
    let _instance = world.instance("a", handler).await;
    let client = world.client().await;
    client.unary("Ok", b"").await;
    client.unary("Ok", b"").await;
    client.unary("Fail", b"").await;
    let mut given_up = client.call("GivenUp").await;
    given_up.head().await;
    let calls = || world.gateway.metrics().calls;
    until("a call is open", || calls()["test.Probe"].open == 1).await;
    given_up.reset();
    for (path, kind) in [("test.Other", "application/grpc"), ("none", "text/plain")] {
        let request = Request::post(format!("http://gw/{path}/Do")).header("content-type", kind);
        let mut call = client.open(request.body(()).expect("a request")).await;
        call.half_close();
        call.response().await.expect("a response");
    }
    until("all of them are over", || {
        let metrics = world.gateway.metrics();
        metrics.calls["test.Probe"].open == 0 && !metrics.http_refusals.is_empty()
    })
    .await;
    let ended = calls()["test.Probe"].ended;
    assert_eq!((ended[0], ended[7], ended[1]), (2, 1, 1), "{ended:?}");
    assert_eq!(ended.iter().sum::<u64>(), 4, "{ended:?}");
    let others = &calls()[Metrics::OTHER_SERVICES];
    assert_eq!(
        (others.open, others.ended[12]),
        (0, 1),
        "a client's own word"
    );
    assert_eq!(calls().len(), 2);
    assert_eq!(world.gateway.metrics().http_refusals[&415], 1);
}

#[tokio::test]
async fn a_request_that_is_not_read_shows_as_a_stalled_call_and_a_queue() {
    let world = World::start().await;
    let go = Arc::new(Notify::new());
    let reads = go.clone();
    let handler = Handler::new(move |mut call| {
        let reads = reads.clone();
        async move {
            call.head(HeaderMap::new());
            reads.notified().await;
            while call.message().await.is_some() {}
            call.finish(0, "").await;
        }
    });
    let _instance = world.instance("a", handler).await;
    let client = world.client().await;
    let mut call = client.open(request("Ask")).await;
    let message = vec![7; 4 << 20];
    let stalls = async {
        until("it stalls", || world.gateway.metrics().stalled_calls == 1).await;
        let metrics = world.gateway.metrics();
        assert!(metrics.request_queue_bytes > 0, "{metrics:?}");
        go.notify_one();
    };
    tokio::join!(call.send(&message), stalls);
    call.half_close();
    assert_eq!(call.answer().await.status(), 0);
    let metrics = world.gateway.metrics();
    assert_eq!(metrics.stalled_calls, 0);
    assert!(metrics.stalled_time > Duration::ZERO);
    assert_eq!(metrics.request_queue_bytes, 0, "{metrics:?}");
    assert!(
        metrics.tunnel_sent_bytes > message.len() as u64,
        "{metrics:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_read_shows_as_a_queue() {
    let world = World::start().await;
    let handler = Handler::new(|mut call| async move {
        call.head(HeaderMap::new());
        call.send(&vec![7; 4 << 20]).await;
        call.finish(0, "").await;
    });
    let _instance = world.instance("a", handler).await;
    let client = world.client().await;
    let mut call = client.call("Ask").await;
    call.half_close();
    let queued = || world.gateway.metrics().response_queue_bytes;
    until("the answer waits", || queued() > 0).await;
    assert_eq!(call.answer().await.status(), 0);
    until("nothing waits", || queued() == 0).await;
}

#[tokio::test]
async fn tunnels_that_are_gone_keep_their_counts_and_those_that_come_back_are_reconnects() {
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let park = Park::new();
    let running = world.instance_with(config, park.handler()).await;
    let rtts = || world.gateway.metrics().heartbeat_rtt_count;
    until("a heartbeat is answered", || rtts() > 0).await;
    let before = world.gateway.metrics();
    let (first, again) = (before.registrations, before.reconnects);
    assert_eq!((first, again, before.instances), (1, 0, 1));
    let ranges: u64 = before.heartbeat_rtts.iter().map(|(_, count)| count).sum();
    assert!(ranges <= before.heartbeat_rtt_count, "{before:?}");
    proxy.cut();
    until("it is back", || {
        let metrics = world.gateway.metrics();
        metrics.reconnects == 1 && metrics.tunnels == 1
    })
    .await;
    let after = world.gateway.metrics();
    assert_eq!(after.registrations, 1);
    assert!(after.tunnel_received_bytes > before.tunnel_received_bytes);
    assert!(after.heartbeat_rtt_count >= before.heartbeat_rtt_count);
    running.handle.drain();
    until("its tunnel is closed", || {
        world.gateway.metrics().tunnels == 0
    })
    .await;
    let end = world.gateway.metrics();
    assert!(
        end.tunnel_sent_bytes > after.tunnel_sent_bytes,
        "the counts stay"
    );
}
