//! The registry: which instances are there, and which of them takes the next call.
//!
//! Soft state, rebuilt from live tunnels alone. A tunnel registers and gets a [`Key`]; whatever it
//! later says (health, drain, its end) it says with that key, which does nothing once the
//! registration was replaced.
//!
//! - `registration` and `identity`: what an instance says of itself, parsed
//! - `rotation`: round robin by weight; `ring`: consistent hashing; `draw`: at random by weight
//! - `pick`: the choice for a call; `running`: the calls that it weighs
//! - `view`: lists and health, for people and load balancers
//! - `changes`: what watchers see; `filter`: which of it concerns them

mod changes;
mod draw;
mod filter;
mod identity;
mod limits;
mod pick;
mod registration;
mod ring;
mod rotation;
mod running;
mod view;

use std::collections::BTreeMap;

use grpcrouter_proto::v1::{HealthStatus, ServiceInfo};

pub use self::changes::{Change, ChangeKind};
pub use self::filter::{Filter, Watch};
pub use self::identity::{Epoch, Identity, InstanceId};
pub use self::limits::RegistryLimits;
pub use self::pick::{Choice, Load, PickError, Picked, Wanted};
pub use self::registration::{CATCH_ALL, InvalidRegistration, Registration, Service, is_serving};
pub use self::running::Running;
pub use crate::table::Key;

use crate::sabotage::{self, Sabotage};
use crate::table::Table;

use self::changes::ChangeLog;
use self::draw::Draw;
use self::ring::Ring;
use self::rotation::{Place, Rotation};

/// The instances of a gateway. `T` is the caller's handle of a tunnel.
///
/// Something happened: [`register`](Self::register), [`remove`](Self::remove),
/// [`set_draining`](Self::set_draining), [`set_health`](Self::set_health),
/// [`report_health`](Self::report_health). After any of these the caller fetches what watchers must
/// hear with [`poll_change`](Self::poll_change), until it is `None`, under the same lock.
///
/// A call came: [`pick`](Self::pick). It has ended: [`release`](Self::release).
///
/// Getters: [`list`](Self::list), [`find`](Self::find), [`service_health`](Self::service_health),
/// [`instance_health`](Self::instance_health), [`revision`](Self::revision), [`len`](Self::len),
/// [`is_declared`](Self::is_declared).
#[derive(Debug)]
pub struct Registry<T> {
    limits: RegistryLimits,
    entries: Table<Entry<T>>,
    by_id: BTreeMap<InstanceId, Key>,
    /// Who registered a routing key and does not drain, the earliest first; never empty.
    by_key: BTreeMap<String, Vec<Key>>,
    /// Exactly the services that someone declares, `*` included.
    offerings: BTreeMap<String, Offering>,
    /// How many instances declare at least one service by name.
    with_named_services: usize,
    changes: ChangeLog,
}

/// A registration that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered<T> {
    /// Names this registration from now on.
    pub key: Key,
    /// The tunnel that owned the id until now: to be told `superseded`.
    pub replaced: Option<T>,
}

/// Why a registration was refused. The registry is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The id is owned by an attempt of the same or a higher epoch.
    #[error("instance id {id} is registered with epoch {registered}, which is not lower")]
    AlreadyExists {
        /// The id asked for.
        id: InstanceId,
        /// The epoch of its owner.
        registered: Epoch,
    },
    /// The id is owned by another identity.
    #[error("instance id {id} belongs to another identity")]
    PermissionDenied {
        /// The id asked for.
        id: InstanceId,
    },
    /// The registry is full.
    #[error("the gateway holds {limit} instances, which is its limit")]
    ResourceExhausted {
        /// [`RegistryLimits::max_instances`].
        limit: usize,
    },
}

#[derive(Debug)]
struct Entry<T> {
    registration: Registration,
    /// Beside each of the registration's services: its place in the rotation while it takes calls.
    places: Vec<Option<Place>>,
    /// Beside each of them: its running calls that this replica picked.
    loads: Vec<u32>,
    /// All of its running calls.
    running: Running,
    draining: bool,
    tunnel: T,
}

/// A service that at least one instance declares.
#[derive(Debug, Default)]
struct Offering {
    name: String,
    declared_by: usize,
    /// Those that take new calls.
    rotation: Rotation,
    /// The same ones by their weights, under their slots in the rotation.
    draw: Draw,
    /// The same ones by their hashes; made when the service is hashed for the first time.
    ring: Option<Ring>,
    /// All of its running calls that this replica picked.
    load: u64,
}

