//! An implementation that is being served.

use std::net::SocketAddr;

use grpcrouter_proto::v1::HealthStatus;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::instance::InstanceHandle;
use crate::net::Target;

use super::ServeError;

/// An implementation that is being served. Dropping it ends that: routed calls where they stand, and direct
/// ones as their connections close.
#[derive(Debug)]
#[must_use = "dropping it ends the serving"]
pub struct Serving {
    pub(super) service: &'static str,
    pub(super) listen: Option<SocketAddr>,
    pub(super) id: Option<String>,
    pub(super) gateways: Vec<Target>,
    /// Drains what listens.
    pub(super) drain: watch::Sender<bool>,
    /// Steers what is registered.
    pub(super) handle: Option<InstanceHandle>,
    /// What listens, and what is registered.
    pub(super) tasks: JoinSet<Result<(), ServeError>>,
    /// Why the first half ended that could not go on.
    pub(super) failure: Option<ServeError>,
}

impl Serving {
    /// Where it listens; none in mode routed.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// The id that it registers with; none in mode direct.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The gateways that have taken its registration, since it was started.
    pub fn registered(&self) -> Vec<&Target> {
        let Some(handle) = &self.handle else {
            return Vec::new();
        };
        let counts = handle.registrations();
        let counts = counts.borrow();
        let all = self.gateways.iter().zip(counts.iter());
        all.filter(|(_, count)| **count > 0)
            .map(|(gateway, _)| gateway)
            .collect()
    }

    /// Tells every gateway how the service is, now and at every later registration. Direct clients are not
    /// told: they have health services of their own.
    pub fn set_health(&self, health: HealthStatus) {
        if let Some(handle) = &self.handle {
            handle.set_health(self.service, health);
        }
    }

    /// Takes no new calls, on its socket and from gateways; the running ones finish, then
    /// [`ended`](Self::ended) returns.
    pub fn drain(&self) {
        self.drain.send_replace(true);
        if let Some(handle) = &self.handle {
            handle.drain();
        }
    }

    /// Waits until it is served no more: it was drained, or cannot go on. Where one half of mode both
    /// cannot go on, the other is drained. Nothing is lost when this future is dropped and made anew.
    ///
    /// # Errors
    /// Why it could not go on, the first reason where there are two; or that calls did not finish in the
    /// time for draining.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        while let Some(ended) = self.next_end().await {
            if let Err(error) = ended {
                self.drain();
                self.failure.get_or_insert(error);
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The end of one half, as the next one comes.
    pub(super) async fn next_end(&mut self) -> Option<Result<(), ServeError>> {
        Some(match self.tasks.join_next().await? {
            Ok(ended) => ended,
            Err(error) => resume(error),
        })
    }
}

/// A panic in a half goes on in whoever waits for it.
fn resume(error: JoinError) -> ! {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => unreachable!("nothing ends a half but itself: {error}"),
    }
}
