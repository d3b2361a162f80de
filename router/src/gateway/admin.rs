//! `grpcrouter.v1.Router` but for the tunnel itself: who is registered, and how they are.
//!
//! `Register` never comes here: it is carried below, without a codec.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use grpcrouter_core::registry::{Filter, Watch};
use grpcrouter_proto::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthStatus, InstanceEvent, ListInstancesRequest,
    ListInstancesResponse, WatchInstancesRequest, instance_event::Kind,
};
use http_body::Body;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::flag::raised;
use crate::net::BoxFuture;
use crate::status::{Code, GatewayStatus, Reason};

use super::Shared;
use super::backlog::Behind;

/// The tunnel's path.
pub(super) const REGISTER: &str = "/grpcrouter.v1.Router/Register";
const SERVICE: &str = "/grpcrouter.v1.Router/";

/// Whether a path is of the gateway's own service.
pub(super) fn is_admin(path: &str) -> bool {
    path.starts_with(SERVICE)
}

/// What a client gets that asks for the gateway's own service on a port for calls.
pub(super) fn not_here() -> GatewayStatus {
    let message = "grpcrouter.v1.Router is served on the tunnel port";
    GatewayStatus::new(Code::Unimplemented, Reason::UnknownService, message)
}

/// What a call gets on a port for tunnels: an instance reaches no other instance through it.
pub(super) fn no_calls_here() -> GatewayStatus {
    let message = "calls are served on the client port";
    GatewayStatus::new(Code::Unimplemented, Reason::UnknownService, message)
}

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    shared: Arc<Shared>,
}

impl Admin {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn list(&self, request: ListInstancesRequest) -> Result<ListInstancesResponse, Status> {
        let filter = filter(request.service, request.health, request.labels)?;
        let directory = &self.shared.directory;
        Ok(directory.read(|registry| ListInstancesResponse {
            instances: registry.find(&filter),
            revision: registry.revision(),
        }))
    }

    /// The health of an instance's service, of an instance, or of a service wherever it is.
    fn health(&self, request: &HealthCheckRequest) -> HealthCheckResponse {
        let HealthCheckRequest {
            instance_id,
            service,
        } = request;
        let status = self
            .shared
            .directory
            .read(|registry| match instance_id.as_str() {
                "" => registry.service_health(service),
                id => registry.instance_health(id, service),
            });
        HealthCheckResponse {
            status: status.unwrap_or(HealthStatus::Unknown).into(),
        }
    }

    /// The instances there are, then what changes, in order and without a gap. A watcher that falls
    /// behind is cut off: it asks again and starts over.
    fn watch(&self, filter: Filter) -> Events {
        let (instances, revision, mut changes) = self.shared.directory.watch(&filter);
        let mut watch = Watch::new(filter, &instances);
        let mut drain = self.shared.drain.subscribe();
        Box::pin(async_stream::stream! {
            for instance in instances {
                yield Ok(event(Kind::Added, Some(instance), revision));
            }
            yield Ok(event(Kind::SnapshotEnd, None, revision));
            loop {
                let change = tokio::select! {
                    biased;
                    change = changes.next() => change,
                    () = raised(&mut drain) => {
                        let message = "the gateway is shutting down";
                        yield Err(GatewayStatus::new(Code::Unavailable, Reason::Draining, message).into());
                        return;
                    }
                };
                match change {
                    Ok(change) => if let Some(event) = watch.event(change) { yield Ok(event) },
                    Err(Behind(missed)) => {
                        let say = format!("the watcher fell {missed} changes behind: watch again");
                        yield Err(GatewayStatus::new(Code::ResourceExhausted, Reason::Limit, say).into());
                        return;
                    }
                }
            }
        })
    }
}

/// What a request asks for.
fn filter(
    service: String,
    health: i32,
    labels: BTreeMap<String, String>,
) -> Result<Filter, Status> {
    let health = HealthStatus::try_from(health).map_err(|_| {
        let message = format!("health: {health} is no HealthStatus");
        Status::from(GatewayStatus::new(
            Code::InvalidArgument,
            Reason::BadRequest,
            message,
        ))
    })?;
    Ok(Filter {
        service,
        health: (health != HealthStatus::Unknown).then_some(health),
        labels,
    })
}

fn event(
    kind: Kind,
    instance: Option<grpcrouter_proto::v1::Instance>,
    revision: u64,
) -> InstanceEvent {
    InstanceEvent {
        kind: kind.into(),
        instance,
        revision,
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<InstanceEvent, Status>> + Send + 'static>>;

impl<B> Service<http::Request<B>> for Admin
where
    B: Body<Data = Bytes, Error: Into<tonic::codegen::StdError> + Send> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let admin = self.clone();
        Box::pin(async move {
            let method = request
                .uri()
                .path()
                .strip_prefix(SERVICE)
                .unwrap_or_default()
                .to_owned();
            Ok(match method.as_str() {
                "ListInstances" => {
                    let answer = move |request: ListInstancesRequest| admin.list(request);
                    grpc().unary(Unary(answer), request).await
                }
                "HealthCheck" => {
                    let answer = move |request: HealthCheckRequest| Ok(admin.health(&request));
                    grpc().unary(Unary(answer), request).await
                }
                "WatchInstances" => grpc().server_streaming(Watching(admin), request).await,
                _ => {
                    let message = "grpcrouter.v1.Router has no such method";
                    let status =
                        GatewayStatus::new(Code::Unimplemented, Reason::UnknownMethod, message);
                    Status::from(status).into_http()
                }
            })
        })
    }
}

fn grpc<T: prost::Message + 'static, U: prost::Message + Default + 'static>()
-> tonic::server::Grpc<ProstCodec<T, U>> {
    tonic::server::Grpc::new(ProstCodec::default())
}

/// A function as tonic's unary service.
struct Unary<F>(F);

impl<F, Q, A> tonic::server::UnaryService<Q> for Unary<F>
where
    F: FnMut(Q) -> Result<A, Status>,
{
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}

/// `WatchInstances`, as tonic's service.
struct Watching(Admin);

impl tonic::server::ServerStreamingService<WatchInstancesRequest> for Watching {
    type Response = InstanceEvent;
    type ResponseStream = Events;
    type Future = Ready<Result<Response<Events>, Status>>;

    fn call(&mut self, request: Request<WatchInstancesRequest>) -> Self::Future {
        let WatchInstancesRequest {
            service,
            health,
            labels,
        } = request.into_inner();
        let filter = filter(service, health, labels);
        ready(filter.map(|filter| Response::new(self.0.watch(filter))))
    }
}
