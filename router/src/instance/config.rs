//! What an instance is and may use.

use std::collections::BTreeMap;
use std::time::Duration;

use grpcrouter_core::Config;
use grpcrouter_proto::v1::{Epoch, HealthStatus};

use crate::clock::first_epoch;
use crate::net::Target;

use super::Backoff;

/// The settings of an instance.
#[derive(Debug, Clone)]
pub struct InstanceConfig {
    /// Who it is: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. Unique among live instances.
    pub id: String,
    /// What it serves, by full names; `*` takes what nobody else does.
    pub services: Vec<String>,
    /// How its services are at first.
    pub health: HealthStatus,
    /// How long the service may take to say how it is, before the first registration and whenever it is asked
    /// anew. 2 s. Where it answers `grpc.health.v1.Health/Watch`, as `tonic_health`'s does, each of `services`
    /// is watched in this process, and what it says reaches the gateways as
    /// [`InstanceHandle::set_health`](super::InstanceHandle::set_health) would; `*` is as the server is as a
    /// whole. Of a service that it does not know, or that does not say in time, nothing changes, and it is
    /// asked again; where it has no such method, it is asked once. None: it is not asked.
    pub health_watch: Option<Duration>,
    /// Routing keys that belong to it: calls that are pinned to one of them come here. 1 to 256 bytes each.
    pub keys: Vec<String>,
    /// Words about it for people and selectors.
    pub labels: BTreeMap<String, String>,
    /// Its weight against the others', in every balancer but the pinned one. 1 to 1,000.
    pub weight: u32,
    /// Its version, for people.
    pub version: String,
    /// Handed to the gateway as they are.
    pub credentials: bytes::Bytes,
    /// An encoded `FileDescriptorSet` of its services and all that they import, such as
    /// `tonic_prost_build`'s `file_descriptor_set_path` writes. Each gateway gets it at most once a tunnel, and
    /// answers server reflection from it; none, or one that is past the gateway's limit (4 MiB): no
    /// reflection.
    pub descriptors: Option<bytes::Bytes>,
    /// The gateways to dial: a tunnel to each.
    pub gateways: Vec<Target>,
    /// What a tunnel may use.
    pub tunnel: Config,
    /// How long a gateway may take to answer a dial. 10 s.
    pub dial_timeout: Duration,
    /// How long running calls may take to finish after `InstanceHandle::drain`. 30 s.
    pub drain_timeout: Duration,
    /// How long to wait before dialling again.
    pub backoff: Backoff,
    /// The first registration's epoch. By default from the wall clock, as processes need.
    pub epoch: Epoch,
    /// Seeds the jitter of the back-off. By default from the operating system.
    pub seed: u64,
}

impl InstanceConfig {
    /// Defaults for an instance of this name that serves these services.
    pub fn new(
        id: impl Into<String>,
        services: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            id: id.into(),
            services: services.into_iter().map(Into::into).collect(),
            health: HealthStatus::Healthy,
            health_watch: Some(Duration::from_secs(2)),
            keys: Vec::new(),
            labels: BTreeMap::new(),
            weight: 1,
            version: String::new(),
            credentials: bytes::Bytes::new(),
            descriptors: None,
            gateways: Vec::new(),
            tunnel: Config::default(),
            dial_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            epoch: first_epoch(),
            seed: fastrand::u64(..),
        }
    }
}
