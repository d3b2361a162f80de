//! `grpcrouter.v1.Router` on the port for tunnels: who is there, and what changes.

use grpcrouter::proto::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthStatus, InstanceEvent, ListInstancesRequest,
    ListInstancesResponse, WatchInstancesRequest, instance_event::Kind,
};
use http::Request;
use prost::Message;

use super::support::client::{Client, Exchange};
use super::support::handler::Handler;
use super::support::until;
use super::support::world::World;

async fn ask(client: &Client, method: &str, message: impl Message) -> Exchange {
    let request = Request::post(format!("http://gw/grpcrouter.v1.Router/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut call = client.open(request).await;
    call.send(&message.encode_to_vec()).await;
    call.half_close();
    call
}

async fn answer<M: Message + Default>(client: &Client, method: &str, message: impl Message) -> M {
    let answer = ask(client, method, message).await.answer().await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    M::decode(answer.messages[0].clone()).expect("a message")
}

async fn list(client: &Client, service: &str) -> (Vec<String>, u64) {
    let request = ListInstancesRequest {
        service: service.to_owned(),
        ..ListInstancesRequest::default()
    };
    let list: ListInstancesResponse = answer(client, "ListInstances", request).await;
    let ids = list
        .instances
        .into_iter()
        .map(|instance| instance.instance_id);
    (ids.collect(), list.revision)
}

async fn event(watch: &mut Exchange) -> InstanceEvent {
    let message = watch.message().await.expect("the watch goes on");
    InstanceEvent::decode(message).expect("a message")
}

fn id(event: &InstanceEvent) -> &str {
    event
        .instance
        .as_ref()
        .map_or("", |instance| &instance.instance_id)
}

#[tokio::test]
async fn the_list_names_who_offers_a_service() {
    let world = World::start().await;
    let client = Client::connect(world.tunnels).await;
    assert_eq!(list(&client, "").await, (vec![], 0));
    world.instance("b", Handler::echo()).await;
    let mut config = world.config("a");
    config.services = vec!["test.Other".to_owned()];
    config.labels.insert("zone".to_owned(), "x".to_owned());
    world.instance_with(config, Handler::echo()).await;
    assert_eq!(
        list(&client, "").await,
        (vec!["a".to_owned(), "b".to_owned()], 2)
    );
    assert_eq!(list(&client, "test.Probe").await.0, ["b"]);
    assert_eq!(list(&client, "test.None").await.0, [""; 0]);
    let request = ListInstancesRequest {
        service: "test.Other".to_owned(),
        ..ListInstancesRequest::default()
    };
    let all: ListInstancesResponse = answer(&client, "ListInstances", request).await;
    assert_eq!(all.instances[0].labels["zone"], "x");
}

#[tokio::test]
async fn a_watch_is_a_snapshot_and_then_every_change_in_order() {
    let world = World::start().await;
    let client = Client::connect(world.tunnels).await;
    let a = world.instance("a", Handler::echo()).await;
    let everything = WatchInstancesRequest::default();
    let mut watch = ask(&client, "WatchInstances", everything).await;
    watch.head().await;
    let first = event(&mut watch).await;
    assert_eq!(
        (first.kind(), id(&first), first.revision),
        (Kind::Added, "a", 1)
    );
    let end = event(&mut watch).await;
    assert_eq!(
        (end.kind(), end.instance, end.revision),
        (Kind::SnapshotEnd, None, 1)
    );

    a.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    let ill = event(&mut watch).await;
    assert_eq!(
        (ill.kind(), id(&ill), ill.revision),
        (Kind::Updated, "a", 2)
    );
    assert_eq!(
        ill.instance.expect("an instance").services[0].health(),
        HealthStatus::Unhealthy
    );
    let b = world.instance("b", Handler::echo()).await;
    let joined = event(&mut watch).await;
    assert_eq!(
        (joined.kind(), id(&joined), joined.revision),
        (Kind::Added, "b", 3)
    );
    b.handle.drain();
    let drains = event(&mut watch).await;
    assert_eq!(
        (drains.kind(), id(&drains), drains.revision),
        (Kind::Updated, "b", 4)
    );
    assert!(drains.instance.expect("an instance").draining);
    let left = event(&mut watch).await;
    assert_eq!(
        (left.kind(), id(&left), left.revision),
        (Kind::Removed, "b", 5)
    );
    assert_eq!(
        list(&client, "").await.1,
        5,
        "the list is of the same revisions"
    );
}

#[tokio::test]
async fn a_watch_of_a_service_hears_of_no_other() {
    let world = World::start().await;
    let client = Client::connect(world.tunnels).await;
    let request = WatchInstancesRequest {
        service: "test.Probe".to_owned(),
        ..WatchInstancesRequest::default()
    };
    let mut watch = ask(&client, "WatchInstances", request).await;
    watch.head().await;
    assert_eq!(event(&mut watch).await.kind(), Kind::SnapshotEnd);
    let mut config = world.config("other");
    config.services = vec!["test.Other".to_owned()];
    world.instance_with(config, Handler::echo()).await;
    world.instance("a", Handler::echo()).await;
    let added = event(&mut watch).await;
    assert_eq!(
        (id(&added), added.revision),
        ("a", 2),
        "revisions count all changes"
    );
}

#[tokio::test]
async fn a_watch_of_a_health_hears_when_instances_begin_and_cease_to_match() {
    let world = World::start().await;
    let client = Client::connect(world.tunnels).await;
    let mut config = world.config("a");
    config.labels.insert("zone".to_owned(), "x".to_owned());
    let a = world.instance_with(config, Handler::echo()).await;
    let b = world.instance("b", Handler::echo()).await;
    let labels = [("zone".to_owned(), "x".to_owned())].into();
    let request = WatchInstancesRequest {
        service: "test.Probe".to_owned(),
        health: HealthStatus::Unhealthy.into(),
        labels,
    };
    let mut watch = ask(&client, "WatchInstances", request.clone()).await;
    watch.head().await;
    assert_eq!(event(&mut watch).await.kind(), Kind::SnapshotEnd);
    b.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    for (health, kind) in [
        (HealthStatus::Unhealthy, Kind::Added),
        (HealthStatus::Healthy, Kind::Removed),
        (HealthStatus::Unhealthy, Kind::Added),
    ] {
        a.handle.set_health("test.Probe", health);
        let told = event(&mut watch).await;
        assert_eq!((told.kind(), id(&told)), (kind, "a"));
        let instance = told.instance.expect("an instance");
        assert_eq!(instance.services[0].health(), health, "as it is now");
    }
    let request = ListInstancesRequest {
        service: request.service,
        health: request.health,
        labels: request.labels,
    };
    let found: ListInstancesResponse = answer(&client, "ListInstances", request).await;
    assert_eq!(found.instances.len(), 1);
    let request = ListInstancesRequest {
        health: 9,
        ..ListInstancesRequest::default()
    };
    let refused = ask(&client, "ListInstances", request).await.answer().await;
    assert_eq!((refused.status(), refused.reason()), (3, "bad-request"));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off() {
    const RESOURCE_EXHAUSTED: &str = "8";
    let world = World::start().await;
    let a = world.instance("a", Handler::echo()).await;
    // It grants 100 bytes, and takes nothing until the end.
    let client = Client::with(world.tunnels, |settings| {
        settings.initial_window_size(100);
    })
    .await;
    let everything = WatchInstancesRequest::default();
    let mut watch = ask(&client, "WatchInstances", everything).await;
    watch.head().await;
    let reader = Client::connect(world.tunnels).await;
    let (mut changes, mut ill) = (0, false);
    while changes < 3_000 {
        ill = !ill;
        let health = match ill {
            true => HealthStatus::Unhealthy,
            false => HealthStatus::Healthy,
        };
        a.handle.set_health("test.Probe", health);
        // Only what reached the gateway is a change.
        changes = list(&reader, "").await.1;
    }
    let mut events = 0;
    while watch.message().await.is_some() {
        events += 1;
    }
    let trailers = watch.trailers().await;
    assert_eq!(trailers["grpc-status"], RESOURCE_EXHAUSTED);
    assert!(
        events < 1_000,
        "{events} events were kept for one who did not read"
    );
    let mut again = ask(&client, "WatchInstances", WatchInstancesRequest::default()).await;
    again.head().await;
    assert_eq!(id(&event(&mut again).await), "a", "it starts over");
}

#[tokio::test]
async fn health_is_told_of_instances_and_of_services() {
    let world = World::start().await;
    let client = Client::connect(world.tunnels).await;
    let a = world.instance("a", Handler::echo()).await;
    world.instance("b", Handler::echo()).await;
    let health = async |instance: &str, service: &str| {
        let request = HealthCheckRequest {
            instance_id: instance.to_owned(),
            service: service.to_owned(),
        };
        let response: HealthCheckResponse = answer(&client, "HealthCheck", request).await;
        response.status()
    };
    assert_eq!(health("", "").await, HealthStatus::Healthy, "the gateway");
    assert_eq!(health("a", "").await, HealthStatus::Healthy);
    assert_eq!(health("a", "test.Other").await, HealthStatus::Unknown);
    assert_eq!(health("nobody", "").await, HealthStatus::Unknown);
    a.handle.set_health("test.Probe", HealthStatus::Starting);
    while health("a", "test.Probe").await != HealthStatus::Starting {}
    assert_eq!(health("b", "test.Probe").await, HealthStatus::Healthy);
    assert_eq!(
        health("", "test.Probe").await,
        HealthStatus::Healthy,
        "b serves it"
    );
    assert_eq!(health("", "test.Other").await, HealthStatus::Unknown);
    until("both are there", || world.gateway.instances() == 2).await;
}
