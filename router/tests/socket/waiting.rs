//! Calls that wait for an instance, because their clients asked for that.

use std::time::Duration;

use grpcrouter::{Clock, GatewayConfig};
use http::Request;

use super::support::client::{Answer, Client, Exchange, assert_status, request};
use super::support::handler::{Handler, Park};
use super::support::scripted::Scripted;
use super::support::until;
use super::support::world::World;

fn waiting() -> Request<()> {
    with("grpcrouter-wait-for-ready", "true", request("Echo"))
}

fn with(name: &'static str, value: &'static str, mut request: Request<()>) -> Request<()> {
    let value = value.parse().expect("a value");
    request.headers_mut().insert(name, value);
    request
}

/// Begins a call that waits, and sends its only message.
async fn begin(client: &Client, request: Request<()>, message: &[u8]) -> Exchange {
    let mut call = client.open(request).await;
    call.send(message).await;
    call.half_close();
    call
}

async fn made(client: &Client, request: Request<()>) -> Answer {
    begin(client, request, b"x").await.answer().await
}

/// Proves: R6w
#[tokio::test]
async fn a_call_that_waits_is_taken_by_the_next_instance_or_ends_at_its_deadline() {
    let world = World::start().await;
    let client = world.client().await;
    let clock = Clock::start();
    let from = clock.now();
    let answer = made(&client, with("grpc-timeout", "200m", waiting())).await;
    assert_status(&answer, 4, "deadline");
    assert!(clock.now() - from >= Duration::from_millis(200));

    let call = begin(&client, with("grpc-timeout", "1M", waiting()), b"hello").await;
    until("the call waits", || world.gateway.gauges().calls.get() == 1).await;
    // Another service's instances are no reason to end it.
    let mut config = world.config("other");
    config.services = vec!["test.Other".into()];
    world.instance_with(config, Handler::echo()).await;
    world.instance("a", Handler::echo()).await;
    let answer = call.answer().await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    assert_eq!(answer.messages, [&b"hello"[..]], "all that came meanwhile");
    world.quiet().await;
}

/// A deadline is the client's to choose: it alone is no limit.
#[tokio::test]
async fn a_call_with_no_deadline_or_a_distant_one_waits_as_long_as_the_gateway_lets_it() {
    let wait_timeout = Duration::from_millis(100);
    let world = World::with(GatewayConfig {
        wait_timeout,
        ..GatewayConfig::default()
    });
    let world = world.await;
    let client = world.client().await;
    let clock = Clock::start();
    for patient in [waiting(), with("grpc-timeout", "99999999H", waiting())] {
        let from = clock.now();
        assert_status(&made(&client, patient).await, 14, "no-instance");
        assert!(clock.now() - from >= wait_timeout);
    }
    world.quiet().await;
}

/// Proves: R6w, R17
#[tokio::test]
async fn a_call_that_an_instance_refused_waits_for_the_next() {
    // Under the same id it is another instance: a later start of it.
    for next in ["a", "b"] {
        let world = World::start().await;
        let mut scripted = Scripted::register(world.tunnels, "a", 1 << 20).await;
        let client = world.client().await;
        let waits = begin(&client, waiting(), b"hello").await;
        let refused = scripted.incoming().await;
        scripted.readable(refused, 10).await;
        scripted.tunnel.refuse_call(refused);
        let other = begin(&client, request("Echo"), b"x").await;
        let also = scripted.incoming().await;
        scripted.tunnel.refuse_call(also);
        scripted.flush();
        assert_status(&other.answer().await, 14, "refused");

        world.instance(next, Handler::echo()).await;
        let answer = waits.answer().await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(answer.messages, [&b"hello"[..]], "all that was sent");
        world.quiet().await;
    }
}

#[tokio::test]
async fn no_call_waits_for_an_instance_that_is_full() {
    let world = World::start().await;
    let park = Park::new();
    let mut config = world.config("a");
    config.tunnel.max_calls = 1;
    world.instance_with(config, park.handler()).await;
    let client = world.client().await;
    let first = begin(&client, request("Echo"), b"x").await;
    park.holds(1).await;
    assert_status(&made(&client, waiting()).await, 8, "limit");
    drop(first);
    world.quiet().await;
}

#[tokio::test]
async fn no_more_calls_wait_than_may_and_a_cancelled_one_makes_room() {
    let world = World::with(GatewayConfig {
        max_waiting: 1,
        ..GatewayConfig::default()
    });
    let world = world.await;
    let client = world.client().await;
    let wait = || world.gateway.metrics().waiting_calls;
    let first = begin(&client, waiting(), b"x").await;
    until("the call waits", || wait() == 1).await;
    assert_status(&made(&client, waiting()).await, 14, "no-instance");
    drop(first);
    until("nobody waits", || wait() == 0).await;
    let second = begin(&client, waiting(), b"x").await;
    until("the call waits", || wait() == 1).await;
    world.instance("a", Handler::echo()).await;
    assert_eq!(second.answer().await.status(), 0);
    assert_eq!(wait(), 0);
}

#[tokio::test]
async fn a_draining_gateway_lets_nobody_wait() {
    let world = World::start().await;
    let client = world.client().await;
    let call = begin(&client, waiting(), b"x").await;
    until("the call waits", || world.gateway.gauges().calls.get() == 1).await;
    assert_eq!(world.gateway.drain().await, 0, "calls that did not finish");
    assert_status(&call.answer().await, 14, "draining");
}

#[tokio::test]
async fn what_is_neither_true_nor_false_is_the_clients_mistake() {
    let world = World::start().await;
    let client = world.client().await;
    let ask = |value| with("grpcrouter-wait-for-ready", value, request("Echo"));
    assert_status(&made(&client, ask("false")).await, 14, "no-instance");
    assert_status(&made(&client, ask("yes")).await, 3, "bad-request");
}
