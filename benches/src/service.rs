//! The service that is called: as little work as a tonic service can do.

use std::pin::Pin;

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::pb::bench_server::Bench;
use crate::pb::{Count, Payload, StreamRequest};

/// The service's full name, by which instances register it.
pub const NAME: &str = "bench.v1.Bench";

/// The longest message that is asked for in earnest, in bytes: tonic's limit of what a client reads.
const SIZE_MAX: u32 = 4 * 1024 * 1024;

/// The service.
#[derive(Debug, Clone, Copy, Default)]
pub struct BenchService;

type Payloads = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

#[tonic::async_trait]
impl Bench for BenchService {
    async fn unary(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type ServerStreamStream = Payloads;

    async fn server_stream(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<Payloads>, Status> {
        let StreamRequest { messages, size } = request.into_inner();
        if size > SIZE_MAX {
            let say = format!("size: at most {SIZE_MAX} bytes");
            return Err(Status::invalid_argument(say));
        }
        let payload = payload(size as usize);
        let all = std::iter::repeat_with(move || Ok(payload.clone()));
        Ok(Response::new(match messages {
            0 => Box::pin(tokio_stream::iter(all)),
            n => Box::pin(tokio_stream::iter(all.take(n as usize))),
        }))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Count>, Status> {
        let mut requests = request.into_inner();
        let mut count = Count::default();
        while let Some(Payload { data }) = requests.message().await? {
            count.messages += 1;
            count.bytes += data.len() as u64;
        }
        Ok(Response::new(count))
    }

    type BidiStream = Streaming<Payload>;

    async fn bidi(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Streaming<Payload>>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// A message of `size` bytes, none of which is compressible to nothing.
pub fn payload(size: usize) -> Payload {
    let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    Payload {
        data: Bytes::from(data),
    }
}
