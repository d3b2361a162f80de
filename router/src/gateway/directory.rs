//! Who is registered: the core's registry behind a lock, and those who watch it.

use std::sync::Arc;

use grpcrouter_core::registry::{
    Choice, Filter, Identity, InvalidRegistration, Key, Load, PickError, Picked, RegisterError,
    Registration, Registry, RegistryLimits, Wanted,
};
use grpcrouter_core::{Gateway, tunnel};
use grpcrouter_proto::v1::{Instance, InstanceInfo, ServiceInfo};
use tokio::sync::watch;

use crate::status::Code;
use crate::tunnel::Link;

use super::backlog::{Backlog, Watcher};
use super::sync::{Mutex, MutexGuard, PoisonError};

/// A registered instance's tunnel.
pub(super) type TunnelLink = Arc<Link<Gateway>>;

/// The registry of a gateway.
#[derive(Debug)]
pub(super) struct Directory {
    registry: Mutex<Registry<TunnelLink>>,
    random: Mutex<fastrand::Rng>,
    changes: Arc<Backlog>,
}

/// Why a registration was turned down: a gRPC status, a token and a line for people.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Directory {
    pub(super) fn new(limits: RegistryLimits, seed: u64) -> Self {
        let registry = Mutex::new(Registry::new(limits));
        Self {
            registry,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            changes: Arc::default(),
        }
    }

    /// Registers an instance and acknowledges it, in one step, so that no call comes before.
    pub(super) fn register(
        &self,
        info: &InstanceInfo,
        identity: Identity,
        link: &TunnelLink,
        accept: impl FnOnce(&mut tunnel::Tunnel<Gateway>, grpcrouter_core::Time),
    ) -> Result<Key, Refused> {
        let mut registry = self.lock();
        let registration = Registration::parse(info, identity, registry.limits())?;
        let registered = registry.register(registration, link.clone())?;
        link.with(accept);
        self.publish(registry);
        if let Some(old) = registered.replaced {
            old.with(|tunnel, _| {
                let message = "a later registration took this instance's place";
                tunnel.refuse(Code::Aborted as u32, "superseded", message);
            });
        }
        Ok(registered.key)
    }

    /// The instance that takes a call. What is to be drawn at random is drawn here.
    pub(super) fn pick(&self, mut wanted: Wanted<'_>) -> Result<Picked<TunnelLink>, PickError> {
        if let Choice::LeastLoaded(random) = &mut wanted.choice {
            let mut source = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            *random = source.u64(..);
        }
        self.lock().pick(wanted)
    }

    /// A call has ended.
    pub(super) fn release(&self, load: Load) {
        self.lock().release(load);
    }

    pub(super) fn remove(&self, key: Key) {
        let mut registry = self.lock();
        registry.remove(key);
        self.publish(registry);
    }

    pub(super) fn set_draining(&self, key: Key) {
        let mut registry = self.lock();
        registry.set_draining(key);
        self.publish(registry);
    }

    pub(super) fn report_health(&self, key: Key, services: &[ServiceInfo]) {
        let mut registry = self.lock();
        registry.report_health(key, services);
        self.publish(registry);
    }

    /// The instances that match, the revision that they are of, and the changes from there on.
    pub(super) fn watch(&self, filter: &Filter) -> (Vec<Instance>, u64, Watcher) {
        let registry = self.lock();
        (
            registry.find(filter),
            registry.revision(),
            self.changes.watch(),
        )
    }

    /// Says when something has changed. It holds nothing of what did, however long it is not read.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.changes.revisions()
    }

    /// Looks something up.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Registry<TunnelLink>) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Registry<TunnelLink>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the watchers, in order, before another change can be made.
    fn publish(&self, mut registry: MutexGuard<'_, Registry<TunnelLink>>) {
        while let Some(change) = registry.poll_change() {
            self.changes.push(change);
        }
    }
}

impl From<InvalidRegistration> for Refused {
    fn from(error: InvalidRegistration) -> Self {
        let message = error.to_string();
        Self {
            code: Code::InvalidArgument,
            reason: "bad-registration",
            message,
        }
    }
}

impl From<RegisterError> for Refused {
    fn from(error: RegisterError) -> Self {
        let (code, reason) = match &error {
            RegisterError::AlreadyExists { .. } => (Code::AlreadyExists, "stale-epoch"),
            RegisterError::PermissionDenied { .. } => (Code::PermissionDenied, "identity"),
            RegisterError::ResourceExhausted { .. } => (Code::ResourceExhausted, "limit"),
        };
        Self {
            code,
            reason,
            message: error.to_string(),
        }
    }
}
