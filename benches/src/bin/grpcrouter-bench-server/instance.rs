//! The same service behind the instance library.

use std::sync::Arc;

use anyhow::{Context, Result};
use grpcrouter::{Clock, Instance, InstanceConfig, Target, TcpDialer};
use grpcrouter_bench::pb::bench_server::BenchServer;
use grpcrouter_bench::service::{BenchService, NAME};
use tonic::service::Routes;

/// Serves until it is killed, or the gateway wants it no more.
pub(crate) async fn serve(gateway: Target, id: String, call_window: Option<u32>) -> Result<()> {
    let mut config = InstanceConfig::new(id.clone(), [NAME]);
    config.gateways.push(gateway);
    if let Some(window) = call_window {
        config.tunnel.call_window = window;
        config.tunnel.call_window_max = config.tunnel.call_window_max.max(window);
    }
    let routes = Routes::new(BenchServer::new(BenchService));
    let (instance, handle) = Instance::new(config, routes, Arc::new(TcpDialer), Clock::start());
    let mut registrations = handle.registrations();
    let running = tokio::spawn(instance.run());
    let registered = registrations.wait_for(|counts| counts.iter().all(|count| *count > 0));
    if registered.await.is_ok() {
        println!("ready id={id}");
    }
    let ended = running.await.context("the instance panicked")?;
    Ok(ended?)
}
