//! Health: the gateway's own, of every service that it routes, and of one instance that a client names.

use grpcrouter::proto::v1::HealthStatus;
use http::{HeaderMap, Request};
use prost::Message;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::support::client::{Answer, Client, Exchange};
use super::support::handler::Handler;
use super::support::until;
use super::support::world::World;

const UNKNOWN: i32 = 0;
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

async fn ask(client: &Client, method: &str, service: &str, instance: Option<&str>) -> Exchange {
    let mut request = Request::post(format!("http://gw/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(instance) = instance {
        request = request.header("grpcrouter-instance", instance);
    }
    let mut call = client.open(request.body(()).expect("a request")).await;
    let message = HealthCheckRequest {
        service: service.to_owned(),
    };
    call.send(&message.encode_to_vec()).await;
    call.half_close();
    call
}

fn status_of(message: &[u8]) -> i32 {
    HealthCheckResponse::decode(message)
        .expect("a message")
        .status
}

fn checked(answer: &Answer) -> Result<i32, u32> {
    match answer.status() {
        0 => Ok(status_of(&answer.messages[0])),
        code => Err(code),
    }
}

async fn check(client: &Client, service: &str) -> Result<i32, u32> {
    checked(&ask(client, "Check", service, None).await.answer().await)
}

/// Proves: R20
#[tokio::test]
async fn a_check_says_what_the_gateway_can_route() {
    const NOT_FOUND: u32 = 5;
    let world = World::start().await;
    let client = world.client().await;
    assert_eq!(check(&client, "").await, Ok(SERVING), "the gateway itself");
    assert_eq!(check(&client, "test.Probe").await, Err(NOT_FOUND));

    let a = world.instance("a", Handler::echo()).await;
    let b = world.instance("b", Handler::echo()).await;
    assert_eq!(check(&client, "test.Probe").await, Ok(SERVING));
    assert_eq!(check(&client, "test.Other").await, Err(NOT_FOUND));

    let tunnels = Client::connect(world.tunnels).await;
    for handle in [&a.handle, &b.handle] {
        assert_eq!(
            check(&tunnels, "test.Probe").await,
            Ok(SERVING),
            "one is enough"
        );
        handle.set_health("test.Probe", HealthStatus::Unhealthy);
    }
    let mut status = Ok(SERVING);
    while status != Ok(NOT_SERVING) {
        status = check(&client, "test.Probe").await;
        assert!(matches!(status, Ok(SERVING | NOT_SERVING)), "{status:?}");
    }
    let answer = client.unary("Echo", b"").await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    assert_eq!(check(&client, "").await, Ok(SERVING), "the gateway itself");
}

/// Proves: R20
#[tokio::test]
async fn a_watch_says_each_change_once() {
    let world = World::start().await;
    let client = world.client().await;
    let mut probe = ask(&client, "Watch", "test.Probe", None).await;
    let mut gateway = ask(&client, "Watch", "", None).await;
    probe.head().await;
    gateway.head().await;
    let mut next = async || status_of(&probe.message().await.expect("the watch goes on"));
    assert_eq!(next().await, SERVICE_UNKNOWN);
    let a = world.instance("a", Handler::echo()).await;
    assert_eq!(next().await, SERVING);
    // Another one changes nothing.
    let b = world.instance("b", Handler::echo()).await;
    b.handle.drain();
    until("b has left", || world.gateway.instances() == 1).await;
    a.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    assert_eq!(next().await, NOT_SERVING);
    a.handle.set_health("test.Probe", HealthStatus::Healthy);
    assert_eq!(next().await, SERVING);
    a.handle.drain();
    // While it drains nobody takes calls of the service, then nobody has it.
    let mut last = next().await;
    if last == NOT_SERVING {
        last = next().await;
    }
    assert_eq!(last, SERVICE_UNKNOWN);

    assert_eq!(
        status_of(&gateway.message().await.expect("the watch goes on")),
        SERVING
    );
    let draining = world.gateway.clone();
    tokio::spawn(async move { draining.drain().await });
    let last = gateway.message().await.expect("the watch goes on");
    assert_eq!(
        status_of(&last),
        NOT_SERVING,
        "a gateway that drains says so"
    );
}

/// An instance that answers health checks, and nothing but `test.Probe` otherwise.
fn with_health() -> Handler {
    Handler::new(|mut call| async move {
        match call.method.as_str() {
            "/grpc.health.v1.Health/Check" => {
                let request = call.message().await.expect("a message");
                let request = HealthCheckRequest::decode(request).expect("a message");
                assert_eq!(request.service, "test.Inner");
                let response = HealthCheckResponse { status: UNKNOWN };
                call.head(HeaderMap::new());
                call.send(&response.encode_to_vec()).await;
                call.finish(0, "").await;
            }
            _ => call.trailers_only(HeaderMap::new(), 12, "unknown here"),
        }
    })
}

/// Proves: R21
#[tokio::test]
async fn a_check_of_a_named_instance_is_answered_by_that_instance() {
    let (world, client) = World::probe(with_health()).await;
    let other = world.instance("b", Handler::echo()).await;
    let ask = async |instance| {
        let call = ask(&client, "Check", "test.Inner", Some(instance)).await;
        call.answer().await
    };
    assert_eq!(
        checked(&ask("a").await),
        Ok(UNKNOWN),
        "the gateway never says this"
    );
    let answer = ask("nobody").await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));

    // Also of one that says it is not well: that is when people ask.
    other
        .handle
        .set_health("test.Probe", HealthStatus::Unhealthy);
    let answer = ask("b").await;
    assert_eq!((answer.status(), answer.reason()), (0, ""), "b echoes");
    // Whatever else it did not declare stays its own.
    let mut request = Request::post("http://gw/test.Inner/Do")
        .header("content-type", "application/grpc")
        .body(())
        .expect("a request");
    request
        .headers_mut()
        .insert("grpcrouter-instance", "a".parse().expect("a value"));
    let mut call = client.open(request).await;
    call.half_close();
    let answer = call.answer().await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    world.quiet().await;
}
