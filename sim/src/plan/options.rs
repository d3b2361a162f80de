//! The settings of one run.

use std::time::Duration;

use fastrand::Rng;

use super::{FaultKind, spread_us, weighted};

/// The settings of one run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Hosts.
    pub gateways: usize,
    /// Hosts. Each dials every gateway.
    pub instances: usize,
    /// Hosts. Each calls one gateway at a time.
    pub clients: usize,
    /// Whether each instance has a rival: a host from which another process may ask for its id.
    pub rivals: bool,
    /// How many calls begin.
    pub calls: usize,
    /// How many faults begin.
    pub fault_count: usize,
    /// Calls and faults begin within this time.
    pub span: Duration,
    /// One way, at the least, of every link.
    pub latency: Duration,
    /// More than that, at the most.
    pub jitter: Duration,
    /// Stream window of the gateway towards its clients, in bytes.
    pub client_window: u32,
    /// Credit of a call on a tunnel, in bytes.
    pub call_window: u32,
    /// What it may grow to, in bytes.
    pub call_window_max: u32,
    /// Stream window of a client towards its gateway, in bytes.
    pub reader_window: u32,
    /// What a link holds in each direction, in bytes.
    pub link_bytes: usize,
    /// Between heartbeats of a tunnel, and between pings of a client's connection.
    pub heartbeat: Duration,
    /// How likely a segment arrives in pieces, in 256ths.
    pub fragmented: u8,
    /// The kinds of faults that are on.
    pub faults: Vec<FaultKind>,
    /// The longest that a plan lets a handler do nothing.
    pub stall: Duration,
    /// Whether some calls move megabytes.
    pub bulk: bool,
    /// Whether some calls move very many tiny messages.
    pub tiny: bool,
    /// Whether calls have deadlines that are near their ends.
    pub tight_deadlines: bool,
    /// Whether calls are cancelled when they are about to end.
    pub tight_cancels: bool,
}

impl Options {
    /// For the frame level.
    pub fn frame(rng: &mut Rng) -> Self {
        let kib = |rng: &mut Rng, sizes: &[(u32, u32)]| weighted(rng, sizes) * 1024;
        let call_window = kib(rng, &[(3, 1), (3, 4), (3, 16), (3, 80)]);
        let growth = weighted(rng, &[(2, 1), (1, 4), (1, 13)]);
        let latency_us = spread_us(rng, 20, 20_000);
        Self {
            gateways: weighted(rng, &[(3, 1), (2, 2)]),
            instances: rng.usize(1..=4),
            clients: rng.usize(1..=3),
            rivals: true,
            calls: rng.usize(22..=36),
            fault_count: rng.usize(24..=44),
            span: Duration::from_millis(rng.u64(1_500..6_000)),
            latency: Duration::from_micros(latency_us),
            jitter: Duration::from_micros(rng.u64(..latency_us * 2)),
            client_window: kib(rng, &[(2, 2), (2, 16), (3, 80)]),
            call_window,
            call_window_max: call_window * growth,
            reader_window: kib(rng, &[(2, 2), (2, 16), (3, 64)]),
            link_bytes: kib(rng, &[(1, 4), (1, 32), (2, 256), (1, 8 * 1024)]) as usize,
            heartbeat: Duration::from_millis(rng.u64(400..900)),
            fragmented: weighted(rng, &[(2, 0), (2, 20), (1, 200)]),
            faults: FaultKind::some(rng),
            stall: Duration::from_secs(3),
            bulk: rng.u8(..64) == 0,
            tiny: rng.u8(..8) == 0,
            tight_deadlines: rng.bool(),
            tight_cancels: rng.bool(),
        }
    }

    /// For the network level: as for the frame level, in sizes that a whole network can run fast. Peers
    /// that break the protocol are left to the frame level.
    pub fn net(rng: &mut Rng) -> Self {
        let frame = Self::frame(rng);
        let latency_us = spread_us(rng, 500, 10_000);
        let faults = frame.faults.into_iter();
        let faults: Vec<_> = faults
            .filter(|kind| !matches!(kind, FaultKind::Hostile(_)))
            .collect();
        Self {
            gateways: weighted(rng, &[(3, 1), (2, 2)]),
            instances: rng.usize(1..=3),
            clients: rng.usize(1..=2),
            calls: rng.usize(26..=36),
            fault_count: rng.usize(22..=32),
            span: Duration::from_millis(rng.u64(5_000..9_000)),
            latency: Duration::from_micros(latency_us),
            // The network counts it in whole milliseconds.
            jitter: Duration::from_millis(rng.u64(..=latency_us / 500)),
            heartbeat: Duration::from_millis(rng.u64(300..=1_000)),
            // The real gateway takes none that clients need not keep to.
            client_window: frame.client_window.max(grpcrouter::CLIENT_WINDOW_MIN),
            faults,
            tiny: rng.u8(..16) == 0,
            // Some calls outlast what a drain gives them.
            stall: Duration::from_secs(12),
            // What is past a bound shows only in calls that are longer than it. With less credit they would take
            // longer than all else.
            bulk: rng.u8(..6) == 0 && frame.call_window >= 16 * 1024,
            ..frame
        }
    }
}
