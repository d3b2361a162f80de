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
            late: false,
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
    /// Whether it did not answer in time when it was asked last.
    late: bool,
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
    /// Waits for the first answer. None where there is nothing to watch, which only UNIMPLEMENTED says; no
    /// answers where they ended or did not come, and are to be asked for anew.
    async fn begin(mut self) -> Option<(Self, Option<Answers>)> {
        let first = timeout(self.limit, first(self.service.clone(), &self.of)).await;
        let was_late = std::mem::replace(&mut self.late, first.is_err());
        let answers = match first {
            Ok(Ok(answers)) => answers,
            Ok(Err(status)) if status.code() == Code::Unimplemented => return None,
            Ok(Err(status)) => {
                debug!("health of {}: {status}", self.of.name);
                None
            }
            Err(_) => {
                // Once, however often in a row.
                if !was_late {
                    let (name, limit) = (&self.of.name, self.limit);
                    warn!("health of {name}: no answer within {limit:?}; it is asked again");
                }
                None
            }
        };
        Some((self, answers))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_core::Stream;
    use tonic::Response as Answer;
    use tonic_health::pb::health_server::{Health, HealthServer};

    use crate::net::TcpDialer;
    use crate::{Clock, Instance, InstanceConfig};

    use super::*;

    /// SERVING, and the watch ends; then, once, no answer; then NOT_SERVING for good.
    #[derive(Clone, Default)]
    struct Slow {
        asked: Arc<AtomicUsize>,
    }

    #[tonic::async_trait]
    impl Health for Slow {
        async fn check(
            &self,
            _: tonic::Request<HealthCheckRequest>,
        ) -> Result<Answer<HealthCheckResponse>, Status> {
            Err(Status::unimplemented("it is watched"))
        }

        type WatchStream =
            std::pin::Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

        async fn watch(
            &self,
            _: tonic::Request<HealthCheckRequest>,
        ) -> Result<Answer<Self::WatchStream>, Status> {
            let said = |status: ServingStatus| {
                Ok(HealthCheckResponse {
                    status: status.into(),
                })
            };
            Ok(Answer::new(
                match self.asked.fetch_add(1, Ordering::Relaxed) {
                    0 => Box::pin(async_stream::stream! { yield said(ServingStatus::Serving) }),
                    1 => std::future::pending().await,
                    _ => Box::pin(async_stream::stream! {
                        yield said(ServingStatus::NotServing);
                        std::future::pending::<()>().await;
                    }),
                },
            ))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_does_not_end_the_watch() {
        let slow = Slow::default();
        let service = HealthServer::new(slow.clone());
        let names = ["test.Probe".to_owned()];
        let mut config = InstanceConfig::new("a", names.clone());
        config.health = HealthStatus::Starting;
        let (_instance, handle) =
            Instance::new(config, service.clone(), Arc::new(TcpDialer), Clock::start());
        let mut health = handle.health.subscribe();
        let limit = Duration::from_secs(2);
        let _watches = watch(&service, &names, &handle, limit).await;
        let mut until = async |wanted| {
            let health = health.wait_for(|health| health["test.Probe"] == wanted);
            let found = timeout(Duration::from_secs(10), health).await;
            found.expect("in time").expect("it is there");
        };
        until(HealthStatus::Healthy).await;
        // 1 s until it is asked again, 2 s without an answer, 1 s more.
        until(HealthStatus::Unhealthy).await;
        assert_eq!(slow.asked.load(Ordering::Relaxed), 3);
    }
}
