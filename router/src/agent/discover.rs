//! Asks the upstream server what it serves, by reflection.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};

use super::upstream::Upstream;

/// The server's services; none where it has no reflection, neither v1 nor v1alpha.
pub(super) async fn services(
    upstream: &Upstream,
    limit: Duration,
) -> Result<Option<Vec<String>>, String> {
    for list in [list_v1, list_v1alpha] {
        let listed = timeout(limit, list(upstream.clone())).await;
        match listed.map_err(|_| format!("no answer within {limit:?}"))? {
            Ok(services) => return Ok(Some(without_own(services))),
            Err(status) if status.code() == Code::Unavailable => {
                return Err(status.message().to_owned());
            }
            // Not implemented, or not allowed: the next version, then none.
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Health and reflection are the gateway's to answer.
fn without_own(services: Vec<String>) -> Vec<String> {
    let own =
        |name: &String| name.starts_with("grpc.reflection.") || name.starts_with("grpc.health.");
    let mut services: Vec<_> = services.into_iter().filter(|name| !own(name)).collect();
    services.sort();
    services.dedup();
    services
}

/// The same question in a version of the service; the two differ in nothing but their package.
macro_rules! list {
    ($name:ident, $version:ident) => {
        fn $name(upstream: Upstream) -> crate::BoxFuture<'static, Result<Vec<String>, Status>> {
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            Box::pin(async move {
                let mut client =
                    $version::server_reflection_client::ServerReflectionClient::new(upstream);
                let request = $version::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(MessageRequest::ListServices(String::new())),
                };
                let requests = tokio_stream::once(request);
                let mut answers = client.server_reflection_info(requests).await?.into_inner();
                let answer = answers
                    .message()
                    .await?
                    .and_then(|answer| answer.message_response);
                match answer {
                    Some(MessageResponse::ListServicesResponse(list)) => Ok(list
                        .service
                        .into_iter()
                        .map(|service| service.name)
                        .collect()),
                    _ => Err(Status::unimplemented("the server lists no services")),
                }
            })
        }
    };
}

list!(list_v1, v1);
list!(list_v1alpha, v1alpha);
