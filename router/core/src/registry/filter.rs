//! Which instances somebody asks for, and what of the changes concerns them.

use std::collections::{BTreeMap, BTreeSet};

use grpcrouter_proto::v1::{
    HealthStatus, Instance, InstanceEvent, ServiceInfo, instance_event::Kind,
};

use super::registration::{CATCH_ALL, is_serving};
use super::{Change, ChangeKind};

/// What an instance must be to be shown: all that is given here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// It offers this service, by name or with `*`. Empty: any.
    pub service: String,
    /// Its health: of the service where one is given, else of the instance as a whole. One that reports
    /// none counts as `HEALTHY`, one that drains as `STOPPING`. None: any.
    pub health: Option<HealthStatus>,
    /// It has these labels, with these values.
    pub labels: BTreeMap<String, String>,
}

impl Filter {
    /// Whether an instance is to be shown.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        let has = |(name, value): (&String, &String)| instance.labels.get(name) == Some(value);
        self.offers(instance)
            && self.labels.iter().all(has)
            && self
                .health
                .is_none_or(|wanted| self.health_of(instance) == wanted)
    }

    fn offers(&self, instance: &Instance) -> bool {
        let is_match = |name: &str| name == self.service || name == CATCH_ALL;
        self.service.is_empty() || instance.services.iter().any(|s| is_match(&s.name))
    }

    fn health_of(&self, instance: &Instance) -> HealthStatus {
        let named = |name: &str| instance.services.iter().find(|s| s.name == name);
        let all = || instance.services.iter();
        let decides = match self.service.as_str() {
            "" => all().find(|s| is_serving(s.health())).or(all().next()),
            name => named(name).or_else(|| named(CATCH_ALL)),
        };
        match decides.map_or(HealthStatus::Unknown, ServiceInfo::health) {
            _ if instance.draining => HealthStatus::Stopping,
            HealthStatus::Unknown => HealthStatus::Healthy,
            health => health,
        }
    }
}

/// A watch of the instances that match a filter, from a snapshot on.
#[derive(Debug)]
pub struct Watch {
    filter: Filter,
    /// The ids of those that match, where health decides: nothing else of an instance changes while it is
    /// registered.
    shown: Option<BTreeSet<String>>,
}

impl Watch {
    /// A watch that begins with these instances, all that match at that moment.
    #[must_use]
    pub fn new(filter: Filter, snapshot: &[Instance]) -> Self {
        let ids = || snapshot.iter().map(|i| i.instance_id.clone()).collect();
        let shown = filter.health.is_some().then(ids);
        Self { filter, shown }
    }

