//! Asks the upstream server by reflection, in either version of it.

use bytes::Bytes;
use tonic::Status;
use tonic_reflection::pb::{v1, v1alpha};

use super::upstream::Upstream;

/// The versions of the reflection service, the newer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Alpha,
}

impl Version {
    pub(super) const ALL: [Self; 2] = [Self::V1, Self::V1Alpha];
}

#[derive(Debug)]
pub(super) enum Question {
    Services,
    /// The file that describes a symbol, perhaps with others.
    Symbol(String),
    /// The file of this name, perhaps with others.
    File(String),
}

#[derive(Debug)]
pub(super) enum Answer {
    Services(Vec<String>),
    /// Encoded `FileDescriptorProto`s.
    Files(Vec<Bytes>),
    /// The server does not know it.
    Nothing,
}

/// Asks all of it in one call. Answers come in the order of the questions; a server may leave the last ones
/// out.
pub(super) async fn ask(
    version: Version,
    upstream: &Upstream,
    questions: Vec<Question>,
) -> Result<Vec<Answer>, Status> {
    match version {
        Version::V1 => ask_v1(upstream.clone(), questions).await,
        Version::V1Alpha => ask_v1alpha(upstream.clone(), questions).await,
    }
}

/// The same call in a version of the service; the two differ in nothing but their package.
macro_rules! ask {
    ($name:ident, $version:ident) => {
        fn $name(
            upstream: Upstream,
            questions: Vec<Question>,
        ) -> crate::BoxFuture<'static, Result<Vec<Answer>, Status>> {
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            Box::pin(async move {
                let mut client =
                    $version::server_reflection_client::ServerReflectionClient::new(upstream);
                let most = questions.len();
                let requests = questions.into_iter().map(|question| {
                    let question = match question {
                        Question::Services => MessageRequest::ListServices(String::new()),
                        Question::Symbol(name) => MessageRequest::FileContainingSymbol(name),
                        Question::File(name) => MessageRequest::FileByFilename(name),
                    };
                    $version::ServerReflectionRequest {
                        host: String::new(),
                        message_request: Some(question),
                    }
                });
                let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
                let mut said = client.server_reflection_info(requests).await?.into_inner();
                let mut answers = Vec::new();
                while answers.len() < most
                    && let Some(next) = said.message().await?
                {
                    answers.push(match next.message_response {
                        Some(MessageResponse::ListServicesResponse(list)) => {
                            let services = list.service.into_iter();
                            Answer::Services(services.map(|service| service.name).collect())
                        }
                        Some(MessageResponse::FileDescriptorResponse(files)) => {
                            let files = files.file_descriptor_proto.into_iter();
                            Answer::Files(files.map(Bytes::from).collect())
                        }
                        _ => Answer::Nothing,
                    });
                }
                Ok(answers)
            })
        }
    };
}

ask!(ask_v1, v1);
ask!(ask_v1alpha, v1alpha);
