//! Finds out what the upstream server serves, by reflection.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;

use super::reflect::{Answer, Question, Version, ask};
use super::upstream::Upstream;

/// The server's services; none where it has no reflection, neither v1 nor v1alpha.
pub(super) async fn services(
    upstream: &Upstream,
    limit: Duration,
) -> Result<Option<Vec<String>>, String> {
    for version in Version::ALL {
        let listed = timeout(limit, ask(version, upstream, vec![Question::Services])).await;
        match listed.map_err(|_| format!("no answer within {limit:?}"))? {
            Ok(answers) => {
                if let Some(Answer::Services(services)) = answers.into_iter().next() {
                    return Ok(Some(without_own(services)));
                }
            }
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
