//! The settings of a story.

use std::time::Duration;

use crate::plan::Options;

/// The name of the service that every instance has.
pub const SERVICE: &str = crate::net::SERVICE;

/// The settings of a story. The defaults are those of the gateway, on a short link and with a short
/// heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Gateways.
    pub gateways: usize,
    /// Instances. Each dials every gateway; every third one, beginning with the second, is an agent.
    pub instances: usize,
    /// Whether each instance has a rival, for [`Fault::Replace`](super::Fault) and `Stale`.
    pub rivals: bool,
    /// Clients. Each begins with the gateway of its number, where there are so many.
    pub clients: usize,
    /// One way, at the least, of every link.
    pub latency: Duration,
    /// More than that, at the most.
    pub jitter: Duration,
    /// Between heartbeats of a tunnel, and between pings of a client's connection, at both of its ends.
    pub heartbeat: Duration,
    /// Stream window of the gateway towards its clients, in bytes.
    pub client_window: u32,
    /// Credit of a call on a tunnel, in bytes. It does not grow.
    pub call_window: u32,
    /// Stream window of a client towards its gateway, in bytes.
    pub reader_window: u32,
    /// What a link holds in each direction, in bytes, counted in writes of 8 KiB. As many connections may
    /// wait at a listener as that is writes.
    pub link_bytes: usize,
    /// Where the random numbers of the run begin.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gateways: 1,
            instances: 1,
            clients: 1,
            rivals: true,
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            heartbeat: Duration::from_millis(500),
            client_window: 80 * 1024,
            call_window: 80 * 1024,
            reader_window: 64 * 1024,
            link_bytes: 256 * 1024,
            seed: 1,
        }
    }
}

impl Settings {
    /// The defaults, with so many instances.
    pub fn with_instances(instances: usize) -> Self {
        Self {
            instances,
            ..Self::default()
        }
    }

    pub(super) fn options(self) -> Options {
        Options {
            gateways: self.gateways,
            instances: self.instances,
            clients: self.clients,
            rivals: self.rivals,
            calls: 0,
            fault_count: 0,
            span: Duration::ZERO,
            latency: self.latency,
            jitter: self.jitter,
            client_window: self.client_window,
            call_window: self.call_window,
            call_window_max: self.call_window,
            reader_window: self.reader_window,
            link_bytes: self.link_bytes,
            heartbeat: self.heartbeat,
            fragmented: 0,
            faults: Vec::new(),
            bulk: false,
            tiny: false,
            stall: Duration::ZERO,
            tight_deadlines: false,
            tight_cancels: false,
        }
    }
}
