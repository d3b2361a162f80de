//! Server reflection: the gateway's, for what live instances serve, and one instance's own.

use bytes::Bytes;
use grpcrouter::{DescriptorLimits, GatewayConfig};
use http::HeaderMap;

use super::support::arms::on_both_arms;
use super::support::client::Client;
use super::support::descriptors::{NOT_FOUND, Reflection, Said, files, probe_set, services};
use super::support::handler::{Handler, named};
use super::support::within;
use super::support::world::{Running, World};

const OWN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// An instance of `test.Probe` that hands these descriptors over.
async fn described(world: &World, id: &str, set: impl Into<Bytes>) -> Running {
    let mut config = world.config(id);
    config.descriptors = Some(set.into());
    world.instance_with(config, named(id)).await
}

/// Asks until the answer is this one: descriptors come after the registration.
async fn until_said(expected: &Said, mut ask: impl AsyncFnMut() -> Said) {
    within(&format!("{expected:?}"), async {
        while ask().await != *expected {}
    })
    .await;
}

async fn leave(world: &World, running: Running) {
    running.handle.drain();
    within("the end", running.task)
        .await
        .expect("no panic")
        .expect("drained");
    let left = world.gateway.clone();
    super::support::until("it has left", move || left.gauges().tunnels.get() == 0).await;
}

/// Proves: R21
#[tokio::test]
async fn the_gateway_answers_reflection_for_the_services_of_its_live_instances() {
    on_both_arms(|arm| async move {
        let world = World::on(arm).await;
        let client = world.client().await;
        for version in ["v1", "v1alpha"] {
            let mut ask = Reflection::open(&client, version, None).await;
            assert_eq!(ask.services().await, services(&OWN));
            assert_eq!(ask.symbol("test.Probe").await, NOT_FOUND);
            let own = format!("grpc.reflection.{version}.ServerReflection");
            assert!(matches!(ask.symbol(&own).await, Said::Files(_)));

            let running = described(&world, version, probe_set("common")).await;
            let mut all = OWN.to_vec();
            all.push("test.Probe");
            assert_eq!(
                ask.services().await,
                services(&all),
                "as soon as it is there"
            );
            let both = files(&["probe.proto", "common.proto"]);
            until_said(&both, async || ask.symbol("test.Probe").await).await;
            assert_eq!(ask.symbol("test.Probe.Echo").await, both);
            assert_eq!(ask.symbol("test.Probe.Other").await, NOT_FOUND);
            let common = files(&["common.proto"]);
            assert_eq!(ask.symbol("test.Message").await, common);
            assert_eq!(ask.file("common.proto").await, common);
            assert_eq!(ask.file("other.proto").await, NOT_FOUND);
            assert_eq!(ask.extension("test.Message", 100).await, common);
            assert_eq!(ask.extension("test.Message", 101).await, NOT_FOUND);
            let numbers = Said::Numbers("test.Message".to_owned(), vec![100]);
            assert_eq!(ask.numbers("test.Message").await, numbers);
            assert_eq!(ask.numbers("test.None").await, NOT_FOUND);

            leave(&world, running).await;
            until_said(&NOT_FOUND, async || ask.symbol("test.Message").await).await;
            assert_eq!(ask.services().await, services(&OWN));
            ask.half_close();
            assert_eq!(ask.end().await["grpc-status"], "0");
        }
    })
    .await;
}

/// Proves: R21
#[tokio::test]
async fn reflection_of_a_named_instance_is_answered_by_that_instance() {
    let (world, client) = World::probe(Handler::new(|mut call| async move {
        assert!(
            call.method
                .ends_with("ServerReflection/ServerReflectionInfo")
        );
        call.head(HeaderMap::new());
        call.finish(3, "of its own").await;
    }))
    .await;
    let _other = described(&world, "b", probe_set("common")).await;
    for version in ["v1", "v1alpha"] {
        let mut ask = Reflection::open(&client, version, Some("a")).await;
        ask.half_close();
        assert_eq!(
            ask.end().await["grpc-status"],
            "3",
            "the gateway never says this"
        );
    }
    world.quiet().await;
}

#[tokio::test]
async fn the_port_for_tunnels_answers_too() {
    let world = World::start().await;
    let _a = described(&world, "a", probe_set("common")).await;
    let client = Client::connect(world.tunnels).await;
    let mut ask = Reflection::open(&client, "v1", None).await;
    until_said(&files(&["common.proto"]), async || {
        ask.symbol("test.Message").await
    })
    .await;
}

#[tokio::test]
async fn of_conflicting_sets_the_first_answers_and_takes_its_files_along() {
    let world = World::start().await;
    let client = world.client().await;
    let first = described(&world, "first", probe_set("one")).await;
    let mut ask = Reflection::open(&client, "v1", None).await;
    let (one, two) = (
        files(&["probe.proto", "one.proto"]),
        files(&["probe.proto", "two.proto"]),
    );
    until_said(&one, async || ask.symbol("test.Probe").await).await;
    let _second = described(&world, "second", probe_set("two")).await;
    let twin = described(&world, "twin", probe_set("one")).await;
    until_said(&files(&["two.proto"]), async || ask.file("two.proto").await).await;
    assert_eq!(
        ask.symbol("test.Message").await,
        files(&["two.proto"]),
        "as the last answer"
    );
    assert_eq!(ask.file("one.proto").await, files(&["one.proto"]));
    let mut anew = Reflection::open(&client, "v1", None).await;
    assert_eq!(anew.symbol("test.Probe").await, one);

    first.handle.drain();
    within("its end", first.task)
        .await
        .expect("no panic")
        .expect("drained");
    assert_eq!(
        anew.symbol("test.Probe").await,
        one,
        "its twin has them too"
    );
    twin.handle.drain();
    until_said(&two, async || anew.symbol("test.Probe").await).await;
    assert_eq!(anew.file("one.proto").await, NOT_FOUND);
}

#[tokio::test]
async fn an_instance_with_bad_descriptors_serves_all_the_same() {
    let config = GatewayConfig {
        descriptors: DescriptorLimits {
            max_set: 1_000,
            ..DescriptorLimits::default()
        },
        ..GatewayConfig::default()
    };
    let world = World::with(config).await;
    let client = world.client().await;
    let bad: [Bytes; 3] = [
        Bytes::from_static(b"no descriptors at all"),
        vec![0; 1_001].into(),
        Bytes::new(),
    ];
    for set in bad {
        let running = described(&world, "a", set).await;
        let mut ask = Reflection::open(&client, "v1", None).await;
        for _ in 0..10 {
            assert_eq!(client.unary("Name", b"").await.messages, ["a"]);
            assert_eq!(ask.symbol("test.Probe").await, NOT_FOUND);
        }
        leave(&world, running).await;
    }
    let _good = described(&world, "b", probe_set("common")).await;
    let mut ask = Reflection::open(&client, "v1", None).await;
    until_said(&files(&["common.proto"]), async || {
        ask.symbol("test.Message").await
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_reflection_ends_when_the_gateway_drains() {
    let world = World::start().await;
    let client = world.client().await;
    let mut ask = Reflection::open(&client, "v1", None).await;
    ask.services().await;
    let draining = world.gateway.clone();
    tokio::spawn(async move { draining.drain().await });
    assert_eq!(within("its end", ask.end()).await["grpc-status"], "0");
}
