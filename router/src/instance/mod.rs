//! The instance: dials out to gateways and serves the calls that come back.

mod backoff;
mod body;
mod config;
mod dial;
mod health;
mod serve;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::descriptors::Announced;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_proto::v1::HealthStatus;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use crate::Clock;
use crate::flag::raised;
use crate::net::{Dialer, Target};

pub use backoff::Backoff;
pub use body::RequestBody;
pub use config::InstanceConfig;
pub(crate) use health::health_of;
pub(crate) use serve::NotDispatched;

use session::Session;

/// An instance: a service that is called through gateways.
///
/// The service is any tower service of HTTP requests, such as tonic's `Routes`. Each call is one task and
/// one call of the service, with no HTTP/2 and no listening socket in between: when a call's deadline
/// passes or its client cancels, the task ends where it stands.
///
/// ```no_run
/// use std::sync::Arc;
/// use grpcrouter::{Clock, Instance, InstanceConfig, TcpDialer};
/// # use tower_service::Service;
/// # async fn run<S, B>(routes: S) -> Result<(), Box<dyn std::error::Error>>
/// # where
/// #     S: Service<http::Request<grpcrouter::RequestBody>, Response = http::Response<B>> + Clone + Send + 'static,
/// #     S::Future: Send, S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
/// #     B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
/// #     B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
/// # {
/// let mut config = InstanceConfig::new("greeter-1", ["pkg.Greeter"]);
/// config.gateways.push("http://gateway.example:50052".parse()?);
/// let (instance, _handle) = Instance::new(config, routes, Arc::new(TcpDialer), Clock::start());
/// instance.run().await?;
/// # Ok(())
/// # }
/// ```
pub struct Instance<S> {
    shared: Arc<Shared>,
    service: S,
    handle: InstanceHandle,
}

/// What the sessions of an instance share.
struct Shared {
    config: InstanceConfig,
    /// What is said of `config.descriptors` beforehand.
    announced: Option<Announced>,
    dialer: Arc<dyn Dialer>,
    clock: Clock,
    /// Registrations attempted so far: the second part of the epoch.
    attempts: AtomicU64,
    health: watch::Receiver<BTreeMap<String, HealthStatus>>,
    drain: watch::Receiver<bool>,
    /// Registrations so far with each gateway, in the order of the configuration.
    registered: watch::Sender<Vec<u64>>,
    /// Why each gateway has no tunnel, in the same order; none where it has one, or is not dialled yet.
    missing: watch::Sender<Vec<Option<String>>>,
}

/// Steers a running instance.
#[derive(Debug, Clone)]
pub struct InstanceHandle {
    health: watch::Sender<BTreeMap<String, HealthStatus>>,
    drain: watch::Sender<bool>,
    registered: watch::Receiver<Vec<u64>>,
    missing: watch::Receiver<Vec<Option<String>>>,
}

/// Why an instance stopped for good.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process registered under this id later. This one must not take the place back.
    #[error("gateway {gateway}: another process took over the id `{id}`")]
    Superseded {
        /// The gateway.
        gateway: Target,
        /// This instance's id.
        id: String,
    },
    /// The gateway refuses the registration, and would again.
    #[error("gateway {gateway} refused the registration: {message} ({reason})")]
    Refused {
        /// The gateway.
        gateway: Target,
        /// Token for programs.
        reason: String,
        /// Line for people.
        message: String,
    },
    /// Calls were still running when the time for draining ended. They end with their tunnels.
    #[error("calls did not finish within {0:?}")]
    DrainTimeout(Duration),
    /// The same gateway is configured twice: its second tunnel would take over from the first.
    #[error("gateway {0} is given twice")]
    GatewayTwice(Target),
    /// No gateway is configured.
    #[error("no gateway is configured")]
    NoGateway,
}

