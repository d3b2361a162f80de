//! Looks how the upstream server is, and tells the gateways.

use std::time::Duration;

use grpcrouter_proto::v1::HealthStatus;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::info;

use crate::instance::InstanceHandle;

use super::AgentConfig;
use super::upstream::Upstream;

/// The server's health, or why it cannot be reached. A server that speaks no `grpc.health.v1`, or does not
/// know the service, is healthy while it answers.
pub(super) async fn probe(
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
        Ok(response) => Ok(match response.into_inner().status() {
            ServingStatus::NotServing => HealthStatus::Unhealthy,
            _ => HealthStatus::Healthy,
        }),
        Err(status) => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Err(status.message().to_owned()),
            _ => Ok(HealthStatus::Healthy),
        },
    }
}

/// Looks again and again. Health of the server as a whole and of each service, so that one service can be
/// taken out alone.
pub(super) async fn watch(
    config: &AgentConfig,
    upstream: &Upstream,
    handle: &InstanceHandle,
) -> std::convert::Infallible {
    let mut last = config.instance.health;
    loop {
        tokio::time::sleep(config.probe_interval).await;
        let whole = probe(upstream, "", config.probe_timeout).await;
        let whole = whole.unwrap_or(HealthStatus::Unhealthy);
        if whole != last {
            info!("upstream {} is {}", config.upstream, whole.as_str_name());
            last = whole;
        }
        for service in &config.instance.services {
            let mut health = whole;
            if whole == HealthStatus::Healthy && service != "*" {
                let own = probe(upstream, service, config.probe_timeout).await;
                health = own.unwrap_or(HealthStatus::Unhealthy);
            }
            handle.set_health(service, health);
        }
    }
}
