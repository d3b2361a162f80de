//! What the registry shows: lists and health.

use grpcrouter_proto::v1::{HealthStatus, Instance, ServiceInfo};

use super::pick::leaves_to_any;
use super::registration::CATCH_ALL;
use super::{Entry, Filter, InstanceId, Key, Registry};

impl<T: Clone> Registry<T> {
    /// The instances that offer a service, by name or with `*`, ordered by id; the empty name lists
    /// all. Draining and unhealthy ones are included, and say so.
    #[must_use]
    pub fn list(&self, service: &str) -> Vec<Instance> {
        let entries = self.by_id.values().map(|key| self.entry(*key));
        entries
            .filter(|e| service.is_empty() || e.registration.offer(service).is_some())
            .map(Entry::snapshot)
            .collect()
    }

    /// The id of a registration that is still there.
    #[must_use]
    pub fn id(&self, key: Key) -> Option<&InstanceId> {
        let entry = self.entries.get(key)?;
        Some(entry.registration.id())
    }

    /// The instances that match a filter, ordered by id.
    #[must_use]
    pub fn find(&self, filter: &Filter) -> Vec<Instance> {
        let mut found = self.list(&filter.service);
        found.retain(|instance| filter.matches(instance));
        found
    }

    /// The services that live instances declare by name, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let names = self.offerings.keys().map(String::as_str);
        names.filter(|name| *name != CATCH_ALL)
    }

    /// The health of a service over all instances: `HEALTHY` if a call of it would be given to one,
    /// else `UNHEALTHY`; `None` where no instance offers it. The empty name asks for all services
    /// together: `HEALTHY` if any instance takes calls of any.
    #[must_use]
    pub fn service_health(&self, service: &str) -> Option<HealthStatus> {
        if service.is_empty() {
            let mut offerings = self.offerings.values();
            return (!self.is_empty())
                .then(|| aggregate(offerings.any(|offering| !offering.rotation.is_empty())));
        }
        let by_name = self.offerings.get(service);
        let by_any = self.offerings.get(CATCH_ALL);
        if by_name.is_none() && by_any.is_none() {
            return None;
        }
        let accept = |key| leaves_to_any(&self.entries, key, service);
        Some(aggregate(
            by_name.is_some_and(|offering| !offering.rotation.is_empty())
                || by_any.is_some_and(|offering| offering.rotation.any(accept)),
        ))
    }

    /// The health of one instance, for one of its services or, with the empty name, as a whole:
    /// `STOPPING` while it drains; as a whole `HEALTHY` if it serves anything. `None`: no such
    /// instance, or it does not offer the service.
    #[must_use]
    pub fn instance_health(&self, id: &str, service: &str) -> Option<HealthStatus> {
        let entry = self.entry(*self.by_id.get(id)?);
        let health = if service.is_empty() {
            let services = &entry.registration.services;
            match services.iter().any(super::Service::is_serving) {
                true => HealthStatus::Healthy,
                false => services
                    .first()
                    .map_or(HealthStatus::Unknown, |first| first.health),
            }
        } else {
            entry.registration.offer(service)?.health
        };
        Some(if entry.draining {
            HealthStatus::Stopping
        } else {
            health
        })
    }
}

fn aggregate(serving: bool) -> HealthStatus {
    if serving {
        HealthStatus::Healthy
    } else {
        HealthStatus::Unhealthy
    }
}

impl<T> Entry<T> {
    pub(super) fn snapshot(&self) -> Instance {
        let registration = &self.registration;
        let services = registration.services.iter();
        Instance {
            instance_id: registration.id.to_string(),
            epoch: Some(registration.epoch.into()),
            services: services
                .map(|s| ServiceInfo {
                    name: s.name.clone(),
                    health: s.health.into(),
                })
                .collect(),
            keys: registration.keys.clone(),
            labels: registration.labels.clone().into_iter().collect(),
            weight: registration.weight,
            version: registration.version.clone(),
            draining: self.draining,
        }
    }
}
