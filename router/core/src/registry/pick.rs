//! Which instance takes a call.

use super::registration::CATCH_ALL;
use super::{Entry, Key, Registry};
use crate::table::Table;

/// Why no instance takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Nobody takes calls of this service now: the client may try again (UNAVAILABLE,
    /// `no-instance`).
    #[error("no instance takes calls of this service")]
    NoInstance,
    /// Instances have said what they offer, and this is not among it (UNIMPLEMENTED,
    /// `unknown-service`).
    #[error("no instance offers this service")]
    UnknownService,
}

/// Services by which any server tells of itself. Nothing else that an instance did not declare can be
/// reached through it.
const ABOUT_THE_SERVER: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

impl<T: Clone> Registry<T> {
    /// The instance that takes the next call of `service`.
    ///
    /// Round robin over the instances that offer it by name and serve it; where none does, over
    /// those that offer `*`. Between two turns of one instance, each other one that was there all
    /// the time has exactly one. `pinned` asks for one instance, and does not use up its turn.
    /// A draining instance and one that is not serving take no call, pinned or not. Health and
    /// reflection are of every server, and not declared: who pins an instance can ask it of itself.
    ///
    /// # Errors
    /// [`PickError::UnknownService`] once any instance declares services by name and none offers
    /// this one; else, and always for a pinned instance, [`PickError::NoInstance`].
    pub fn pick(&mut self, service: &str, pinned: Option<&str>) -> Result<(Key, T), PickError> {
        self.pick_where(service, pinned, |_| true)
    }

    /// As [`pick`](Self::pick), but another instance than `excluded`, which keeps its turn: for the
    /// one retry of a call that provably never reached a handler.
    ///
    /// # Errors
    /// As [`pick`](Self::pick); [`PickError::NoInstance`] where only `excluded` is left.
    pub fn pick_excluding(
        &mut self,
        service: &str,
        pinned: Option<&str>,
        excluded: Key,
    ) -> Result<(Key, T), PickError> {
        self.pick_where(service, pinned, |key| key != excluded)
    }

    fn pick_where(
        &mut self,
        service: &str,
        pinned: Option<&str>,
        accept: impl Fn(Key) -> bool,
    ) -> Result<(Key, T), PickError> {
        let picked = match pinned {
            Some(id) => Some(self.pinned(service, id).ok_or(PickError::NoInstance)?),
            None => None,
        };
        let picked = match picked {
            Some(key) => accept(key).then_some(key),
            None => self.next_turn(service, accept),
        };
        let key = picked.ok_or_else(|| self.why_none(service))?;
        Ok((key, self.entry(key).tunnel.clone()))
    }

    fn pinned(&self, service: &str, id: &str) -> Option<Key> {
        let key = *self.by_id.get(id)?;
        let entry = self.entry(key);
        let offer = entry.registration.offer(service);
        let takes =
            ABOUT_THE_SERVER.contains(&service) || offer.is_some_and(super::Service::is_serving);
        (takes && !entry.draining).then_some(key)
    }

    fn next_turn(&mut self, service: &str, accept: impl Fn(Key) -> bool) -> Option<Key> {
        let by_name = self.offerings.get_mut(service);
        if let Some(key) = by_name.and_then(|offering| offering.rotation.take(&accept)) {
            return Some(key);
        }
        let entries = &self.entries;
        let by_any = self.offerings.get_mut(CATCH_ALL)?;
        by_any
            .rotation
            .take(|key| accept(key) && leaves_to_any(entries, key, service))
    }

    fn why_none(&self, service: &str) -> PickError {
        let offered =
            self.offerings.contains_key(service) || self.offerings.contains_key(CATCH_ALL);
        if offered || self.with_named_services == 0 {
            PickError::NoInstance
        } else {
            PickError::UnknownService
        }
    }
}

/// Whether `*` decides about this instance's calls of `service`.
///
/// One that offers `*` and also names the service is missing from the rotation of that name only if
/// it said that it does not serve it, and `*` must not overrule that.
pub(super) fn leaves_to_any<T>(entries: &Table<Entry<T>>, key: Key, service: &str) -> bool {
    entries
        .get(key)
        .is_some_and(|entry| entry.registration.service(service).is_none())
}
