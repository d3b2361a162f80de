//! `grpc.health.v1` for the gateway and for every service that it routes.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use grpcrouter_proto::v1::HealthStatus;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::status::{Code, GatewayStatus, Reason};

use super::Shared;

/// Whether a path is of the health service.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

/// The health service of a gateway.
pub(super) fn service(shared: Arc<Shared>) -> HealthServer<GatewayHealth> {
    HealthServer::new(GatewayHealth { shared })
}

/// A service serves while an instance serves it; the gateway itself, named "", until it drains.
#[derive(Debug)]
pub(super) struct GatewayHealth {
    shared: Arc<Shared>,
}

/// None for a service that nobody has declared.
fn status(shared: &Shared, service: &str) -> Option<ServingStatus> {
    let serving = |serves| {
        if serves {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    if *shared.drain.borrow() {
        return Some(ServingStatus::NotServing);
    }
    if service.is_empty() {
        return Some(ServingStatus::Serving);
    }
    let health = shared
        .directory
        .read(|registry| registry.service_health(service));
    health.map(|health| serving(health == HealthStatus::Healthy))
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for GatewayHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match status(&self.shared, &service) {
            Some(status) => Ok(Response::new(response(status))),
            None => {
                let message = "no instance has declared this service";
                let status = GatewayStatus::new(Code::NotFound, Reason::UnknownService, message);
                Err(status.into())
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let shared = self.shared.clone();
        let mut drain = shared.drain.subscribe();
        let mut revisions = shared.directory.revisions();
        Ok(Response::new(Box::pin(async_stream::stream! {
            let mut last = None;
            loop {
                let now = status(&shared, &service).unwrap_or(ServingStatus::ServiceUnknown);
                if last != Some(now) {
                    last = Some(now);
                    yield Ok(response(now));
                }
                if *drain.borrow() {
                    return;
                }
                tokio::select! {
                    biased;
                    _ = drain.changed() => {}
                    // Only the present state counts, not what changed.
                    changed = revisions.changed() => if changed.is_err() { return },
                }
            }
        })))
    }
}
