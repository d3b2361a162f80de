//! What an instance's own `grpc.health.v1` says decides what the gateway sends it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use grpcrouter::proto::v1::HealthStatus;
use grpcrouter::{BoxFuture, Clock, Instance, InstanceConfig, RequestBody, TcpDialer};
use http::{Request, Response};
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower_service::Service;

use super::support::client::Client;
use super::support::handler::{Handler, Park, named};
use super::support::within;
use super::support::world::{Running, World};

/// tonic's health service beside a handler of its calls, and one of those that are to be held.
#[derive(Clone)]
struct WithHealth {
    health: HealthServer<HealthService>,
    handler: Handler,
    hold: Handler,
}

impl Service<Request<RequestBody>> for WithHealth {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        if request.uri().path().starts_with("/grpc.health.v1.Health/") {
            return Box::pin(self.health.call(request));
        }
        let answer = match request.uri().path() {
            "/test.Probe/Hold" => self.hold.call(request),
            _ => self.handler.call(request),
        };
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}

fn config(world: &World, id: &str, limit: Duration) -> InstanceConfig {
    let mut config = world.config(id);
    config.health_watch = Some(limit);
    config
}

/// An instance of `test.Probe` whose health service is this reporter's; it answers with its id.
async fn with_health(world: &World, id: &str, reporter: &HealthReporter, park: &Park) -> Running {
    let service = WithHealth {
        health: HealthServer::new(HealthService::from_health_reporter(reporter.clone())),
        handler: named(id),
        hold: park.handler(),
    };
    let config = config(world, id, super::support::LIMIT);
    let (instance, handle) = Instance::new(config, service, Arc::new(TcpDialer), Clock::start());
    let task = tokio::spawn(instance.run());
    let mut counts = handle.registrations();
    within("the registration", counts.wait_for(|counts| counts[0] == 1))
        .await
        .expect("it runs");
    Running { handle, task }
}

async fn says(reporter: &HealthReporter, serving: ServingStatus) {
    reporter.set_service_status("test.Probe", serving).await;
}

async fn until_only(client: &Client, name: &str) {
    within(&format!("calls for {name} alone"), async {
        let mut in_a_row = 0;
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while in_a_row < 10 {
            looks.tick().await;
            let answer = client.unary("Name", b"").await;
            let its = answer.messages == [name];
            in_a_row = if its { in_a_row + 1 } else { 0 };
        }
    })
    .await;
}

/// Proves: R20
#[tokio::test]
async fn an_instance_whose_health_service_says_not_serving_gets_no_new_calls_and_keeps_old_ones() {
    let world = World::start().await;
    let client = world.client().await;
    let (reporter, park) = (HealthReporter::new(), Park::new());
    says(&reporter, ServingStatus::Serving).await;
    let _a = with_health(&world, "a", &reporter, &park).await;
    let old = client.call("Hold").await;
    park.holds(1).await;
    let _b = world.instance("b", named("b")).await;
    says(&reporter, ServingStatus::NotServing).await;
    until_only(&client, "b").await;
    park.holds(1).await;
    park.open();
    assert_eq!(old.answer().await.status(), 0, "the old call went on");
    says(&reporter, ServingStatus::Serving).await;
    within("calls for a again", async {
        while client.unary("Name", b"").await.messages == ["b"] {}
    })
    .await;
}

/// Proves: R20
#[tokio::test]
async fn an_instance_that_is_not_serving_at_first_gets_no_call_before_it_is() {
    let world = World::start().await;
    let client = world.client().await;
    let reporter = HealthReporter::new();
    says(&reporter, ServingStatus::NotServing).await;
    let _a = with_health(&world, "a", &reporter, &Park::new()).await;
    for _ in 0..20 {
        let answer = client.unary("Name", b"").await;
        assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    }
    says(&reporter, ServingStatus::Serving).await;
    until_only(&client, "a").await;
}

#[tokio::test]
async fn a_service_that_the_health_service_learns_of_later_is_watched_from_then_on() {
    let world = World::start().await;
    let client = world.client().await;
    let reporter = HealthReporter::new();
    let a = with_health(&world, "a", &reporter, &Park::new()).await;
    until_only(&client, "a").await;
    a.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    within("no more calls", async {
        while client.unary("Name", b"").await.status() == 0 {}
    })
    .await;
    says(&reporter, ServingStatus::Serving).await;
    until_only(&client, "a").await;
}

#[tokio::test]
async fn a_service_without_health_stays_as_it_was_said_to_be() {
    let world = World::start().await;
    let client = world.client().await;
    let service = Handler::new(|mut call| async move {
        match call.method.as_str() {
            "/test.Probe/Name" => {
                call.head(http::HeaderMap::new());
                call.send(b"a").await;
                call.finish(0, "").await;
            }
            _ => call.trailers_only(http::HeaderMap::new(), 12, "unknown here"),
        }
    });
    let config = config(&world, "a", super::support::LIMIT);
    let a = world.instance_with(config, service).await;
    until_only(&client, "a").await;
    a.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    within("no more calls", async {
        while client.unary("Name", b"").await.status() == 0 {}
    })
    .await;
}

#[tokio::test]
async fn a_service_that_does_not_say_how_it_is_registers_all_the_same() {
    let world = World::start().await;
    let park = Park::new();
    let config = config(&world, "a", Duration::from_millis(50));
    let _a = world.instance_with(config, park.handler()).await;
    assert_eq!(park.waiting(), 0, "it is given up until it is asked again");
    let client = world.client().await;
    let call = client.call("Hold").await;
    park.holds(1).await;
    park.open();
    assert_eq!(call.answer().await.status(), 0);
}

#[tokio::test]
async fn a_service_that_panics_when_it_is_asked_registers_all_the_same() {
    let world = World::start().await;
    let service = Handler::new(|mut call| async move {
        assert_eq!(call.method, "/test.Probe/Name");
        call.head(http::HeaderMap::new());
        call.send(b"a").await;
        call.finish(0, "").await;
    });
    let config = config(&world, "a", super::support::LIMIT);
    let _a = world.instance_with(config, service).await;
    until_only(&world.client().await, "a").await;
}
