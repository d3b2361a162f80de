//! A real gRPC endpoint at the instance: tonic's codec, which judges what it is sent as any server does.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use grpcrouter::{Clock, Instance, RequestBody, TcpDialer};
use http::{Request, Response};
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic_prost::ProstCodec;

use super::within;
use super::world::{Running, World};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// `/test.Probe/Unary` and `/test.Probe/Stream` of `google.protobuf.BytesValue`, counting what gets past
/// the codec.
#[derive(Clone, Default)]
pub(crate) struct Endpoint {
    messages: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Messages that a method was given.
    pub(crate) fn messages(&self) -> usize {
        self.messages.load(Ordering::SeqCst)
    }
}

impl World {
    /// Starts an instance whose service is tonic's.
    pub(crate) async fn endpoint(&self, id: &str, endpoint: Endpoint) -> Running {
        let dialer = Arc::new(TcpDialer);
        let (instance, handle) = Instance::new(self.config(id), endpoint, dialer, Clock::start());
        let task = tokio::spawn(instance.run());
        let mut counts = handle.registrations();
        let registered = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
        within("the registration", registered)
            .await
            .expect("the instance runs");
        Running { handle, task }
    }
}

impl tower_service::Service<Request<RequestBody>> for Endpoint {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let method = Method(self.messages.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Vec<u8>, Vec<u8>>::default());
            Ok(if request.uri().path() == "/test.Probe/Unary" {
                grpc.unary(method, request).await
            } else {
                grpc.streaming(method, request).await
            })
        })
    }
}

#[derive(Clone)]
struct Method(Arc<AtomicUsize>);

impl UnaryService<Vec<u8>> for Method {
    type Response = Vec<u8>;
    type Future = BoxFuture<Result<tonic::Response<Vec<u8>>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Vec<u8>>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(tonic::Response::new(request.into_inner())) })
    }
}

impl StreamingService<Vec<u8>> for Method {
    type Response = Vec<u8>;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<Vec<u8>, tonic::Status>>>;
    type Future = BoxFuture<Result<tonic::Response<Self::ResponseStream>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<Vec<u8>>>) -> Self::Future {
        let count = self.0.clone();
        Box::pin(async move {
            let mut requests = request.into_inner();
            let mut answers = Vec::new();
            while let Some(message) = requests.message().await? {
                count.fetch_add(1, Ordering::SeqCst);
                answers.push(Ok(message));
            }
            Ok(tonic::Response::new(tokio_stream::iter(answers)))
        })
    }
}
