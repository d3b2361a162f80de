//! An implementation that is to be served, in whatever mode.

use std::sync::Arc;
use std::time::Duration;

use grpcrouter_proto::v1::HealthStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tracing::warn;

use crate::Clock;
use crate::instance::{Instance, InstanceConfig, InstanceHandle};
use crate::net::{Target, TcpDialer};

use super::error::List;
use super::{Mode, ServeError, Serving, direct};

/// An implementation of a service, to be served directly, through gateways, or both at once.
///
/// ```no_run
/// use grpcrouter::{Mode, ServiceInstance};
///
/// # async fn run(routes: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
/// let instance = ServiceInstance::new("pkg.Greeter", routes).labels([("zone", "a")]);
/// let mut serving = instance.start(Mode::from_env()?).await?;
/// serving.ended().await?;
/// # Ok(())
/// # }
/// ```
///
/// What it registers with (keys, labels, weight, version, health) matters to gateways alone.
#[derive(Debug)]
pub struct ServiceInstance {
    service: &'static str,
    routes: Routes,
    config: InstanceConfig,
    start_limit: Duration,
}

impl ServiceInstance {
    /// How long [`start`](Self::start) waits for gateways, where nothing else is set: 10 s, as long as one
    /// dial may take.
    pub const START_LIMIT: Duration = Duration::from_secs(10);

    /// An implementation of the service of this full name, as the routes of a tonic server.
    #[must_use]
    pub fn new(service: &'static str, routes: Routes) -> Self {
        Self {
            service,
            routes: routes.prepare(),
            config: InstanceConfig::new("", [service]),
            start_limit: Self::START_LIMIT,
        }
    }

    /// Routing keys that belong to it: calls that are pinned to one of them come here. 1 to 256 bytes each.
    #[must_use]
    pub fn keys<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.config.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Words about it for people and selectors.
    #[must_use]
    pub fn labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let labels = labels.into_iter();
        self.config.labels = labels.map(|(k, v)| (k.into(), v.into())).collect();
        self
    }

    /// Its weight against the other instances: 1 to 1,000. 1.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.config.weight = weight;
        self
    }

    /// Its version, for people.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.config.version = version.into();
        self
    }

    /// An encoded `FileDescriptorSet` of the service and all that it imports, from which gateways answer server
    /// reflection. Generated instances have theirs.
    #[must_use]
    pub fn descriptors(mut self, set: &'static [u8]) -> Self {
        self.config.descriptors = Some(bytes::Bytes::from_static(set));
        self
    }

    /// How the service is at first. Healthy.
    #[must_use]
    pub fn health(mut self, health: HealthStatus) -> Self {
        self.config.health = health;
        self
    }

    /// How long running calls may take to finish after [`Serving::drain`]. 30 s.
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.config.drain_timeout = limit;
        self
    }

    /// How long [`start`](Self::start) waits for gateways. [`Self::START_LIMIT`].
    #[must_use]
    pub fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = limit;
        self
    }

    /// Everything else that an instance has. The mode decides over `id` and `gateways`.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut InstanceConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Serves. Returns once it listens and is registered with every gateway, as the mode asks.
    ///
    /// A gateway that is down does not hold it up for ever. When the [limit](Self::start_limit) has passed
    /// and it can be called at all, directly or through another gateway, it returns; a warning names the
    /// gateways that are missing, and they are dialled on. When it cannot be called at all, that is an error.
    ///
    /// # Errors
    /// If it cannot listen, a gateway refuses it for good, or no gateway took it in time. Nothing goes on
    /// then.
    ///
    /// # Panics
    /// If no tunnel can run with its settings: see [`Instance::new`].
    pub async fn start(self, mode: Mode) -> Result<Serving, ServeError> {
        let listener = match mode.listen() {
            Some(addr) => Some(direct::listen(addr).await?),
            None => None,
        };
        let mut serving = Serving {
            service: self.service,
            listen: listener.as_ref().map(|(_, bound)| *bound),
            id: None,
            gateways: Vec::new(),
            drain: watch::Sender::new(false),
            handle: None,
            tasks: JoinSet::new(),
            failure: None,
        };
        if let Some((listener, _)) = listener {
            self.serve_directly(listener, &mut serving);
        }
        if let Some((gateways, id)) = mode.registration() {
            let limit = self.start_limit;
            let handle = self.register(gateways, id, &mut serving);
            registered(handle, gateways, limit, &mut serving).await?;
        }
        Ok(serving)
    }

    fn serve_directly(&self, listener: TcpListener, serving: &mut Serving) {
        let drain = serving.drain.subscribe();
        let limit = self.config.drain_timeout;
        let served = direct::serve(listener, self.routes.clone(), drain, limit);
        serving.tasks.spawn(served);
    }

    fn register(self, gateways: &[Target], id: &str, serving: &mut Serving) -> InstanceHandle {
        let mut config = self.config;
        config.id = id.to_owned();
        config.gateways = gateways.to_vec();
        let (instance, handle) =
            Instance::new(config, self.routes, Arc::new(TcpDialer), Clock::start());
        serving.tasks.spawn(async { Ok(instance.run().await?) });
        serving.id = Some(id.to_owned());
        serving.gateways = gateways.to_vec();
        serving.handle = Some(handle.clone());
        handle
    }
}

