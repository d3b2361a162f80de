//! Where a call goes, and what it gets when it goes nowhere.

use std::time::Duration;

use grpcrouter::Clock;
use http::{HeaderMap, Request};

use super::support::client::text;
use super::support::handler::Handler;
use super::support::world::World;

fn unimplemented() -> Handler {
    Handler::new(|mut call| async move {
        let message = format!("the instance has no {}", call.method);
        call.trailers_only(HeaderMap::new(), 12, &message);
    })
}

/// Proves: R2
#[tokio::test]
async fn an_unknown_method_of_a_known_service_is_for_the_instance_to_refuse() {
    let (world, client) = World::probe(unimplemented()).await;
    let answer = client.empty("/test.Probe/NoSuchMethod").await;
    assert_eq!(answer.status(), 12);
    assert_eq!(
        text(&answer.trailers, "grpc-message"),
        "the instance has no /test.Probe/NoSuchMethod"
    );
    assert_eq!(answer.reason(), "", "the status is not the gateway's");
    world.quiet().await;
}

/// Proves: R4, R6
#[tokio::test]
async fn without_any_instance_a_call_fails_at_once_and_may_be_tried_again() {
    let world = World::start().await;
    let client = world.client().await;
    let clock = Clock::start();
    let from = clock.now();
    let answer = client.empty("/test.Probe/Echo").await;
    assert!(
        clock.now() - from < Duration::from_millis(500),
        "not a hang"
    );
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    assert!(answer.head.is_none(), "trailers only");
    world.quiet().await;
}

/// Proves: R4, R5
#[tokio::test]
async fn an_unknown_service_is_unimplemented_once_services_are_declared() {
    let (world, client) = World::probe(Handler::echo()).await;
    let answer = client.empty("/test.Other/Echo").await;
    assert_eq!((answer.status(), answer.reason()), (12, "unknown-service"));

    // The service is known, but who serves it is gone: that may change again.
    let pinned = Request::post("http://probe.test/test.Probe/Echo")
        .header("content-type", "application/grpc")
        .header("grpcrouter-instance", "nobody")
        .body(())
        .expect("a request");
    let mut pinned = client.open(pinned).await;
    pinned.half_close();
    let answer = pinned.answer().await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    assert_eq!(
        text(&answer.trailers, "grpc-message"),
        "no live instance of the id that the call names serves it"
    );
    world.quiet().await;
}

/// Proves: R5
#[tokio::test]
async fn an_instance_of_everything_gets_what_nobody_declared() {
    let world = World::start().await;
    world.instance("a", Handler::echo()).await;
    let mut config = world.config("any");
    config.services = vec!["*".to_owned()];
    world.instance_with(config, unimplemented()).await;
    let client = world.client().await;
    let answer = client.empty("/test.Other/Do").await;
    assert_eq!(answer.status(), 12);
    assert_eq!(
        text(&answer.trailers, "grpc-message"),
        "the instance has no /test.Other/Do"
    );
    assert_eq!(
        answer.reason(),
        "",
        "the instance refused it, not the gateway"
    );
    let named = client.unary("Echo", b"for a").await;
    assert_eq!(named.messages, ["for a"], "a declared name comes first");
    world.quiet().await;
}

/// An instance's own `grpcrouter-reason` is nobody's to forge, wherever it puts it.
#[tokio::test]
async fn a_reason_is_only_ever_the_gateways() {
    let forged = || {
        let mut headers = HeaderMap::new();
        headers.insert("grpcrouter-reason", "no-instance".parse().expect("a value"));
        headers.insert("kept", "yes".parse().expect("a value"));
        headers
    };
    let handler = Handler::new(move |mut call| async move {
        if call.method.ends_with("TrailersOnly") {
            return call.trailers_only(forged(), 14, "");
        }
        call.head(forged());
        call.finish_with(forged(), 14, "").await;
    });
    let (world, client) = World::probe(handler).await;
    for method in ["TrailersOnly", "Whole"] {
        let answer = client.unary(method, b"").await;
        assert_eq!((answer.status(), answer.reason()), (14, ""), "{method}");
        let head = answer.head.unwrap_or_default();
        assert!(!head.contains_key("grpcrouter-reason"), "{method}");
        assert_eq!(text(&answer.trailers, "kept"), "yes", "{method}");
    }
    world.quiet().await;
}
