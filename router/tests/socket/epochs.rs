//! Who owns an id: the later registration, at once and for good.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter::proto::v1::{
    Epoch, ErrorResponse, InstanceInfo, RegisterRequest, RegisterResponse, Revisions, ServiceInfo,
    register_request, register_response,
};
use grpcrouter::{Clock, InstanceError};
use http::Request;
use prost::Message;

use super::support::client::{Client, Exchange, pinned};
use super::support::fault::Proxy;
use super::support::handler::{Park, named};
use super::support::world::World;
use super::support::{until, within};

/// Proves: T2
#[tokio::test]
async fn a_later_process_takes_the_id_and_the_earlier_one_stops_for_good() {
    let park = Park::new();
    let world = World::start().await;
    let old = world.instance("a", park.handler()).await;
    let client = world.client().await;
    let mut running = client.call("Hold").await;
    running.head().await;
    let new = world.instance("a", named("new")).await;
    let end = within("the end of the old process", old.task)
        .await
        .expect("no panic");
    assert!(
        matches!(&end, Err(InstanceError::Superseded { id, .. }) if id == "a"),
        "the old process knows why: {end:?}"
    );
    let lost = running.trailers().await;
    assert_eq!(lost["grpc-status"], "14", "its calls end: {lost:?}");
    assert_eq!(lost["grpcrouter-reason"], "instance-lost");
    park.holds(0).await;
    for _ in 0..20 {
        assert_eq!(pinned(&client, "a").await.messages, ["new"]);
    }
    assert_eq!(world.gateway.instances(), 1, "never two owners");
    assert_eq!(
        *new.handle.registrations().borrow(),
        [1],
        "and no flip-flop"
    );
}

/// Proves: T2
#[tokio::test]
async fn an_earlier_epoch_is_refused_while_a_later_one_is_alive() {
    let world = World::start().await;
    let config = world.config("a");
    let same = config.epoch;
    let owner = world.instance_with(config, named("owner")).await;
    let earlier = Epoch {
        started_us: same.started_us - 1,
        attempt: u64::MAX,
    };
    for epoch in [earlier, same] {
        let error = refusal(&world, "a", epoch).await;
        let already_exists = tonic::Code::AlreadyExists as u32;
        assert_eq!(error.code, already_exists, "{epoch:?}: {error:?}");
    }
    let client = world.client().await;
    assert_eq!(
        pinned(&client, "a").await.messages,
        ["owner"],
        "it is untouched"
    );
    let refused = world.gateway.metrics().refused_registrations;
    assert_eq!(refused, [("stale-epoch", 2)].into());
    assert_eq!(*owner.handle.registrations().borrow(), [1]);
}

#[tokio::test]
async fn who_registers_while_the_gateway_drains_is_sent_elsewhere_and_counted() {
    let world = World::start().await;
    let tunnel = tunnel(&world).await;
    let client = world.client().await;
    let gateway = world.gateway.clone();
    let drain = tokio::spawn(async move { gateway.drain().await });
    within("GOAWAY", client.closing()).await;
    let epoch = grpcrouter::first_epoch();
    let error = refusal_on(tunnel, "a", epoch).await;
    assert_eq!(error.code, tonic::Code::Unavailable as u32, "{error:?}");
    let refused = world.gateway.metrics().refused_registrations;
    assert_eq!(refused, [("draining", 1)].into());
    assert_eq!(
        within("the end of the drain", drain)
            .await
            .expect("no panic"),
        0
    );
}

/// Proves: T2
#[tokio::test]
async fn a_refused_earlier_process_waits_two_heartbeat_intervals_and_asks_again() {
    let world = World::start().await;
    let owner = world.instance("a", named("owner")).await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.epoch = Epoch {
        started_us: 1,
        attempt: 0,
    };
    config.gateways = vec![proxy.target()];
    config.tunnel.heartbeat_interval = Duration::from_millis(250);
    let refused = World::spawn(config, named("earlier"));
    until("the first attempt", || proxy.dialled() == 1).await;
    let clock = Clock::start();
    until("the second attempt", || proxy.dialled() == 2).await;
    let waited = clock.now().since(grpcrouter_core::Time::ZERO);
    assert!(
        waited >= Duration::from_millis(450),
        "it came back after {waited:?}"
    );
    assert!(
        !refused.task.is_finished(),
        "to be refused for now is not final"
    );
    owner.handle.drain();
    within("the end of the owner", owner.task)
        .await
        .expect("no panic")
        .expect("drained");
    let mut counts = refused.handle.registrations();
    let registered = counts.wait_for(|counts| counts[0] == 1);
    within("its turn", registered).await.expect("it runs");
    let client = world.client().await;
    assert_eq!(pinned(&client, "a").await.messages, ["earlier"]);
}

