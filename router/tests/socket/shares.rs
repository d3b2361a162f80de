//! What a balancer makes of weights, load, and instances that come and go.

use std::collections::BTreeMap;

use grpcrouter::proto::v1::HealthStatus;
use grpcrouter::routing::{Balance, Route, Routes, ServiceRoutes};

use super::support::client::{Client, request};
use super::support::handler::Park;
use super::support::keyed::{Keyed, Place, ask, make};
use super::support::until;

/// Makes so many calls of the key `k`, one after the other; how many each instance had.
async fn count(keyed: &Keyed, client: &Client, calls: usize) -> BTreeMap<String, usize> {
    for n in 0..calls {
        let answer = make(client, ask(Place::Metadata, "k", "k", n as u64)).await;
        assert_eq!(answer.status(), 0, "{answer:?}");
    }
    let mut counts = BTreeMap::new();
    for (name, _) in keyed.logged() {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// The service under its prefix, as `ask` calls it, with one route.
fn probe(route: Route) -> Routes {
    Routes::new().with(
        ServiceRoutes::new("test.Probe")
            .path_prefix("/api/v1")
            .default_route(route),
    )
}

/// Proves: R18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_of_ten_thousand_calls_follow_the_weights_within_two_percent() {
    let weights = [1, 2, 5];
    let keyed = Keyed::with(probe(Route::new()), 3, |n, config| {
        config.weight = weights[n];
    })
    .await;
    let client = keyed.world.client().await;
    let counts = count(&keyed, &client, 10_000).await;
    for (n, weight) in weights.into_iter().enumerate() {
        let due = 10_000 * weight as usize / 8;
        let had = counts[&format!("i{n}")];
        assert!(had.abs_diff(due) <= 200, "{had} of {due} due to i{n}");
    }
}

/// Proves: R18
#[tokio::test]
async fn of_two_instances_the_one_with_fewer_running_calls_takes_the_next() {
    let routes = probe(Route::new().balance(Balance::LeastLoaded));
    let keyed = Keyed::start(routes, 1).await;
    let park = Park::new();
    let busy = keyed.world.instance("busy", park.handler()).await;
    let client = keyed.world.client().await;
    // Three calls stay at the one that never answers.
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut call = request("Ask");
        let pin = "busy".parse().expect("a header");
        call.headers_mut().insert("grpcrouter-instance", pin);
        let mut call = client.open(call).await;
        call.head().await;
        held.push(call);
    }
    let counts = count(&keyed, &client, 200).await;
    assert_eq!(counts, BTreeMap::from([("i0".to_owned(), 200)]));
    // Their ends are seen: once idle, it gets calls again.
    for mut call in held {
        call.reset();
    }
    until("the held calls are gone", || park.waiting() == 0).await;
    keyed.world.quiet().await;
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(client.call("Ask").await);
    }
    // i0's handler waits for the end of its request as well, so one of two calls is at each.
    park.holds(1).await;
    drop(busy);
}

/// Proves: R19
#[tokio::test]
async fn a_hashed_key_goes_elsewhere_when_its_instance_leaves_and_comes_back_with_it() {
    let routes = Place::Metadata.routes(|route| route.balance(Balance::ConsistentHash));
    let mut keyed = Keyed::start(routes, 4).await;
    let client = keyed.world.client().await;
    let owner = async |keyed: &Keyed| {
        let counts = count(keyed, &client, 20).await;
        assert_eq!(counts.len(), 1, "one instance has the key: {counts:?}");
        counts.into_keys().next().expect("one")
    };
    let first = owner(&keyed).await;
    let number: usize = first[1..].parse().expect("a number");
    let left = keyed.instances.remove(number);
    left.handle.drain();
    let gateway = keyed.world.gateway.clone();
    until("it has left", || gateway.instances() == 3).await;
    let second = owner(&keyed).await;
    assert_ne!(second, first);
    let _back = keyed.join(number, |_| {}).await;
    assert_eq!(owner(&keyed).await, first);
}

/// Proves: R19, R20
#[tokio::test]
async fn an_instance_that_is_not_well_gets_no_calls_by_any_choice() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastLoaded,
        Balance::ConsistentHash,
    ] {
        let routes = Place::Metadata.routes(|route| route.balance(balance));
        let keyed = Keyed::start(routes, 2).await;
        let client = keyed.world.client().await;
        let ill = &keyed.instances[0].handle;
        ill.set_health("test.Probe", HealthStatus::Unhealthy);
        // The report is on its way: from its first effect on it holds.
        while count(&keyed, &client, 8).await.contains_key("i0") {}
        let counts = count(&keyed, &client, 50).await;
        assert_eq!(
            counts,
            BTreeMap::from([("i1".to_owned(), 50)]),
            "{balance:?}"
        );
    }
    let keyed = Keyed::start(Place::Metadata.routes(|route| route), 2).await;
    let client = keyed.world.client().await;
    keyed.instances[0]
        .handle
        .set_health("test.Probe", HealthStatus::Unhealthy);
    while make(&client, ask(Place::Metadata, "i0", "i1", 1))
        .await
        .status()
        == 0
    {}
    let answer = make(&client, ask(Place::Metadata, "i0", "i1", 2)).await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
}
