//! The faults of a run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

use super::{Options, spread_us};

/// A kind of fault. What it hits is chosen when it begins, among what calls are open on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A link delivers nothing, both ways, and then all of it.
    Hold,
    /// As `Hold`, one way.
    HoldOneWay,
    /// What a link carries is gone, both ways; connections that lost something stay silent for ever.
    Partition,
    /// As `Partition`, one way.
    PartitionOneWay,
    /// A link takes much longer.
    Latency,
    /// A link carries few bytes a second.
    Drip,
    /// A link is held and released again and again.
    Flap,
    /// Links are held one by one, and released in another order.
    Swizzle,
    /// A connection is reset, in the middle of a frame.
    Cut,
    /// One end of a connection is reset, and the other one hears nothing.
    HalfOpen,
    /// A host is gone without a word, and comes back.
    Crash,
    /// A process ends, its connections are reset, and it comes back.
    Bounce,
    /// An instance drains and comes back.
    DrainInstance,
    /// A gateway tells its instances to go elsewhere.
    DrainGateway,
    /// A handler stops reading and writing.
    StallHandler,
    /// A client stops reading.
    StallClient,
    /// A client gives a call up.
    Cancel,
    /// Another process takes an instance's id, with a later epoch.
    Replace,
    /// Another process tries to take an instance's id, with an earlier epoch.
    StaleEpoch,
    /// A peer breaks the protocol.
    Hostile(Hostility),
}

/// How a peer breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hostility {
    /// Data past its credit.
    Overspend,
    /// A frame for a call that never was.
    ForgedId,
    /// A data frame with another number than is due.
    OutOfOrder,
    /// A second head, or a second OPEN.
    HeadTwice,
    /// A frame longer than may be.
    Oversize,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Hold,
        Self::HoldOneWay,
        Self::Partition,
        Self::PartitionOneWay,
        Self::Latency,
        Self::Drip,
        Self::Flap,
        Self::Swizzle,
        Self::Cut,
        Self::HalfOpen,
        Self::Crash,
        Self::Bounce,
        Self::DrainInstance,
        Self::DrainGateway,
        Self::StallHandler,
        Self::StallClient,
        Self::Cancel,
        Self::Replace,
        Self::StaleEpoch,
        Self::Hostile(Hostility::Overspend),
        Self::Hostile(Hostility::ForgedId),
        Self::Hostile(Hostility::OutOfOrder),
        Self::Hostile(Hostility::HeadTwice),
        Self::Hostile(Hostility::Oversize),
    ];

    /// Its name, as it is given on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::HoldOneWay => "hold-one-way",
            Self::Partition => "partition",
            Self::PartitionOneWay => "partition-one-way",
            Self::Latency => "latency",
            Self::Drip => "drip",
            Self::Flap => "flap",
            Self::Swizzle => "swizzle",
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
            Self::Crash => "crash",
            Self::Bounce => "bounce",
            Self::DrainInstance => "drain-instance",
            Self::DrainGateway => "drain-gateway",
            Self::StallHandler => "stall-handler",
            Self::StallClient => "stall-client",
            Self::Cancel => "cancel",
            Self::Replace => "replace",
            Self::StaleEpoch => "stale-epoch",
            Self::Hostile(Hostility::Overspend) => "overspend",
            Self::Hostile(Hostility::ForgedId) => "forged-id",
            Self::Hostile(Hostility::OutOfOrder) => "out-of-order",
            Self::Hostile(Hostility::HeadTwice) => "head-twice",
            Self::Hostile(Hostility::Oversize) => "oversize",
        }
    }

    /// Some of them: each is on in half of the seeds, and in one seed of sixteen none is.
    pub(super) fn some(rng: &mut Rng) -> Vec<Self> {
        if rng.u8(..16) == 0 {
            return Vec::new();
        }
        Self::ALL.into_iter().filter(|_| rng.bool()).collect()
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("no fault `{text}`; faults are {names}")
            })
    }
}

/// A fault that will happen.
#[derive(Debug, Clone, Copy)]
pub struct FaultPlan {
    /// What.
    pub kind: FaultKind,
    /// When it begins.
    pub start: Duration,
    /// When it is over, after that.
    pub length: Duration,
}

pub(super) fn draw(rng: &mut Rng, options: &Options) -> Vec<FaultPlan> {
    if options.faults.is_empty() {
        return Vec::new();
    }
    let span_us = options.span.as_micros() as u64;
    let most_us = options.heartbeat.as_micros() as u64 * 4;
    let mut faults: Vec<FaultPlan> = (0..options.fault_count)
        .map(|_| FaultPlan {
            kind: options.faults[rng.usize(..options.faults.len())],
            start: Duration::from_micros(rng.u64(..span_us)),
            length: Duration::from_micros(spread_us(rng, 500, most_us)),
        })
        .collect();
    faults.sort_by_key(|fault| fault.start);
    faults
}
