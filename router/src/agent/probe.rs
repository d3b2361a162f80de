//! Looks how the upstream server is, and tells the gateways.

use std::time::Duration;

use futures_util::StreamExt;
use grpcrouter_proto::v1::HealthStatus;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tracing::info;

use crate::instance::{InstanceHandle, health_of};

use super::AgentConfig;
use super::upstream::Upstream;

/// Services that are asked after at once.
const AT_ONCE: usize = 16;

/// The server's health, or why it cannot be reached. A server that speaks no `grpc.health.v1`, or does not
/// know the service, is healthy while it answers.
async fn probe(
    upstream: &Upstream,
    service: &str,
    limit: Duration,
) -> Result<HealthStatus, String> {
    let mut client = HealthClient::new(upstream.clone());
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = timeout(limit, client.check(request)).await;
    match answer.map_err(|_| format!("no answer within {limit:?}"))? {
        Ok(response) => {
            let health = health_of(response.into_inner().status());
            Ok(health.unwrap_or(HealthStatus::Healthy))
        }
        Err(status) => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Err(status.message().to_owned()),
            _ => Ok(HealthStatus::Healthy),
        },
    }
}

/// Looks how each service is, so that one can be taken out alone, and says so. Returns how the server is
/// as a whole, or why it cannot be reached.
pub(super) async fn look(
    config: &AgentConfig,
    upstream: &Upstream,
    handle: &InstanceHandle,
) -> Result<HealthStatus, String> {
    let limit = config.probe_timeout;
    let whole = probe(upstream, "", limit).await;
    let known = *whole.as_ref().unwrap_or(&HealthStatus::Unhealthy);
    let services = config.instance.services.iter();
    // Owned, so that the compiler sees through the stream of them.
    let own: Vec<_> = services
        .map(|service| {
            let (upstream, handle) = (upstream.clone(), handle.clone());
            look_at(upstream, handle, service.clone(), known, limit)
        })
        .collect();
    let mut own = futures_util::stream::iter(own).buffer_unordered(AT_ONCE);
    while own.next().await.is_some() {}
    whole
}

async fn look_at(
    upstream: Upstream,
    handle: InstanceHandle,
    service: String,
    whole: HealthStatus,
    limit: Duration,
) {
    let mut health = whole;
    if whole == HealthStatus::Healthy && service != "*" {
        let own = probe(&upstream, &service, limit).await;
        health = own.unwrap_or(HealthStatus::Unhealthy);
    }
    handle.set_health(&service, health);
}

/// Looks again and again.
pub(super) async fn watch(
    config: &AgentConfig,
    upstream: &Upstream,
    handle: &InstanceHandle,
    mut last: HealthStatus,
) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(config.probe_interval).await;
        let (whole, why) = match look(config, upstream, handle).await {
            Ok(whole) => (whole, String::new()),
            Err(error) => (HealthStatus::Unhealthy, format!(": {error}")),
        };
        if whole != last {
            let name = whole.as_str_name();
            info!("upstream {} is {name}{why}", config.upstream);
            last = whole;
        }
    }
}