/// Proves: T3
#[tokio::test]
async fn a_reconnect_replaces_a_tunnel_whose_death_the_gateway_has_not_noticed() {
    let mut config = grpcrouter::GatewayConfig::default();
    config.tunnel.heartbeat_interval = Duration::from_secs(3_600);
    let world = World::with(config).await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let park = Park::new();
    let running = world.instance_with(config, park.handler()).await;
    let client = world.client().await;
    let mut lost = client.call("Hold").await;
    lost.head().await;
    proxy.half_cut();
    let mut counts = running.handle.registrations();
    let again = counts.wait_for(|counts| counts[0] == 2);
    within("the next registration", again)
        .await
        .expect("it runs");
    assert_eq!(
        world.gateway.instances(),
        1,
        "the stale tunnel is gone at once"
    );
    assert_eq!(lost.trailers().await["grpcrouter-reason"], "instance-lost");
    park.open();
    assert_eq!(client.call("Hold").await.answer().await.status(), 0);
    assert!(
        !running.task.is_finished(),
        "its own successor does not supersede it"
    );
    world.quiet().await;
}

/// Proves: T3
#[tokio::test]
async fn what_a_replaced_tunnel_still_says_is_discarded() {
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let park = Park::new();
    let old = world.instance_with(config, park.handler()).await;
    let client = world.client().await;
    let mut call = client.call("Hold").await;
    call.head().await;
    proxy.silence(true, true);
    park.open();
    park.holds(0).await;
    let _new = world.instance("a", named("new")).await;
    let lost = call.trailers().await;
    assert_eq!(
        lost["grpc-status"], "14",
        "the answer was under way, and comes too late"
    );
    proxy.silence(false, false);
    let end = within("the end of the old process", old.task)
        .await
        .expect("no panic");
    assert!(
        matches!(end, Err(InstanceError::Superseded { .. })),
        "{end:?}"
    );
    assert_eq!(pinned(&client, "a").await.messages, ["new"]);
    assert_eq!(world.gateway.instances(), 1);
}

/// Registers by hand, and returns why the gateway refuses.
async fn refusal(world: &World, id: &str, epoch: Epoch) -> ErrorResponse {
    refusal_on(tunnel(world).await, id, epoch).await
}

/// A tunnel on which nothing has been said.
async fn tunnel(world: &World) -> Exchange {
    let request = Request::post("http://gateway/grpcrouter.v1.Router/Register")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut tunnel = Client::connect(world.tunnels).await.open(request).await;
    tunnel.head().await;
    tunnel
}

async fn refusal_on(mut tunnel: Exchange, id: &str, epoch: Epoch) -> ErrorResponse {
    let info = InstanceInfo {
        instance_id: id.to_owned(),
        epoch: Some(epoch),
        services: vec![ServiceInfo {
            name: "test.Probe".into(),
            ..ServiceInfo::default()
        }],
        revisions: Some(Revisions { min: 1, max: 1 }),
        ..InstanceInfo::default()
    };
    let frame = Some(register_request::Frame::InstanceInfo(info));
    tunnel
        .send(&RegisterRequest { frame }.encode_to_vec())
        .await;
    loop {
        let message: Bytes = tunnel.message().await.expect("a refusal");
        match RegisterResponse::decode(message).expect("a frame").frame {
            Some(register_response::Frame::Error(error)) => return error,
            Some(register_response::Frame::Ack(_)) => panic!("{epoch:?} was accepted"),
            _ => {}
        }
    }
}
