//! Round robin over the instances that are there.

use std::collections::BTreeMap;

use grpcrouter::proto::v1::HealthStatus;
use http::HeaderMap;

use super::support::client::Client;
use super::support::handler::Handler;
use super::support::until;
use super::support::world::World;

/// Answers with its name.
fn named(name: &'static str) -> Handler {
    Handler::new(move |mut call| async move {
        while call.message().await.is_some() {}
        call.head(HeaderMap::new());
        call.send(name.as_bytes()).await;
        call.finish(0, "").await;
    })
}

/// Who answers so many calls, in order.
async fn who(client: &Client, calls: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..calls {
        let answer = client.unary("Who", b"").await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        names.push(String::from_utf8(answer.messages[0].to_vec()).expect("a name"));
    }
    names
}

/// Every run of as many calls as there are instances has each of them once.
fn assert_exact(names: &[String], instances: &[&str]) {
    for cycle in names.windows(instances.len()) {
        let mut cycle: Vec<&str> = cycle.iter().map(String::as_str).collect();
        cycle.sort_unstable();
        assert_eq!(cycle, instances, "one turn each: {names:?}");
    }
}

/// Proves: R18
#[tokio::test]
async fn every_instance_has_one_turn_a_cycle_as_others_come_and_go() {
    let world = World::start().await;
    let _a = world.instance("a", named("a")).await;
    let b = world.instance("b", named("b")).await;
    let c = world.instance("c", named("c")).await;
    let client = world.client().await;
    assert_exact(&who(&client, 30).await, &["a", "b", "c"]);

    // One that leaves in the middle of a cycle.
    let mut names = who(&client, 1).await;
    b.handle.drain();
    until("b has left", || world.gateway.instances() == 2).await;
    names.extend(who(&client, 20).await);
    assert_exact(&names[1..], &["a", "c"]);

    // One that joins in the middle of a cycle.
    let _d = world.instance("d", named("d")).await;
    let names = who(&client, 30).await;
    assert_exact(&names[3..], &["a", "c", "d"]);
    let count = |name: &str| names.iter().filter(|n| *n == name).count();
    for name in ["a", "c", "d"] {
        assert!(
            (9..=11).contains(&count(name)),
            "within one turn: {names:?}"
        );
    }

    // One that is not well has no turn, and is back when it is.
    c.handle.set_health("test.Probe", HealthStatus::Unhealthy);
    let mut last = who(&client, 2).await;
    while last.contains(&"c".to_owned()) {
        last = who(&client, 2).await;
    }
    assert_exact(&who(&client, 20).await, &["a", "d"]);
    c.handle.set_health("test.Probe", HealthStatus::Healthy);
    while !who(&client, 1).await.contains(&"c".to_owned()) {}
    assert_exact(&who(&client, 30).await, &["a", "c", "d"]);
}

/// Proves: R18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_are_shared_by_all_clients() {
    let world = World::start().await;
    let mut instances = Vec::new();
    for name in ["a", "b", "c"] {
        instances.push(world.instance(name, named(name)).await);
    }
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = world.client().await;
        clients.push(tokio::spawn(async move { who(&client, 30).await }));
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for client in clients {
        for name in client.await.expect("no panic") {
            *counts.entry(name).or_default() += 1;
        }
    }
    let counts: Vec<usize> = counts.into_values().collect();
    assert_eq!(counts, [80, 80, 80], "240 calls, whoever made them");
    world.quiet().await;
}
