//! What a gateway has counted since its start, and what waits in it now.
//!
//! `calls` counts calls, each shard its own; `tunnels` asks the tunnels, and keeps what those counted that are gone.
//! Nothing is added up before someone asks.

mod calls;
mod tunnels;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::tunnel::{Meters, RTT_BOUNDS};

use super::Gateway;

pub use calls::CallCounts;
pub(super) use calls::{CallMeter, Counting};
pub(super) use tunnels::TunnelLedger;

/// What each shard counts, and all of them together.
#[derive(Debug)]
pub(super) struct Meter {
    shards: Arc<[CallMeter]>,
    /// This shard's.
    own: usize,
    pub(super) tunnels: Arc<TunnelLedger>,
}

impl Meter {
    /// One for each shard.
    pub(super) fn shards(count: usize) -> impl Iterator<Item = Self> {
        let shards: Arc<[_]> = (0..count).map(|_| CallMeter::default()).collect();
        let tunnels = Arc::<TunnelLedger>::default();
        (0..count).map(move |own| Self {
            shards: shards.clone(),
            own,
            tunnels: tunnels.clone(),
        })
    }

    /// What this shard counts.
    pub(super) fn calls(&self) -> &CallMeter {
        &self.shards[self.own]
    }
}

/// Figures of a gateway, all its shards together. What a field's text does not call open, waiting or now has been counted
/// since the gateway was made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Calls by service: those that an instance has declared by name, at most [`Self::MAX_SERVICES`] in each shard, and
    /// [`Self::OTHER_SERVICES`] for the rest. A client cannot add to them.
    pub calls: BTreeMap<String, CallCounts>,
    /// Requests that were no gRPC calls, by the HTTP status that they got.
    pub http_refusals: BTreeMap<u16, u64>,
    /// Calls that wait for an instance now.
    pub waiting_calls: usize,
    /// Connections that are open now.
    pub connections: usize,
    /// Tunnels that are open now.
    pub tunnels: usize,
    /// Instances that are registered now.
    pub instances: usize,
    /// Registrations at a process's first attempt.
    pub registrations: u64,
    /// Registrations at a later attempt of a process, which mostly had been registered: here or at another gateway.
    pub reconnects: u64,
    /// Registrations that were refused, by reason.
    pub refused_registrations: BTreeMap<&'static str, u64>,
    /// Whether the gateway drains now.
    pub draining: bool,
    /// Bytes that came from instances, of all frames.
    pub tunnel_received_bytes: u64,
    /// Bytes that were sent to instances.
    pub tunnel_sent_bytes: u64,
    /// Calls whose request waits for credit now.
    pub stalled_calls: u64,
    /// How long calls have been so, added up over all of them.
    pub stalled_time: Duration,
    /// Bytes of requests, and of control frames, that wait in tunnels now.
    pub request_queue_bytes: usize,
    /// Bytes of responses that wait in tunnels now, for their clients to take them.
    pub response_queue_bytes: usize,
    /// Round trips of heartbeats, by their upper bound; each range without those before it.
    pub heartbeat_rtts: Vec<(Duration, u64)>,
    /// All of them, those above the last bound included.
    pub heartbeat_rtt_count: u64,
    /// All of them, one after the other.
    pub heartbeat_rtt_sum: Duration,
}

impl Gateway {
    /// Its figures now, of all shards. It asks every tunnel, a short lock each, while which none comes or goes.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let mut metrics = Metrics {
            waiting_calls: shared.waiting.taken(),
            connections: shared.gauges.connections.get(),
            tunnels: shared.gauges.tunnels.get(),
            instances: self.instances(),
            draining: *shared.drain.borrow(),
            ..Metrics::default()
        };
        for shard in &*shared.meter.shards {
            shard.add_to(&mut metrics);
        }
        shared.meter.tunnels.add_to(&mut metrics);
        metrics
    }
}

impl Metrics {
    fn set_meters(&mut self, meters: &Meters) {
        self.tunnel_received_bytes = meters.received;
        self.tunnel_sent_bytes = meters.sent;
        self.stalled_calls = meters.stalled.into();
        self.stalled_time = meters.stalled_for;
        self.heartbeat_rtts = RTT_BOUNDS.into_iter().zip(meters.rtts.ranges).collect();
        self.heartbeat_rtt_count = meters.rtts.count;
        self.heartbeat_rtt_sum = meters.rtts.sum;
    }
}
