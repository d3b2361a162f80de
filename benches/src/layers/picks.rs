//! The registry with so many instances of one service.

use std::hint::black_box;

use grpcrouter_core::registry::{Choice, Identity, Registration, Registry, RegistryLimits, Wanted};
use grpcrouter_proto::v1;

use crate::service::NAME;

/// Instances that take calls.
pub struct Picks {
    registry: Registry<usize>,
    /// Keys of calls, so that hashing has something to do.
    next: u64,
}

impl Picks {
    /// # Panics
    /// If the registry refuses one, which would be a bug.
    pub fn new(instances: usize) -> Self {
        let limits = RegistryLimits::default();
        let mut registry = Registry::new(limits.clone());
        for number in 0..instances {
            let info = v1::InstanceInfo {
                instance_id: format!("bench-{number}"),
                epoch: Some(v1::Epoch {
                    started_us: 1,
                    attempt: 0,
                }),
                services: vec![v1::ServiceInfo {
                    name: NAME.to_owned(),
                    health: v1::HealthStatus::Healthy.into(),
                }],
                ..v1::InstanceInfo::default()
            };
            let parsed = Registration::parse(&info, Identity::anonymous(), &limits);
            let registered = registry.register(parsed.expect("well formed"), number);
            registered.expect("a registry with room");
            while registry.poll_change().is_some() {}
        }
        Self { registry, next: 0 }
    }

    /// One call that takes its turn, begun and ended.
    pub fn turn(&mut self) {
        self.call(Choice::Turn);
    }

    /// One call that goes where its key belongs, each with another key.
    pub fn hash(&mut self) {
        self.next = self.next.wrapping_add(1);
        let key = self.next.to_le_bytes();
        self.call(Choice::Hash(&key));
    }

    /// One call to the less loaded of two.
    pub fn least_loaded(&mut self) {
        // Any numbers do, as long as they are spread and the same in every run.
        self.next = self
            .next
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.call(Choice::LeastLoaded(self.next));
    }

    fn call(&mut self, choice: Choice<'_>) {
        let wanted = Wanted {
            service: black_box(NAME),
            choice,
            excluded: None,
        };
        let picked = self.registry.pick(wanted).expect("somebody is there");
        self.registry.release(black_box(picked).load);
    }
}
