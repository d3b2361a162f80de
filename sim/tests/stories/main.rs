//! Stories of the network level: real gateways, instances and clients, in virtual time.
//!
//! Time in them is arithmetic. A step is 5 ms, and a hop from one host to the next takes the link's latency
//! and at most two steps: 5 + 2 x 5 = 15 ms with the settings that are used where no others are named. The
//! heartbeat is 500 ms there: who has heard nothing for 2 x 500 ms gives its peer up.

mod clocks;
mod kinds_under_faults;
mod lifetime;
mod links;
mod many_instances;
mod slow_reader;
mod tunnel;
mod zero_buffering;

use std::time::Duration;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// A hop from one host to the next, at the most.
const HOP: Duration = ms(15);
/// There and back.
const RTT: Duration = ms(30);
/// How long a peer may be silent before it is given up.
const SILENCE: Duration = ms(2 * 500);

const DEADLINE_EXCEEDED: u32 = 4;
const UNAVAILABLE: u32 = 14;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a call failed with.
fn failed(code: u32, reason: &str) -> Option<(u32, String)> {
    Some((code, reason.to_owned()))
}