    /// What the watcher hears of a change, if it concerns the watch. An instance that begins to match is
    /// told as added, and one that no longer does as removed.
    pub fn event(&mut self, change: Change) -> Option<InstanceEvent> {
        let matches = self.filter.matches(&change.instance);
        let is = matches && change.kind != ChangeKind::Removed;
        let was = match &mut self.shown {
            None => matches && change.kind != ChangeKind::Added,
            Some(shown) if is => !shown.insert(change.instance.instance_id.clone()),
            Some(shown) => shown.remove(&change.instance.instance_id),
        };
        let kind = match (was, is) {
            (false, false) => return None,
            (false, true) => Kind::Added,
            (true, true) => Kind::Updated,
            (true, false) => Kind::Removed,
        };
        let mut event = InstanceEvent::from(change);
        event.kind = kind.into();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::info;
    use super::super::{Identity, Registration, Registry, RegistryLimits};
    use super::*;

    fn registry() -> Registry<()> {
        Registry::new(RegistryLimits::default())
    }

    fn register(
        registry: &mut Registry<()>,
        id: &str,
        services: &[&str],
        zone: &str,
    ) -> crate::Key {
        let mut info = info(id, 1, services);
        info.labels.insert("zone".into(), zone.into());
        info.labels.insert("rack".into(), "7".into());
        let limits = RegistryLimits::default();
        let registration = Registration::parse(&info, Identity::anonymous(), &limits);
        let registered = registry.register(registration.expect("well formed"), ());
        registered.expect("a new id").key
    }

    fn of(service: &str, health: Option<HealthStatus>, labels: &[(&str, &str)]) -> Filter {
        let labels = labels.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        Filter {
            service: service.into(),
            health,
            labels,
        }
    }

    fn found(registry: &Registry<()>, filter: &Filter) -> Vec<String> {
        let found = registry.find(filter).into_iter();
        found.map(|instance| instance.instance_id).collect()
    }

    #[test]
    fn all_that_is_given_must_match() {
        let mut registry = registry();
        let a = register(&mut registry, "a", &["s.A", "s.B"], "eu");
        let b = register(&mut registry, "b", &["s.B"], "us");
        register(&mut registry, "c", &["*"], "eu");
        registry.set_health(a, "s.A", HealthStatus::Unhealthy);
        let (well, ill) = (Some(HealthStatus::Healthy), Some(HealthStatus::Unhealthy));
        let find = |filter| found(&registry, &filter);
        assert_eq!(find(of("", None, &[])), ["a", "b", "c"]);
        assert_eq!(
            find(of("s.B", None, &[])),
            ["a", "b", "c"],
            "* offers it too"
        );
        assert_eq!(find(of("s.B", None, &[("zone", "eu")])), ["a", "c"]);
        assert_eq!(
            find(of("", None, &[("zone", "eu"), ("rack", "8")])),
            [""; 0]
        );
        assert_eq!(
            find(of("", None, &[("room", "")])),
            [""; 0],
            "absent is not empty"
        );
        assert_eq!(find(of("s.A", ill, &[])), ["a"]);
        assert_eq!(find(of("s.A", well, &[])), ["c"]);
        assert_eq!(
            find(of("", well, &[])),
            ["a", "b", "c"],
            "a serves something"
        );
        registry.set_draining(b);
        let stopping = Some(HealthStatus::Stopping);
        assert_eq!(
            found(&registry, &of("s.B", stopping, &[("zone", "us")])),
            ["b"]
        );
    }

    #[test]
    fn a_watch_hears_of_those_that_begin_to_match_and_of_those_that_no_longer_do() {
        let mut registry = registry();
        let a = register(&mut registry, "a", &["s.A"], "eu");
        let ill = Some(HealthStatus::Unhealthy);
        let filter = of("s.A", ill, &[("zone", "eu")]);
        while registry.poll_change().is_some() {}
        let mut watch = Watch::new(filter.clone(), &registry.find(&filter));
        let mut plain = Watch::new(of("", None, &[]), &registry.find(&Filter::default()));
        let b = register(&mut registry, "b", &["s.A"], "us");
        for health in [HealthStatus::Unhealthy, HealthStatus::Starting] {
            registry.set_health(a, "s.A", health);
            registry.set_health(b, "s.A", health);
        }
        registry.set_health(a, "s.A", HealthStatus::Unhealthy);
        registry.set_draining(a);
        registry.remove(a);
        registry.remove(b);
        let (mut told, mut all) = (Vec::new(), Vec::new());
        while let Some(change) = registry.poll_change() {
            let shown = |event: InstanceEvent| {
                let id = &event.instance.as_ref().expect("an instance").instance_id;
                format!("{} {id} {}", event.revision, event.kind().as_str_name())
            };
            told.extend(watch.event(change.clone()).map(shown));
            all.extend(plain.event(change).map(shown));
        }
        assert_eq!(
            told,
            ["3 a ADDED", "5 a REMOVED", "7 a ADDED", "8 a REMOVED"]
        );
        assert_eq!(all.len(), 9, "without a gap: {all:?}");
        assert_eq!(all[8], "10 b REMOVED");
    }
}
