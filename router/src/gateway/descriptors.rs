//! The descriptors of the instances: the core's library behind a lock, and who is asked for what.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use grpcrouter_core::Tunnel;
use grpcrouter_core::descriptors::{DescriptorLimits, Hash, Library, Set};
use grpcrouter_core::error::HandoverError;
use grpcrouter_core::registry::Key;
use grpcrouter_proto::v1::InstanceInfo;
use tonic_reflection::pb::{v1, v1alpha};
use tracing::{debug, warn};

use super::directory::TunnelLink;

/// What the gateway answers reflection from.
#[derive(Debug)]
pub(super) struct Descriptors {
    library: Mutex<Library<TunnelLink>>,
}

/// What the gateway serves itself.
const OWN: [&[u8]; 3] = [
    v1::FILE_DESCRIPTOR_SET,
    v1alpha::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
];

impl Descriptors {
    pub(super) fn new(limits: DescriptorLimits) -> Self {
        let own = OWN.map(|bytes| {
            let set = Set::parse(&Bytes::from_static(bytes));
            (Hash::of(bytes), set.expect("what is built in is a set"))
        });
        let library = Mutex::new(Library::new(limits, own.into()));
        Self { library }
    }

    /// An instance registered: its descriptors are asked for, unless they are here or it has none.
    pub(super) fn announce(&self, key: Key, info: &InstanceInfo, link: &TunnelLink) {
        let announced = link.with(|tunnel, _| tunnel.announced_descriptors());
        let Some(announced) = announced else {
            return;
        };
        let services = info.services.iter().map(|s| s.name.clone()).collect();
        let mut library = self.lock();
        if !library.announce(key, announced, services, link.clone()) {
            let (instance, size) = (&info.instance_id, announced.size);
            warn!(
                instance,
                size, "no reflection: its descriptors are too large"
            );
        }
        ask(&mut library);
    }

    /// What an instance was asked for has come, or will not.
    pub(super) fn brought(&self, key: Key, name: &str, outcome: Result<Bytes, HandoverError>) {
        // Read before the lock is taken: it may take a while.
        let parsed = outcome.map(|set| Set::parse(&set));
        let mut library = self.lock();
        match parsed {
            Ok(Ok(set)) => {
                debug!(instance = name, "brought descriptors");
                library.arrived(key, set);
            }
            Ok(Err(error)) => {
                warn!(instance = name, "no reflection: {error}");
                library.refuse(key);
            }
            Err(error) => {
                warn!(instance = name, "no reflection: {error}");
                library.failed(key);
            }
        }
        ask(&mut library);
    }

    /// An instance's tunnel ended.
    pub(super) fn leave(&self, key: Key) {
        let mut library = self.lock();
        library.leave(key);
        ask(&mut library);
    }

    /// Looks something up.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Library<TunnelLink>) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Library<TunnelLink>> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks whom the library names. A tunnel's lock is taken under the library's, never the other way round.
fn ask(library: &mut Library<TunnelLink>) {
    while let Some((key, link)) = library.poll_request() {
        if !link.with(Tunnel::request_descriptors) {
            // It drains or has ended.
            library.failed(key);
        }
    }
}