impl<T: Clone> Registry<T> {
    /// An empty registry.
    #[must_use]
    pub fn new(limits: RegistryLimits) -> Self {
        Self {
            changes: ChangeLog::new(limits.max_pending_changes),
            limits,
            entries: Table::new(u32::MAX),
            by_id: BTreeMap::new(),
            by_key: BTreeMap::new(),
            offerings: BTreeMap::new(),
            with_named_services: 0,
        }
    }

    /// The limits given to [`new`](Self::new).
    #[must_use]
    pub fn limits(&self) -> &RegistryLimits {
        &self.limits
    }

    /// Adds an instance, or replaces the one of the same id at once if the epoch is higher.
    ///
    /// # Errors
    /// See [`RegisterError`]; identity is compared before the epoch, so that nobody learns the
    /// epoch of an instance that belongs to another.
    pub fn register(
        &mut self,
        registration: Registration,
        tunnel: T,
    ) -> Result<Registered<T>, RegisterError> {
        self.register_with(registration, tunnel, Running::default())
    }

    /// As [`register`](Self::register), in one of several replicas that count the instance's calls together: clones of
    /// one `running` are given to all of them, which are told the same in the same order.
    ///
    /// # Errors
    /// The same.
    pub fn register_with(
        &mut self,
        registration: Registration,
        tunnel: T,
        running: Running,
    ) -> Result<Registered<T>, RegisterError> {
        let id = registration.id.clone();
        let owner = self.by_id.get(&id).copied();
        match owner {
            Some(owner) => self.may_replace(owner, &registration)?,
            None if self.by_id.len() >= self.limits.max_instances => {
                return Err(RegisterError::ResourceExhausted {
                    limit: self.limits.max_instances,
                });
            }
            None => {}
        }
        let replaced = owner.and_then(|owner| self.take_out(owner));
        Ok(Registered {
            key: self.put_in(id, registration, tunnel, running),
            replaced,
        })
    }

    /// Removes an instance whose tunnel ended. `false`: the key is stale and nothing happened.
    pub fn remove(&mut self, key: Key) -> bool {
        self.take_out(key).is_some()
    }

