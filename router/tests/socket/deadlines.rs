//! Deadlines: they travel as lengths, and the gateway keeps them whatever the instance does.

use std::time::Duration;

use grpcrouter::{Clock, Target};
use grpcrouter_core::timeout::parse_timeout;
use http::{HeaderMap, Request};

use super::support::arms::Arm;
use super::support::client::{Client, Exchange, request, text};
use super::support::handler::Handler;
use super::support::proxy::{Proxy, Way};
use super::support::reports::{Seen, silent};
use super::support::world::World;
use super::support::{until, within};

/// Opens a call with a deadline.
async fn call(client: &Client, timeout: &str) -> Exchange {
    let mut request: Request<()> = request("Do");
    let timeout = timeout.parse().expect("a value");
    request.headers_mut().insert("grpc-timeout", timeout);
    client.open(request).await
}

/// Answers with the timeout that it was given.
fn tells_timeout() -> Handler {
    Handler::new(|mut call| async move {
        let timeout = call.headers.get("grpc-timeout").cloned();
        call.head(HeaderMap::new());
        call.send(timeout.as_ref().map_or(b"none", |value| value.as_bytes()))
            .await;
        call.finish(0, "").await;
    })
}

/// Proves: R7, R8
#[tokio::test]
async fn a_handler_sees_what_is_left_in_every_unit() {
    let (world, client) = World::probe(tells_timeout()).await;
    let clock = Clock::start();
    for timeout in [
        "1H",
        "2M",
        "100S",
        "99999999H",
        "99999999M",
        "99999999S",
        "99999999m",
        "99999999u",
    ] {
        let given = parse_timeout(timeout.as_bytes()).expect("a timeout");
        let from = clock.now();
        let mut exchange = call(&client, timeout).await;
        exchange.half_close();
        let answer = exchange.answer().await;
        let hop = clock.now() - from;
        assert_eq!(answer.status(), 0, "{timeout}: {answer:?}");
        let left = parse_timeout(&answer.messages[0]).expect("a timeout");
        assert!(left <= given, "{timeout}: {left:?} is more than was given");
        // Eight digits cannot say more than one part in 100,000.
        let least = given.saturating_sub(hop) - given / 100_000;
        assert!(left >= least, "{timeout}: {left:?} after {hop:?}");
    }
    let without = client.unary("Do", b"").await;
    assert_eq!(without.messages, ["none"], "none is made up");
    world.quiet().await;
}

/// Proves: R7
#[tokio::test]
async fn what_is_no_timeout_is_refused_before_any_handler() {
    let (handler, mut seen) = silent();
    let (world, client) = World::probe(handler).await;
    for timeout in [
        "",
        "S",
        "1",
        "123456789S",
        "-1S",
        "+1S",
        "1s",
        "1.5S",
        "1 S",
        "S1",
        "0x1S",
        "99999999999999999999H",
    ] {
        let mut exchange = call(&client, timeout).await;
        exchange.half_close();
        let answer = exchange.answer().await;
        assert_eq!(
            (answer.status(), answer.reason()),
            (3, "bad-request"),
            "{timeout:?}"
        );
    }
    let mut expired = call(&client, "0S").await;
    expired.half_close();
    let answer = expired.answer().await;
    assert_eq!(
        (answer.status(), answer.reason()),
        (4, "deadline"),
        "no time at all"
    );
    seen.nothing();
    world.quiet().await;
}

/// Proves: R7, R9
#[tokio::test]
async fn a_silent_handler_ends_at_the_deadline_and_so_does_the_call() {
    let (handler, mut seen) = silent();
    let (world, client) = World::probe(handler).await;
    let clock = Clock::start();
    for (timeout, length) in [
        ("50000000n", 50),
        ("100000u", 100),
        ("150m", 150),
        ("1S", 1_000),
    ] {
        let length = Duration::from_millis(length);
        let from = clock.now();
        let exchange = call(&client, timeout).await;
        seen.expect(Seen::Started).await;
        let answer = exchange.answer().await;
        let took = clock.now() - from;
        assert_eq!(answer.status(), 4, "{timeout}: {answer:?}");
        assert!(took >= length, "{timeout}: {took:?} is too soon");
        assert!(
            took < length + Duration::from_secs(1),
            "{timeout}: {took:?} is too late"
        );
        seen.expect(Seen::Dropped).await;
        assert!(
            clock.now() - from < length + Duration::from_secs(2),
            "the handler went on"
        );
    }
    world.quiet().await;
}

/// Proves: R9
#[tokio::test]
async fn a_deadline_in_the_middle_of_a_response_ends_it_with_trailers() {
    let (handler, mut seen) = super::support::reports::endless();
    let (world, client) = World::probe(handler).await;
    let mut exchange = call(&client, "200m").await;
    exchange.head().await;
    seen.expect(Seen::Started).await;
    assert_eq!(exchange.message().await, None);
    let trailers = exchange.trailers().await;
    assert_eq!(trailers["grpc-status"], "4");
    seen.expect(Seen::Dropped).await;
    world.quiet().await;
}

/// Proves: R9
#[tokio::test]
async fn a_whole_answer_is_held_to_its_deadline_though_its_tunnel_has_ended() {
    const LENGTH: Duration = Duration::from_secs(1);
    let world = World::start().await;
    let handler = Handler::new(|mut call| async move {
        call.head(HeaderMap::new());
        call.send(&[1; 60_000]).await;
        call.finish(0, "").await;
    });
    let instance = world.instance("a", handler).await;
    let client = Client::with(world.clients, |settings| {
        settings.initial_window_size(1_000);
    })
    .await;
    let clock = Clock::start();
    let from = clock.now();
    let mut late = call(&client, "1S").await;
    late.half_close();
    late.head().await;
    // Its last frame to the gateway comes after the whole answer.
    instance.handle.drain();
    let end = within("the instance's end", instance.task).await;
    end.expect("no panic").expect("a clean end");
    let tunnels = &world.gateway.gauges().tunnels;
    until("the tunnel's end", || tunnels.get() == 0).await;

    until("the deadline", || clock.now() >= from + LENGTH).await;
    if Arm::of_this_test() != Arm::Mounted {
        // Where another server owns the connection, it asks only when there is room for more.
        world.quiet().await;
    }
    assert_eq!(late.message().await, None, "not all of it");
    let trailers = late.trailers().await;
    assert_eq!(text(&trailers, "grpc-status"), "4", "{trailers:?}");
    assert_eq!(text(&trailers, "grpcrouter-reason"), "deadline");
    world.quiet().await;
}

/// Proves: R10
#[tokio::test]
async fn a_partition_from_the_instance_does_not_delay_the_deadline() {
    let world = World::start().await;
    let proxy = Proxy::before(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![target(&proxy)];
    let (handler, mut seen) = silent();
    let _instance = world.instance_with(config, handler).await;
    let client = world.client().await;
    let before = call(&client, "600m").await;
    seen.expect(Seen::Started).await;

    proxy.stop(Way::Both);
    let clock = Clock::start();
    let from = clock.now();
    let during = call(&client, "300m").await;
    let answer = during.answer().await;
    assert_eq!((answer.status(), answer.reason()), (4, "deadline"));
    assert!(clock.now() - from < Duration::from_millis(1_300));
    let answer = before.answer().await;
    assert_eq!((answer.status(), answer.reason()), (4, "deadline"));
    assert!(clock.now() - from < Duration::from_millis(1_600));
    seen.expect(Seen::Dropped).await;
    world.quiet().await;
}

fn target(proxy: &Proxy) -> Target {
    format!("http://{}", proxy.addr).parse().expect("a target")
}
