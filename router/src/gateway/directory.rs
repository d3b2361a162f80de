//! Who is registered: the core's registry behind a lock, and those who watch it.

use std::sync::Arc;

use grpcrouter_core::registry::{
    Choice, Filter, Identity, InvalidRegistration, Key, Load, PickError, Picked, RegisterError,
    Registration, Registry, RegistryLimits, Running, Wanted,
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

/// The registry of a gateway, as one shard of it uses it.
///
/// Each shard has a replica of its own, so that its calls wait for no lock of another's. What concerns all of them
/// happens under all of their locks, taken in order: no shard sees it before another does. The registry decides by what
/// it is told alone, so replicas that are told the same agree in all but whose turn it is and how loaded a service's
/// instances are for its hashed keys, which each counts for its own calls. An instance's running calls, by which the less
/// loaded is found, they count together.
#[derive(Debug)]
pub(super) struct Directory {
    replicas: Arc<[Mutex<Replica>]>,
    /// This shard's.
    own: usize,
    limits: RegistryLimits,
    changes: Arc<Backlog>,
}

#[derive(Debug)]
struct Replica {
    registry: Registry<TunnelLink>,
    random: fastrand::Rng,
}

/// Why a registration was turned down: a gRPC status, a token and a line for people.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Directory {
    /// One for each shard.
    pub(super) fn shards(limits: &RegistryLimits, seed: u64, count: usize) -> Vec<Self> {
        let replica = |shard: usize| {
            Mutex::new(Replica {
                registry: Registry::new(limits.clone()),
                random: fastrand::Rng::with_seed(seed.wrapping_add(shard as u64)),
            })
        };
        let replicas: Arc<[_]> = (0..count).map(replica).collect();
        let changes = Arc::<Backlog>::default();
        let shard = |own| Self {
            replicas: replicas.clone(),
            own,
            limits: limits.clone(),
            changes: changes.clone(),
        };
        (0..count).map(shard).collect()
    }

    /// Registers an instance and acknowledges it, in one step, so that no call comes before.
    pub(super) fn register(
        &self,
        info: &InstanceInfo,
        identity: Identity,
        link: &TunnelLink,
        accept: impl FnOnce(&mut tunnel::Tunnel<Gateway>, grpcrouter_core::Time),
    ) -> Result<Key, Refused> {
        // Before any lock: nobody's call waits for what a stranger wrote to be read.
        let registration = Registration::parse(info, identity, &self.limits)?;
        let mut all = self.lock_all();
        let running = Running::default();
        let mut registered = all.iter_mut().map(|it| {
            let (registration, link) = (registration.clone(), link.clone());
            it.registry
                .register_with(registration, link, running.clone())
        });
        let first = registered.next().expect("there is a shard")?;
        for other in registered {
            assert!(other.is_ok_and(|it| it.key == first.key), "replicas differ");
        }
        link.with(accept);
        self.publish(all);
        if let Some(old) = first.replaced {
            old.with(|tunnel, _| {
                let message = "a later registration took this instance's place";
                tunnel.refuse(Code::Aborted as u32, "superseded", message);
            });
        }
        Ok(first.key)
    }

    /// The instance that takes a call. What is to be drawn at random is drawn here.
    pub(super) fn pick(&self, mut wanted: Wanted<'_>) -> Result<Picked<TunnelLink>, PickError> {
        let mut own = self.lock();
        if let Choice::LeastLoaded(random) = &mut wanted.choice {
            *random = own.random.u64(..);
        }
        own.registry.pick(wanted)
    }

    /// A call of this shard has ended.
    pub(super) fn release(&self, load: Load) {
        self.lock().registry.release(load);
    }

    pub(super) fn remove(&self, key: Key) {
        self.tell_all(|registry| {
            registry.remove(key);
        });
    }

    pub(super) fn set_draining(&self, key: Key) {
        self.tell_all(|registry| {
            registry.set_draining(key);
        });
    }

    pub(super) fn report_health(&self, key: Key, services: &[ServiceInfo]) {
        self.tell_all(|registry| {
            registry.report_health(key, services);
        });
    }

    /// The instances that match, the revision that they are of, and the changes from there on.
    pub(super) fn watch(&self, filter: &Filter) -> (Vec<Instance>, u64, Watcher) {
        let own = self.lock();
        let registry = &own.registry;
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
        look(&self.lock().registry)
    }

    fn tell_all(&self, tell: impl Fn(&mut Registry<TunnelLink>)) {
        let mut all = self.lock_all();
        for replica in &mut all {
            tell(&mut replica.registry);
        }
        self.publish(all);
    }

    fn lock(&self) -> MutexGuard<'_, Replica> {
        self.replicas[self.own]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_all(&self) -> Vec<MutexGuard<'_, Replica>> {
        let locks = self.replicas.iter().map(Mutex::lock);
        locks
            .map(|it| it.unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Tells the watchers, in order, before another change can be made. All replicas have seen the same changes.
    fn publish(&self, mut all: Vec<MutexGuard<'_, Replica>>) {
        let (first, others) = all.split_first_mut().expect("there is a shard");
        while let Some(change) = first.registry.poll_change() {
            self.changes.push(change);
        }
        for other in others {
            while other.registry.poll_change().is_some() {}
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
