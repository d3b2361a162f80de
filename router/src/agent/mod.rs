//! The agent: an instance for a local gRPC server, in any language, that knows nothing of it.

mod descriptors;
mod discover;
mod inflow;
mod pool;
mod probe;
mod reflect;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use grpcrouter_proto::v1::HealthStatus;
use tracing::{info, warn};

use crate::Clock;
use crate::instance::{Instance, InstanceConfig, InstanceError, InstanceHandle};
use crate::net::{Dialer, Target};

pub use inflow::UpstreamBody;
pub use upstream::Upstream;

/// The settings of an agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The server to call.
    pub upstream: Target,
    /// What the agent is as an instance. No services: the server is asked by reflection.
    pub instance: InstanceConfig,
    /// How often the server's health is looked at. 1 s.
    pub probe_interval: Duration,
    /// How long the server may take to answer a dial or a probe. 5 s.
    pub probe_timeout: Duration,
}

impl AgentConfig {
    /// Defaults for an agent of this name in front of `upstream`.
    pub fn new(id: impl Into<String>, upstream: Target) -> Self {
        Self {
            upstream,
            instance: InstanceConfig::new(id, Vec::<String>::new()),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(5),
        }
    }
}

/// Why an agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// As any instance's.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

/// An agent that knows what it serves and is ready to run.
///
/// ```no_run
/// use std::sync::Arc;
/// use grpcrouter::{Agent, AgentConfig, Clock, TcpDialer};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = AgentConfig::new("site-7", "http://127.0.0.1:8080".parse()?);
/// config.instance.gateways.push("http://gateway.example:50052".parse()?);
/// let agent = Agent::discover(config, Arc::new(TcpDialer), Clock::start()).await;
/// println!("serving {:?}", agent.services());
/// agent.run().await?;
/// # Ok(())
/// # }
/// ```
pub struct Agent {
    config: AgentConfig,
    upstream: Upstream,
    instance: Instance<Upstream>,
    handle: InstanceHandle,
    /// How the server was when it was looked at.
    health: HealthStatus,
}

impl Agent {
    /// Finds out what the server serves: the configured names, else what reflection lists, else `*`.
    /// Without names it waits for the server to be up, and says so. What reflection describes of the
    /// services is handed over to the gateways, unless the configuration has descriptors.
    pub async fn discover(mut config: AgentConfig, dialer: Arc<dyn Dialer>, clock: Clock) -> Self {
        let upstream = Upstream::new(
            config.upstream.clone(),
            dialer.clone(),
            config.probe_timeout,
        );
        if config.instance.services.is_empty() {
            config.instance.services = Self::wait_for_services(&config, &upstream).await;
        }
        if config.instance.descriptors.is_none() {
            config.instance.descriptors = Self::descriptors(&config, &upstream).await;
        }
        // The server is asked over HTTP/2, again and again: its connection may be lost.
        config.instance.health_watch = None;
        let service = upstream.clone();
        let (instance, handle) = Instance::new(config.instance.clone(), service, dialer, clock);
        // Nothing is promised before the server was seen, and each of its services.
        let health = probe::look(&config, &upstream, &handle).await;
        let health = health.unwrap_or_else(|error| {
            warn!(
                "upstream {}: {error}; registering as not serving",
                config.upstream
            );
            HealthStatus::Unhealthy
        });
        Self {
            config,
            upstream,
            instance,
            handle,
            health,
        }
    }

    async fn wait_for_services(config: &AgentConfig, upstream: &Upstream) -> Vec<String> {
        let mut said = String::new();
        loop {
            match discover::services(upstream, config.probe_timeout).await {
                Ok(Some(services)) => return services,
                Ok(None) => {
                    let upstream = &config.upstream;
                    info!("upstream {upstream} has no reflection: registering `*`");
                    return vec!["*".to_owned()];
                }
                Err(error) => {
                    // Once for each reason, not once a second.
                    let error = error.to_string();
                    if error != said {
                        warn!("upstream {}: {error}; waiting for it", config.upstream);
                        said = error;
                    }
                }
            }
            tokio::time::sleep(config.probe_interval).await;
        }
    }

    /// What the server describes of its services. Without it there is no reflection through gateways, and
    /// all else works.
    async fn descriptors(config: &AgentConfig, upstream: &Upstream) -> Option<bytes::Bytes> {
        let services = &config.instance.services;
        let collected = descriptors::collect(upstream, services, config.probe_timeout).await;
        collected.unwrap_or_else(|error| {
            info!("upstream {}: no descriptors: {error}", config.upstream);
            None
        })
    }

    /// What it registers.
    pub fn services(&self) -> &[String] {
        &self.config.instance.services
    }

    /// Steers it once it runs.
    pub fn handle(&self) -> InstanceHandle {
        self.handle.clone()
    }

    /// Runs until drained, and tells the gateways whenever the server's health changes.
    pub async fn run(self) -> Result<(), AgentError> {
        let Self {
            config,
            upstream,
            instance,
            handle,
            health,
        } = self;
        let watch = probe::watch(&config, &upstream, &handle, health);
        tokio::select! {
            biased;
            result = instance.run() => Ok(result?),
            never = watch => match never {},
        }
    }
}