    /// Gives an instance no more calls, for good. `false`: stale key, or it drains already.
    pub fn set_draining(&mut self, key: Key) -> bool {
        if sabotage::is(Sabotage::OpenAfterDrain) {
            return false;
        }
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.draining) else {
            return false;
        };
        entry.draining = true;
        entry.reseat(key, &mut self.offerings);
        disown(&mut self.by_key, &entry.registration.keys, key);
        self.changes.push(ChangeKind::Updated, entry.snapshot());
        true
    }

    /// Sets the health of one service of an instance. `false`: stale key, a service that it did not
    /// declare, or no change.
    pub fn set_health(&mut self, key: Key, service: &str, health: HealthStatus) -> bool {
        self.update_health(key, [(service, health)])
    }

    /// What a heartbeat says of several services: as [`set_health`](Self::set_health) for each, but
    /// one change for all. Services that the instance did not declare are ignored.
    pub fn report_health(&mut self, key: Key, services: &[ServiceInfo]) -> bool {
        self.update_health(key, services.iter().map(|s| (s.name.as_str(), s.health())))
    }

    /// The next change that watchers must hear of, oldest first.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.poll()
    }

    /// Counts the changes since the registry was made.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.changes.revision()
    }

    /// Whether an instance that is registered declares this service by name.
    #[must_use]
    pub fn is_declared(&self, service: &str) -> bool {
        self.offerings.contains_key(service)
    }

    /// How many instances are registered, the draining ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Calls that count as load, over all services.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.offerings.values().map(|offering| offering.load).sum()
    }

    /// Whether no instance is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn may_replace(&self, owner: Key, new: &Registration) -> Result<(), RegisterError> {
        let old = &self.entry(owner).registration;
        if old.identity != new.identity {
            return Err(RegisterError::PermissionDenied { id: new.id.clone() });
        }
        if old.epoch >= new.epoch && !sabotage::is(Sabotage::EpochUnchecked) {
            let id = new.id.clone();
            return Err(RegisterError::AlreadyExists {
                id,
                registered: old.epoch,
            });
        }
        Ok(())
    }

    fn put_in(
        &mut self,
        id: InstanceId,
        registration: Registration,
        tunnel: T,
        running: Running,
    ) -> Key {
        for service in &registration.services {
            let offering = self.offerings.entry(service.name.clone());
            let offering = offering.or_insert_with(|| Offering {
                name: service.name.clone(),
                ..Offering::default()
            });
            offering.declared_by += 1;
        }
        let keys = registration.keys.clone();
        self.with_named_services += usize::from(registration.names_services());
        let places = registration.services.iter().map(|_| None).collect();
        let loads = vec![0; registration.services.len()];
        let entry = Entry {
            registration,
            places,
            loads,
            running,
            draining: false,
            tunnel,
        };
        // The limit of instances is far below a table's, and was checked.
        let Ok(key) = self.entries.insert(entry) else {
            unreachable!("fewer than 2^32 registrations")
        };
        self.by_id.insert(id, key);
        for own in keys {
            self.by_key.entry(own).or_default().push(key);
        }
        let entry = self.entries.get_mut(key).expect("just inserted");
        entry.reseat(key, &mut self.offerings);
        self.changes.push(ChangeKind::Added, entry.snapshot());
        key
    }

    fn take_out(&mut self, key: Key) -> Option<T> {
        let mut entry = self.entries.remove(key)?;
        self.changes.push(ChangeKind::Removed, entry.snapshot());
        if !std::mem::replace(&mut entry.draining, true) {
            disown(&mut self.by_key, &entry.registration.keys, key);
        }
        entry.reseat(key, &mut self.offerings);
        for (service, load) in entry.registration.services.iter().zip(&entry.loads) {
            let offering = self.offerings.get_mut(&service.name).expect("declared");
            offering.declared_by -= 1;
            offering.load -= u64::from(*load);
            if offering.declared_by == 0 {
                self.offerings.remove(&service.name);
            }
        }
        self.with_named_services -= usize::from(entry.registration.names_services());
        self.by_id.remove(&entry.registration.id);
        Some(entry.tunnel)
    }

    fn update_health<'a>(
        &mut self,
        key: Key,
        reports: impl IntoIterator<Item = (&'a str, HealthStatus)>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let mut changed = false;
        for (name, health) in reports {
            let Some(position) = entry.registration.position(name) else {
                continue;
            };
            let service = &mut entry.registration.services[position];
            changed |= service.health != health;
            service.health = health;
        }
        if changed {
            entry.reseat(key, &mut self.offerings);
            self.changes.push(ChangeKind::Updated, entry.snapshot());
        }
        changed
    }

    /// The entry of a key that the registry itself holds.
    fn entry(&self, key: Key) -> &Entry<T> {
        self.entries
            .get(key)
            .expect("the registry's own keys are live")
    }
}

/// An instance owns its routing keys no longer.
fn disown(by_key: &mut BTreeMap<String, Vec<Key>>, keys: &[String], key: Key) {
    for own in keys {
        if let Some(owners) = by_key.get_mut(own) {
            owners.retain(|owner| *owner != key);
            if owners.is_empty() {
                by_key.remove(own);
            }
        }
    }
}

impl<T> Entry<T> {
    /// Joins and leaves offerings, so that the instance is among those of the services for which it
    /// takes calls, and of no other.
    fn reseat(&mut self, key: Key, offerings: &mut BTreeMap<String, Offering>) {
        let Registration { id, weight, .. } = &self.registration;
        for (service, place) in self.registration.services.iter().zip(&mut self.places) {
            let takes_calls = !self.draining && service.is_serving();
            if takes_calls == place.is_some() {
                continue;
            }
            let offering = offerings.get_mut(&service.name).expect("declared");
            match place.take() {
                Some(left) => offering.leave(left, key, id, *weight),
                None => *place = Some(offering.join(key, id, *weight)),
            }
        }
    }
}

impl Offering {
    fn join(&mut self, key: Key, id: &InstanceId, weight: u32) -> Place {
        if let Some(ring) = &mut self.ring {
            ring.join(key, id.as_str(), weight);
        }
        let place = self.rotation.join(key, weight);
        self.draw.add(place.slot(), weight);
        place
    }

    fn leave(&mut self, place: Place, key: Key, id: &InstanceId, weight: u32) {
        if let Some(ring) = &mut self.ring {
            ring.leave(key, id.as_str(), weight);
        }
        self.draw.remove(place.slot(), weight);
        self.rotation.leave(place);
    }
}

impl Registration {
    /// Whether it declares services by name, not only `*`.
    fn names_services(&self) -> bool {
        self.services
            .iter()
            .any(|service| service.name != CATCH_ALL)
    }
}

#[cfg(test)]
mod choices;
#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