/// Whatever error a service has.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, B> Instance<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    /// An instance that is not running yet, and its handle.
    ///
    /// # Panics
    /// If no tunnel can run with these settings; [`TunnelConfig::check`](grpcrouter_core::Config::check)
    /// says which one is wrong.
    pub fn new(
        config: InstanceConfig,
        service: S,
        dialer: Arc<dyn Dialer>,
        clock: Clock,
    ) -> (Self, InstanceHandle) {
        if let Err(wrong) = config.tunnel.check() {
            panic!("instance settings: {wrong}");
        }
        let health = config
            .services
            .iter()
            .map(|name| (name.clone(), config.health))
            .collect();
        let (health, health_rx) = watch::channel(health);
        let (drain, drain_rx) = watch::channel(false);
        let registered = watch::Sender::new(vec![0; config.gateways.len()]);
        let missing = watch::Sender::new(vec![None; config.gateways.len()]);
        let handle = InstanceHandle {
            health,
            drain,
            registered: registered.subscribe(),
            missing: missing.subscribe(),
        };
        let announced = config.descriptors.as_deref().and_then(Announced::of);
        let shared = Shared {
            config,
            announced,
            dialer,
            clock,
            attempts: AtomicU64::new(0),
            health: health_rx,
            drain: drain_rx,
            registered,
            missing,
        };
        (
            Self {
                shared: Arc::new(shared),
                service,
                handle: handle.clone(),
            },
            handle,
        )
    }

    /// Runs until drained: holds a tunnel to every gateway, and dials again whenever one is lost.
    pub async fn run(self) -> Result<(), InstanceError> {
        let gateways = &self.shared.config.gateways;
        if gateways.is_empty() {
            return Err(InstanceError::NoGateway);
        }
        for (index, gateway) in gateways.iter().enumerate() {
            if gateways[..index].contains(gateway) {
                return Err(InstanceError::GatewayTwice(gateway.clone()));
            }
        }
        // Nothing is promised before the service was asked. A drain meanwhile waits no longer than that.
        let Shared { config, .. } = &*self.shared;
        let _watches = match config.health_watch {
            Some(limit) => {
                health::watch(&self.service, &config.services, &self.handle, limit).await
            }
            None => JoinSet::new(),
        };
        let mut sessions = JoinSet::new();
        for gateway in 0..self.shared.config.gateways.len() {
            let session = Session::new(self.shared.clone(), gateway, self.service.clone());
            sessions.spawn(session.run());
        }
        let limit = self.shared.config.drain_timeout;
        let mut drain = self.shared.drain.clone();
        let overdue = async {
            raised(&mut drain).await;
            if !sabotage::is(Sabotage::InstanceDrainCuts) {
                tokio::time::sleep(limit).await;
            }
        };
        // The first that ends with an error ends all, as does the end of the drain: dropping the set does.
        tokio::select! {
            biased;
            ended = join(&mut sessions) => ended,
            () = overdue => Err(InstanceError::DrainTimeout(limit)),
        }
    }
}

async fn join(sessions: &mut JoinSet<Result<(), InstanceError>>) -> Result<(), InstanceError> {
    while let Some(ended) = sessions.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => {}
        }
    }
    Ok(())
}

impl InstanceHandle {
    /// Asks every gateway for no new calls; the running ones finish, then `run` returns. It does so with
    /// `InstanceError::DrainTimeout` when they take longer than the configured time.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Tells every gateway how a service is, now and at every later registration. A name that the instance
    /// was not configured with changes nothing.
    pub fn set_health(&self, service: &str, health: HealthStatus) {
        self.health.send_if_modified(|all| {
            let known = all.get_mut(service);
            known.is_some_and(|known| std::mem::replace(known, health) != health)
        });
    }

    /// How often the instance has registered with each gateway, in the order of the configuration.
    pub fn registrations(&self) -> watch::Receiver<Vec<u64>> {
        self.registered.clone()
    }

    /// Why a gateway has no tunnel, as the latest dial or tunnel ended, by its place in the configuration.
    pub(crate) fn why_missing(&self, gateway: usize) -> Option<String> {
        self.missing.borrow().get(gateway).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_gateway_twice_is_refused() {
        let mut config = InstanceConfig::new("a", ["pkg.A"]);
        for _ in 0..2 {
            let target = "http://127.0.0.1:1".parse().expect("a target");
            config.gateways.push(target);
        }
        let services = tonic::service::Routes::default();
        let dialer = Arc::new(crate::TcpDialer);
        let (instance, _handle) = Instance::new(config, services, dialer, Clock::start());
        let error = instance.run().await.expect_err("twice");
        assert_eq!(
            error.to_string(),
            "gateway http://127.0.0.1:1 is given twice"
        );
    }

    #[test]
    fn health_of_a_name_that_was_not_declared_declares_nothing() {
        let config = InstanceConfig::new("a", ["pkg.A"]);
        let services = tonic::service::Routes::default();
        let dialer = Arc::new(crate::TcpDialer);
        let (instance, handle) = Instance::new(config, services, dialer, Clock::start());
        handle.set_health("pkg.B", HealthStatus::Healthy);
        handle.set_health("pkg.A", HealthStatus::Unhealthy);
        let health = instance.shared.health.borrow();
        let all: Vec<_> = health.iter().collect();
        assert_eq!(all, [(&"pkg.A".to_owned(), &HealthStatus::Unhealthy)]);
    }
}
