//! The agent in front of servers that are scripted to the last frame.

mod described;
mod faults;
mod pool;
mod probing;
mod server;
mod services;
mod stalled;

use std::sync::Arc;
use std::time::Duration;

use grpcrouter::{Clock, Instance, Target, TcpDialer, Upstream};

use super::support::client::{Client, Exchange};
use super::support::within;
use super::support::world::{Running, World};

/// A gateway with one instance in front of `upstream`, without probes, and a client.
async fn behind(upstream: &Target) -> (World, Running, Client) {
    let world = World::start().await;
    let dialer = Arc::new(TcpDialer);
    let service = Upstream::new(upstream.clone(), dialer.clone(), Duration::from_secs(5));
    let config = world.config("agent");
    let (instance, handle) = Instance::new(config, service, dialer, Clock::start());
    let task = tokio::spawn(instance.run());
    let mut counts = handle.registrations();
    let registered = counts.wait_for(|counts| counts[0] == 1);
    within("the registration", registered)
        .await
        .expect("it runs");
    let client = world.client().await;
    (world, Running { handle, task }, client)
}

/// A unary call that is under way.
async fn asked(client: &Client) -> Exchange {
    let mut call = client.call("Ask").await;
    call.send(b"question").await;
    call.half_close();
    call
}
