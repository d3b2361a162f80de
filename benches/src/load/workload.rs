//! What is measured, by name.

use std::fmt;
use std::str::FromStr;

/// Bytes of payload in a small message.
pub(super) const SMALL: usize = 100;
/// Messages of a stream.
pub(super) const MESSAGES: u32 = 1_000;
/// Bytes of payload in a message of a bulk stream.
pub(super) const BULK: u32 = 16 * 1024;
/// Messages of a bulk stream that nobody reads: 100 MB of them.
pub(super) const STALLED: u32 = 100_000_000 / BULK;
/// Connections where a workload does not say otherwise.
const CONNECTIONS: usize = 8;

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Unary calls of so many bytes each way, so many at once.
    Unary {
        /// Bytes of payload.
        size: usize,
        /// Calls at once.
        at_once: usize,
    },
    /// Streams of 1,000 small messages from the server, 8 at once.
    ServerStream,
    /// Streams of 1,000 small messages to the server, 8 at once.
    ClientStream,
    /// One small message each way in turn, on so many streams.
    Bidi {
        /// Streams at once.
        at_once: usize,
    },
    /// Small unary calls, 16 at once, alone and beside a stream of 100 MB that nobody reads.
    Stalled,
    /// Small unary calls, 16 at once, alone and beside a bulk stream that is read as fast as it comes.
    Draining,
}

const ALL: &[(&str, Workload)] = &[
    (
        "unary-1",
        Workload::Unary {
            size: SMALL,
            at_once: 1,
        },
    ),
    (
        "unary-64",
        Workload::Unary {
            size: SMALL,
            at_once: 64,
        },
    ),
    (
        "unary-256",
        Workload::Unary {
            size: SMALL,
            at_once: 256,
        },
    ),
    ("server-stream", Workload::ServerStream),
    ("client-stream", Workload::ClientStream),
    ("bidi-1", Workload::Bidi { at_once: 1 }),
    ("bidi-64", Workload::Bidi { at_once: 64 }),
    (
        "echo-64k",
        Workload::Unary {
            size: 64 * 1024,
            at_once: 4,
        },
    ),
    (
        "echo-1m",
        Workload::Unary {
            size: 1024 * 1024,
            at_once: 4,
        },
    ),
    ("unary-stalled", Workload::Stalled),
    ("unary-draining", Workload::Draining),
];

impl Workload {
    /// Calls or streams at once.
    pub(super) fn at_once(self) -> usize {
        match self {
            Self::Unary { at_once, .. } | Self::Bidi { at_once } => at_once,
            Self::ServerStream | Self::ClientStream => 8,
            Self::Stalled | Self::Draining => 16,
        }
    }

    /// Connections, over which calls are spread evenly: 8, or as many as there are calls.
    pub(super) fn connections(self) -> usize {
        self.at_once().min(CONNECTIONS)
    }

    /// What is counted.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Unary { .. } | Self::Stalled | Self::Draining => "calls",
            Self::ServerStream | Self::ClientStream | Self::Bidi { .. } => "messages",
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, workload)| *workload).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            format!("no workload `{text}`; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = ALL.iter().find(|(_, workload)| workload == self);
        f.write_str(found.map_or("unnamed", |(name, _)| name))
    }
}
