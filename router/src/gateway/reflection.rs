//! Server reflection for what live instances serve, from the descriptors that they handed over.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use grpcrouter_core::descriptors::{Found, Hash};
use http_body::Body;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::{v1, v1alpha};
use tower_service::Service;

use crate::flag::raised;
use crate::net::BoxFuture;
use crate::status::Code;

use super::Shared;

const V1: &str = "/grpc.reflection.v1.ServerReflection/";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

/// The longest question, in bytes: a full name is far shorter.
const QUESTION_MAX: usize = 16 * 1024;

/// What an answer brings of imports beside the file itself, in bytes. Clients ask for the rest by name.
const IMPORTS_MAX: usize = 1024 * 1024;

/// Whether a path is of the reflection service.
pub(super) fn is_reflection(path: &str) -> bool {
    path.starts_with(V1) || path.starts_with(V1ALPHA)
}

/// The reflection services of a gateway, in both versions.
#[derive(Debug, Clone)]
pub(super) struct Reflection {
    shared: Arc<Shared>,
}

impl Reflection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// A question, in whichever version it came.
enum Question {
    File(String),
    Symbol(String),
    Extension(String, i32),
    ExtensionNumbers(String),
    Services,
}

enum Reply {
    Files(Vec<Vec<u8>>),
    ExtensionNumbers(String, Vec<i32>),
    Services(Vec<String>),
    Error(Code, String),
}

/// One client that asks one question after the other.
struct Asker {
    shared: Arc<Shared>,
    /// The set that the last answer was from: what belongs to it is looked for there first.
    last: Option<Hash>,
}

impl Asker {
    fn answer(&mut self, question: Question) -> Reply {
        let last = self.last;
        let descriptors = &self.shared.descriptors;
        match question {
            Question::File(name) => {
                let found = descriptors.read(|library| library.file(&name, last));
                self.files(found, || format!("no file {name}"))
            }
            Question::Symbol(name) => {
                let found = descriptors.read(|library| library.symbol(&name, last));
                self.files(found, || format!("no symbol {name}"))
            }
            Question::Extension(extended, number) => {
                let found = descriptors.read(|library| library.extension(&extended, number, last));
                self.files(found, || format!("no extension {number} of {extended}"))
            }
            Question::ExtensionNumbers(extended) => {
                match descriptors.read(|library| library.extension_numbers(&extended, last)) {
                    Some(numbers) => Reply::ExtensionNumbers(extended, numbers),
                    None => Reply::Error(Code::NotFound, format!("no type {extended}")),
                }
            }
            Question::Services => Reply::Services(self.services()),
        }
    }

    fn files(&mut self, found: Option<Found>, what: impl FnOnce() -> String) -> Reply {
        let Some(found) = found else {
            let message = format!("{} is described by the instances that are here", what());
            return Reply::Error(Code::NotFound, message);
        };
        self.last = Some(found.hash);
        let files = found.with_imports(IMPORTS_MAX).into_iter();
        Reply::Files(files.map(Vec::from).collect())
    }

    /// What live instances declare, and the gateway's own.
    fn services(&self) -> Vec<String> {
        let Shared {
            directory,
            descriptors,
            ..
        } = &*self.shared;
        let mut names: BTreeSet<String> =
            descriptors.read(|library| library.services().map(str::to_owned).collect());
        directory.read(|registry| names.extend(registry.services().map(str::to_owned)));
        names.into_iter().collect()
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The next question; none where the client has no more, or the gateway drains.
async fn next<T>(
    requests: &mut Streaming<T>,
    drain: &mut watch::Receiver<bool>,
) -> Result<Option<T>, Status> {
    tokio::select! {
        biased;
        () = raised(drain) => Ok(None),
        next = requests.message() => next,
    }
}

/// The same service in a version of it; the two differ in nothing but their package.
macro_rules! serve {
    ($version:ident) => {
        impl From<$version::server_reflection_request::MessageRequest> for Question {
            fn from(asked: $version::server_reflection_request::MessageRequest) -> Self {
                use $version::server_reflection_request::MessageRequest as Asked;
                match asked {
                    Asked::FileByFilename(name) => Self::File(name),
                    Asked::FileContainingSymbol(name) => Self::Symbol(name),
                    Asked::FileContainingExtension(asked) => {
                        Self::Extension(asked.containing_type, asked.extension_number)
                    }
                    Asked::AllExtensionNumbersOfType(name) => Self::ExtensionNumbers(name),
                    Asked::ListServices(_) => Self::Services,
                }
            }
        }

        impl From<Reply> for $version::server_reflection_response::MessageResponse {
            fn from(reply: Reply) -> Self {
                match reply {
                    Reply::Files(file_descriptor_proto) => {
                        Self::FileDescriptorResponse($version::FileDescriptorResponse {
                            file_descriptor_proto,
                        })
                    }
                    Reply::ExtensionNumbers(base_type_name, extension_number) => {
                        Self::AllExtensionNumbersResponse($version::ExtensionNumberResponse {
                            base_type_name,
                            extension_number,
                        })
                    }
                    Reply::Services(names) => {
                        let service = |name| $version::ServiceResponse { name };
                        let service = names.into_iter().map(service).collect();
                        Self::ListServicesResponse($version::ListServiceResponse { service })
                    }
                    Reply::Error(code, error_message) => {
                        Self::ErrorResponse($version::ErrorResponse {
                            error_code: code as i32,
                            error_message,
                        })
                    }
                }
            }
        }

        #[tonic::async_trait]
        impl $version::server_reflection_server::ServerReflection for Reflection {
            type ServerReflectionInfoStream = Replies<$version::ServerReflectionResponse>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$version::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                let mut requests = request.into_inner();
                let mut drain = self.shared.drain.subscribe();
                let mut asker = Asker {
                    shared: self.shared.clone(),
                    last: None,
                };
                Ok(Response::new(Box::pin(async_stream::try_stream! {
                    while let Some(request) = next(&mut requests, &mut drain).await? {
                        let question = request.message_request.clone().map(Question::from);
                        let reply = question.map_or_else(nothing_asked, |question| asker.answer(question));
                        yield $version::ServerReflectionResponse {
                            valid_host: request.host.clone(),
                            original_request: Some(request),
                            message_response: Some(reply.into()),
                        };
                    }
                })))
            }
        }
    };
}

fn nothing_asked() -> Reply {
    Reply::Error(Code::InvalidArgument, "nothing was asked".to_owned())
}

serve!(v1);
serve!(v1alpha);

impl<B> Service<http::Request<B>> for Reflection
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
        if request.uri().path().starts_with(V1) {
            v1::server_reflection_server::ServerReflectionServer::new(self.clone())
                .max_decoding_message_size(QUESTION_MAX)
                .call(request)
        } else {
            v1alpha::server_reflection_server::ServerReflectionServer::new(self.clone())
                .max_decoding_message_size(QUESTION_MAX)
                .call(request)
        }
    }
}
