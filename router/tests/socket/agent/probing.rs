//! What an agent finds out about its server, at first and later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grpcrouter::{Agent, AgentConfig, AgentError, Clock, Target, TcpDialer};
use tokio::task::JoinHandle;

use super::super::support::client::Client;
use super::super::support::fault::Proxy;
use super::super::support::world::World;
use super::super::support::{until, within};
use super::services::{Has, Local, target};

/// Proves: R20
#[tokio::test]
async fn a_server_that_is_down_at_first_gets_calls_once_it_is_up() {
    let world = World::start().await;
    let addr = Local::nowhere().await;
    let (services, _agent) = agent(&world, "a", target(addr), &["test.Probe"]).await;
    assert_eq!(services, ["test.Probe"], "as it was told");
    until("it is registered", || world.gateway.instances() == 1).await;
    let client = world.client().await;
    let answer = client.unary("Ask", b"").await;
    assert_eq!((answer.status(), answer.reason()), (14, "no-instance"));
    let _server = Local::start_at(addr, named("a")).await;
    answered_by(&client, "a").await;
}

/// Proves: R20
#[tokio::test]
async fn calls_go_elsewhere_while_a_server_is_down() {
    let world = World::start().await;
    let (a, b) = (
        Local::start(named("a")).await,
        Local::start(named("b")).await,
    );
    let _a = agent(&world, "a", a.target(), &["test.Probe"]).await;
    let _b = agent(&world, "b", b.target(), &["test.Probe"]).await;
    until("both are registered", || world.gateway.instances() == 2).await;
    let client = world.client().await;
    alternating(&client).await;
    let addr = a.addr;
    a.kill().await;
    answered_by(&client, "b").await;
    let _a = Local::start_at(addr, named("a")).await;
    alternating(&client).await;
}

/// Proves: R20
#[tokio::test]
async fn calls_go_elsewhere_while_a_server_says_that_it_does_not_serve() {
    let world = World::start().await;
    let serving = Arc::new(AtomicBool::new(true));
    let has = Has {
        serving: Some(serving.clone()),
        ..named("a")
    };
    let (a, b) = (Local::start(has).await, Local::start(named("b")).await);
    let _a = agent(&world, "a", a.target(), &["test.Probe"]).await;
    let _b = agent(&world, "b", b.target(), &["test.Probe"]).await;
    until("both are registered", || world.gateway.instances() == 2).await;
    let client = world.client().await;
    alternating(&client).await;
    serving.store(false, Ordering::Relaxed);
    answered_by(&client, "b").await;
    serving.store(true, Ordering::Relaxed);
    alternating(&client).await;
}

/// Proves: R20
#[tokio::test]
async fn a_connection_that_died_without_a_word_is_replaced() {
    let world = World::start().await;
    let server = Local::start(named("a")).await;
    let proxy = Proxy::to(server.addr).await;
    let mut config = AgentConfig::new("a", proxy.target());
    config.probe_interval = Duration::from_millis(20);
    config.probe_timeout = Duration::from_millis(100);
    config.instance.gateways.push(world.target());
    config.instance.services.push("test.Probe".to_owned());
    let agent = Agent::discover(config, Arc::new(TcpDialer), Clock::start()).await;
    tokio::spawn(agent.run());
    until("it is registered", || world.gateway.instances() == 1).await;
    let client = world.client().await;
    answered_by(&client, "a").await;
    let before = proxy.dialled();
    proxy.silence(true, true);
    until("it dials anew", || proxy.dialled() > before).await;
    proxy.silence(false, false);
    answered_by(&client, "a").await;
}

/// Proves: R21
#[tokio::test]
async fn services_are_found_by_either_version_of_reflection() {
    for version in ["v1", "v1alpha"] {
        let world = World::start().await;
        let has = Has {
            reflection: Some(version),
            ..named("a")
        };
        let server = Local::start(has).await;
        let (services, _agent) = agent(&world, "a", server.target(), &[]).await;
        assert_eq!(
            services,
            ["test.Other", "test.Probe"],
            "{version}, without its own"
        );
        answered_by(&world.client().await, "a").await;
    }
}

/// Proves: R5
#[tokio::test]
async fn a_server_without_reflection_takes_whatever_nobody_else_does() {
    let world = World::start().await;
    let server = Local::start(named("a")).await;
    let (services, _agent) = agent(&world, "a", server.target(), &[]).await;
    assert_eq!(services, ["*"]);
    answered_by(&world.client().await, "a").await;
}

/// Proves: R20
#[tokio::test]
async fn without_names_an_agent_waits_for_its_server() {
    let world = World::start().await;
    let addr = Local::nowhere().await;
    let has = Has {
        reflection: Some("v1"),
        ..named("a")
    };
    let mut waiting = Box::pin(agent(&world, "a", target(addr), &[]));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "there is nothing to register yet");
    assert_eq!(world.gateway.instances(), 0);
    let _server = Local::start_at(addr, has).await;
    let (services, _agent) = within("the server is seen", waiting).await;
    assert_eq!(services, ["test.Other", "test.Probe"]);
}

/// Starts an agent with frequent probes: what it serves, and its task.
async fn agent(
    world: &World,
    id: &str,
    upstream: Target,
    services: &[&str],
) -> (Vec<String>, JoinHandle<Result<(), AgentError>>) {
    let mut config = AgentConfig::new(id, upstream);
    config.probe_interval = Duration::from_millis(20);
    config.instance.gateways.push(world.target());
    config.instance.services = services.iter().map(ToString::to_string).collect();
    let agent = Agent::discover(config, Arc::new(TcpDialer), Clock::start()).await;
    let services = agent.services().to_vec();
    (services, tokio::spawn(agent.run()))
}

fn named(name: &'static str) -> Has {
    Has {
        name,
        ..Has::default()
    }
}

/// Waits until ten calls in a row are answered by one server.
async fn answered_by(client: &Client, name: &'static str) {
    within(&format!("answers of {name} alone"), async {
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let answer = client.unary("Ask", b"").await;
            in_a_row = if answer.messages == [name] {
                in_a_row + 1
            } else {
                0
            };
        }
    })
    .await;
}

/// Waits until two servers take turns.
async fn alternating(client: &Client) {
    within("both answer in turn", async {
        let mut last = client.unary("Ask", b"").await.messages;
        let mut turns = 0;
        while turns < 10 {
            let next = client.unary("Ask", b"").await.messages;
            turns = if next != last && !next.is_empty() {
                turns + 1
            } else {
                0
            };
            last = next;
        }
    })
    .await;
}
