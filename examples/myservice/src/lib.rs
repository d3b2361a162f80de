//! A service with routing options, and an implementation of it that does not know how it is served.
//!
//! `myservice-router` is a gateway with the generated router, `myservice` the implementation in each
//! [mode](grpcrouter::Mode), `myservice-client` an ordinary client that compares the two ways.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use pb::my_service_server::MyService;
use pb::{
    Method1Request, Method1Response, Method2Request, Method2Response, Method3Request,
    Method3Response, StreamMethodRequest, StreamMethodResponse,
};

pub mod process;

/// Package `myservice.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    tonic::include_proto!("myservice.v1");
}

/// The service, as the instance of an id.
#[derive(Debug, Clone)]
pub struct Implementation {
    id: String,
}

impl Implementation {
    /// Answers with this id.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into() }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl MyService for Implementation {
    async fn method1(
        &self,
        request: Request<Method1Request>,
    ) -> Result<Response<Method1Response>, Status> {
        let Method1Request { data, value } = request.into_inner();
        Ok(Response::new(Method1Response {
            result: format!("{data}: {value}"),
            instance_id: self.id.clone(),
        }))
    }

    type Method2Stream = Answers<Method2Response>;

    async fn method2(
        &self,
        request: Request<Method2Request>,
    ) -> Result<Response<Self::Method2Stream>, Status> {
        let id = self.id.clone();
        let items = tokio_stream::iter(request.into_inner().items);
        let answers = items.map(move |item| {
            Ok(Method2Response {
                result: item.to_uppercase(),
                item,
                instance_id: id.clone(),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn method3(
        &self,
        request: Request<Streaming<Method3Request>>,
    ) -> Result<Response<Method3Response>, Status> {
        let mut requests = request.into_inner();
        let (mut count, mut bytes) = (0, 0);
        while let Some(request) = requests.message().await? {
            count += 1;
            bytes += request.data.len();
        }
        Ok(Response::new(Method3Response {
            total_processed: count,
            summary: format!("{count} messages with {bytes} bytes of data"),
            instance_id: self.id.clone(),
        }))
    }

    type StreamMethodStream = Answers<StreamMethodResponse>;

    async fn stream_method(
        &self,
        request: Request<Streaming<StreamMethodRequest>>,
    ) -> Result<Response<Self::StreamMethodStream>, Status> {
        let id = self.id.clone();
        let answers = request.into_inner().map(move |request| {
            let StreamMethodRequest { message, sequence } = request?;
            Ok(StreamMethodResponse {
                response: format!("echo: {message}"),
                sequence,
                instance_id: id.clone(),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