/// Waits until every gateway has taken the registration, or the limit has passed.
async fn registered(
    handle: InstanceHandle,
    gateways: &[Target],
    limit: Duration,
    serving: &mut Serving,
) -> Result<(), ServeError> {
    let mut counts = handle.registrations();
    let all = counts.wait_for(|counts| counts.iter().all(|count| *count > 0));
    let waited = tokio::select! {
        biased;
        Some(Err(error)) = serving.next_end() => return Err(error),
        waited = tokio::time::timeout(limit, all) => waited.map(|all| all.map(drop)),
    };
    match waited {
        Ok(Ok(())) => return Ok(()),
        // Nobody counts any more: the instance has ended, and is about to say why.
        Ok(Err(_)) => serving.next_end().await.unwrap_or(Ok(()))?,
        Err(_) => {}
    }
    let counts = counts.borrow();
    let all = gateways.iter().zip(counts.iter()).enumerate();
    let missing = all.filter(|(_, (_, count))| **count == 0);
    let missing: Vec<_> = missing
        .map(|(index, (gateway, _))| {
            let why = handle.why_missing(index);
            let why = why.unwrap_or_else(|| "no answer yet".to_owned());
            (gateway.clone(), why)
        })
        .collect();
    if serving.listen.is_none() && missing.len() == gateways.len() {
        return Err(ServeError::NotRegistered {
            gateways: missing,
            limit,
        });
    }
    warn!(
        "not registered within {limit:?}, dialling on: {}",
        List(&missing)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceError;

    #[tokio::test]
    async fn an_instance_that_ends_before_it_is_registered_is_why_it_is_not_served() {
        let gateways = ["http://127.0.0.1:1".parse::<Target>().expect("a target")];
        let mut config = InstanceConfig::new("a", ["test.Probe"]);
        config.gateways = gateways.to_vec();
        let (instance, handle) = Instance::new(
            config,
            Routes::default(),
            Arc::new(TcpDialer),
            Clock::start(),
        );
        let mut tasks = JoinSet::new();
        // What it shared is gone before its end is seen.
        drop(instance);
        tasks.spawn(async { Err(InstanceError::NoGateway.into()) });
        let mut serving = Serving {
            service: "test.Probe",
            listen: None,
            id: None,
            gateways: Vec::new(),
            drain: watch::Sender::new(false),
            handle: None,
            tasks,
            failure: None,
        };
        let limit = ServiceInstance::START_LIMIT;
        let end = registered(handle, &gateways, limit, &mut serving).await;
        let said = end.expect_err("it is refused").to_string();
        assert_eq!(said, "no gateway is configured");
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_no_gateway_takes_says_why_each_did_not() {
        let target = |uri: &str| uri.parse::<Target>().expect("a target");
        let mode = Mode::Routed {
            gateways: ["unix:/nonexistent/1", "unix:/nonexistent/2"]
                .map(target)
                .to_vec(),
            id: "a".to_owned(),
        };
        let instance = ServiceInstance::new("test.Probe", Routes::default());
        let started = instance.start_limit(Duration::from_secs(1)).start(mode);
        let said = started.await.expect_err("nobody is there").to_string();
        let of = |gateway: u8| format!("gateway unix:/nonexistent/{gateway}: cannot connect: ");
        let parts: Vec<_> = said.split("; ").collect();
        let [first, second] = parts[..] else {
            panic!("{said}");
        };
        let first = first.strip_prefix("not registered within 1s: ");
        assert!(
            first.is_some_and(|first| first.starts_with(&of(1))),
            "{said}"
        );
        assert!(second.starts_with(&of(2)), "{said}");
    }
}
