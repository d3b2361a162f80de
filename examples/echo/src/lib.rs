//! An ordinary tonic service with all four kinds of RPC.
//!
//! Nothing here knows that it may be called through a gateway: the same [`EchoService`] is served by
//! tonic's own server in `tests/direct_is_the_oracle.rs`, and through a gateway by an instance in the same file.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use pb::echo_server::Echo;
use pb::{EchoReply, EchoRequest};

/// Package `echo.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    tonic::include_proto!("echo.v1");
}

/// The most text that one `Collect` holds, in bytes.
pub const COLLECT_MAX: usize = 1024 * 1024;

/// The service, under the name that its answers give.
#[derive(Debug, Clone)]
pub struct EchoService {
    /// Who answers.
    pub name: String,
}

impl EchoService {
    /// The service under this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    fn reply(&self, text: impl Into<String>) -> EchoReply {
        EchoReply {
            text: text.into(),
            instance: self.name.clone(),
        }
    }
}

/// The answers of a streaming method.
type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for EchoService {
    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        Ok(Response::new(self.reply(request.into_inner().text)))
    }

    type ExpandStream = Replies;

    async fn expand(&self, request: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        let text = request.into_inner().text;
        let replies: Vec<_> = text
            .split_whitespace()
            .map(|word| Ok(self.reply(word)))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(replies))))
    }

    async fn collect(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let mut requests = request.into_inner();
        let mut all = String::new();
        while let Some(EchoRequest { text }) = requests.message().await? {
            if all.len() + text.len() > COLLECT_MAX {
                let say = format!("more than {COLLECT_MAX} bytes of text");
                return Err(Status::resource_exhausted(say));
            }
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(&text);
        }
        Ok(Response::new(self.reply(all)))
    }

    type ChatStream = Replies;

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let service = self.clone();
        let replies = request
            .into_inner()
            .map(move |request| request.map(|EchoRequest { text }| service.reply(text)));
        Ok(Response::new(Box::pin(replies)))
    }
}
