//! Short ways to say what the tests register.

use grpcrouter_proto::v1;

use super::{Identity, Registration, RegistryLimits};

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
