//! What the instance's own service says of its health, by `grpc.health.v1`: asked in this process, as its
//! calls are.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_proto::v1::HealthStatus;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_service::Service;
use tracing::{debug, warn};

use crate::net::BoxFuture;

use super::{BoxError, InstanceHandle, RequestBody};

/// How long to wait before a watch that ended, or of a service that is not known yet, is begun anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The health that an answer stands for; none where it says nothing of the service.
pub(crate) fn health_of(serving: ServingStatus) -> Option<HealthStatus> {
    match serving {
        ServingStatus::Serving => Some(HealthStatus::Healthy),
        ServingStatus::NotServing => Some(HealthStatus::Unhealthy),
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => None,
    }
}

/// Begins to watch each of these services, and sets their health as it is said. Returns once all have
/// answered or did not within `limit`. Dropping what it returns ends the watches.
pub(super) async fn watch<S, B>(
    service: &S,
    names: &[String],
    handle: &InstanceHandle,
    limit: Duration,
) -> JoinSet<()>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut begun = JoinSet::new();
    for name in names {
        let watch = Watch {
            service: InProcess(service.clone()),
            of: Watched {
                name: name.clone(),
                handle: handle.clone(),
            },
            limit,
        };
        begun.spawn(watch.begin());
    }
    let mut watches = JoinSet::new();
    while let Some(begun) = begun.join_next().await {
        // A service that panics when it is asked has no health to tell.
        if let Ok(Some((watch, answers))) = begun {
            watches.spawn(watch.follow(answers));
        }
    }
    watches
}

/// The watch of one service.
struct Watch<S> {
    service: InProcess<S>,
    of: Watched,
    limit: Duration,
}

/// Of what a watch is, and whom it tells.
struct Watched {
    name: String,
    handle: InstanceHandle,
}

type Answers = Streaming<HealthCheckResponse>;

impl<S, B> Watch<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    /// Waits for the first answer. None where there is nothing to watch; no answers where they ended and
    /// may be asked for anew.
    async fn begin(self) -> Option<(Self, Option<Answers>)> {
        let Self { service, of, limit } = self;
        let first = match timeout(limit, first(service.clone(), &of)).await {
            Ok(first) => first,
            Err(_) => {
                let name = of.name;
                warn!("health of {name}: no answer within {limit:?}; not watched");
                return None;
            }
        };
        let answers = match first {
            Ok(answers) => answers,
            Err(status) if status.code() == Code::Unimplemented => return None,
            Err(status) => {
                debug!("health of {}: {status}", of.name);
                None
            }
        };
        Some((Self { service, of, limit }, answers))
    }

    /// Tells whatever comes next, for as long as there is something to watch.
    async fn follow(mut self, mut answers: Option<Answers>) {
        loop {
            if let Some(mut answers) = answers {
                while let Ok(Some(answer)) = answers.message().await {
                    self.of.tell(&answer);
                }
            }
            tokio::time::sleep(AGAIN).await;
            let Some(again) = self.begin().await else {
                return;
            };
            (self, answers) = again;
        }
    }
}

/// Asks, tells the first answer, and gives those that follow.
async fn first<S, B>(service: InProcess<S>, of: &Watched) -> Result<Option<Answers>, Status>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut client = HealthClient::with_origin(service, Uri::from_static("http://localhost"));
    // What offers everything is as the server is as a whole.
    let service = match of.name.as_str() {
        "*" => String::new(),
        name => name.to_owned(),
    };
    let watch = client.watch(HealthCheckRequest { service });
    let mut answers = watch.await?.into_inner();
    Ok(answers.message().await?.map(|answer| {
        of.tell(&answer);
        answers
    }))
}

impl Watched {
    fn tell(&self, answer: &HealthCheckResponse) {
        if let Some(health) = health_of(answer.status()) {
            self.handle.set_health(&self.name, health);
        }
    }
}

/// The instance's service, as a client of it in the same process calls it.
#[derive(Clone)]
struct InProcess<S>(S);

impl<S, B> Service<Request<tonic::body::Body>> for InProcess<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let mut service = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = RequestBody::whole(body.collect().await?.to_bytes());
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let answer = service.call(Request::from_parts(parts, body)).await;
            answer.map_err(Into::into)
        })
    }
}
