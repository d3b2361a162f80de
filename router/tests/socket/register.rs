//! From a registration to the first call, and what the registry knows after a gateway's death.

use std::time::Duration;

use grpcrouter::InstanceConfig;
use grpcrouter::proto::v1::HealthStatus;

use super::support::client::pinned;
use super::support::fault::Proxy;
use super::support::handler::named;
use super::support::mortal::Mortal;
use super::support::scripted::{Scripted, dial};
use super::support::world::{Running, World};
use super::support::{until, within};

/// Proves: T1
#[tokio::test]
async fn a_call_right_after_the_acknowledgement_reaches_the_instance() {
    let world = World::start().await;
    let client = world.client().await;
    let mut running = Vec::new();
    for round in 0..50 {
        let id = format!("i{round}");
        running.push(world.instance(&id, named(&id)).await);
        let answer = pinned(&client, &id).await;
        assert_eq!(answer.status(), 0, "registered is routable: {answer:?}");
        assert_eq!(
            answer.messages,
            [id],
            "it is the instance that was asked for"
        );
    }
    assert_eq!(world.gateway.instances(), 50);
}

/// Proves: T1
#[tokio::test]
async fn no_call_is_lost_between_the_acknowledgement_and_its_arrival() {
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let client = world.client().await;
    assert_eq!(client.unary("Name", b"").await.reason(), "no-instance");
    let running = acknowledged_but_unaware(&world, &proxy, config).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let mut call = client.call("Name").await;
        call.send(b"").await;
        call.half_close();
        calls.push(call);
    }
    until("the gateway has the calls", || {
        world.gateway.gauges().calls.get() == 20
    })
    .await;
    proxy.silence(false, false);
    for call in calls {
        let answer = call.answer().await;
        assert_eq!(
            answer.status(),
            0,
            "opened before the instance knew: {answer:?}"
        );
    }
    assert_eq!(*running.handle.registrations().borrow(), [1]);
}

/// Proves: T9
#[tokio::test]
async fn a_restarted_gateway_knows_only_those_who_come_back() {
    let mortal = Mortal::start().await;
    let stays = mortal.world.instance("stays", named("stays")).await;
    let goes = mortal.world.instance("goes", named("goes")).await;
    assert_eq!(mortal.world.gateway.instances(), 2);
    let ports = mortal.kill().await;
    goes.handle.drain();
    within("the end of the other", goes.task)
        .await
        .expect("no panic")
        .expect("drained");
    let mortal = Mortal::start_at(ports).await;
    let mut counts = stays.handle.registrations();
    let again = counts.wait_for(|counts| counts[0] == 2);
    within("the registration after the restart", again)
        .await
        .expect("the instance runs");
    assert_eq!(mortal.world.gateway.instances(), 1, "nothing is remembered");
    let client = mortal.world.client().await;
    for _ in 0..10 {
        assert_eq!(client.unary("Name", b"").await.messages, ["stays"]);
    }
    let answer = pinned(&client, "goes").await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
}

/// Proves: R20
#[tokio::test]
async fn health_that_changes_during_the_handshake_reaches_the_gateway() {
    let world = World::start().await;
    let proxy = Proxy::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![proxy.target()];
    let running = acknowledged_but_unaware(&world, &proxy, config).await;
    running
        .handle
        .set_health("test.Probe", HealthStatus::Unhealthy);
    proxy.silence(false, false);
    let client = world.client().await;
    within("no more calls for it", async {
        while client.unary("Name", b"").await.status() == 0 {}
    })
    .await;
}

/// Starts an instance whose registration stands, while the acknowledgement is held on the link.
async fn acknowledged_but_unaware(world: &World, proxy: &Proxy, config: InstanceConfig) -> Running {
    proxy.slow(Duration::from_millis(100));
    let running = World::spawn(config, named("a"));
    let registered = || world.gateway.instances() == 1;
    until("the gateway has registered it", registered).await;
    proxy.silence(false, true);
    proxy.slow(Duration::ZERO);
    assert_eq!(
        *running.handle.registrations().borrow(),
        [0],
        "it has not heard of it"
    );
    running
}

#[tokio::test]
async fn tunnels_on_one_connection_leave_each_other_its_window() {
    let world = World::start().await;
    // HTTP/2's own window for all of a connection is 65,535 bytes, less than one tunnel may ask for.
    let connection = dial(world.tunnels, 1 << 20).await;
    let mut tunnels = Vec::new();
    for id in ["a", "b", "c"] {
        tunnels.push(Scripted::register_on(connection.clone(), id).await);
    }
    assert_eq!(world.gateway.instances(), 3);
}
