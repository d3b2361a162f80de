//! Short ways to say what the tests register.

use grpcrouter_proto::v1;

use super::{Choice, Identity, Key, PickError, Registration, Registry, RegistryLimits, Wanted};

pub(super) fn info(id: &str, started_us: u64, services: &[&str]) -> v1::InstanceInfo {
    let service = |name: &&str| v1::ServiceInfo {
        name: (*name).to_owned(),
        health: 0,
    };
    v1::InstanceInfo {
        instance_id: id.to_owned(),
        epoch: Some(v1::Epoch {
            started_us,
            attempt: 0,
        }),
        services: services.iter().map(service).collect(),
        ..Default::default()
    }
}

pub(super) fn instance(id: &str, started_us: u64, services: &[&str]) -> Registration {
    let info = info(id, started_us, services);
    Registration::parse(&info, Identity::anonymous(), &RegistryLimits::default())
        .expect("well formed")
}

impl<T: Clone> Registry<T> {
    /// The instance whose turn it is, or the one that is named.
    pub(super) fn pick_one(
        &mut self,
        service: &str,
        named: Option<&str>,
    ) -> Result<(Key, T), PickError> {
        self.pick_for(service, named, None)
    }

    /// As `pick_one`, but not this one.
    pub(super) fn pick_other(
        &mut self,
        service: &str,
        named: Option<&str>,
        excluded: Key,
    ) -> Result<(Key, T), PickError> {
        self.pick_for(service, named, Some(excluded))
    }

    fn pick_for(
        &mut self,
        service: &str,
        named: Option<&str>,
        excluded: Option<Key>,
    ) -> Result<(Key, T), PickError> {
        let wanted = Wanted {
            service,
            choice: named.map_or(Choice::Turn, Choice::Instance),
            excluded,
        };
        self.pick(wanted).map(|picked| (picked.key, picked.tunnel))
    }
}
