//! What must never happen, by name.

use std::fmt;

/// A rule of the oracle. Every violation is of exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A handler finished and its client saw neither OK nor a failure.
    Lost,
    /// A handler ran more than once for one call.
    Duplicated,
    /// A handler ran at an instance that the call was not for, or that a later registration had replaced.
    Misrouted,
    /// Bytes of an earlier place came again, or a later message came before its turn.
    Reordered,
    /// Bytes are missing.
    Gapped,
    /// Bytes that stand nowhere in the stream, or an end that the handler did not give.
    Corrupted,
    /// An end later than the call's deadline, or than a drain may take.
    Late,
    /// Something is held when nothing runs any more: calls, credit, tasks, ids.
    Leaked,
    /// More was in flight, on one call in one direction, than the declared bound.
    OverBound,
    /// A handler ran, or something came to it, long after its call had ended at the client.
    Zombie,
    /// A call failed that no fault had touched.
    Unjustified,
    /// All is whole again, and still a new call does not succeed in time.
    Unavailable,
    /// The code under test panicked.
    Panicked,
}

impl Rule {
    /// The rule's name, as it is printed and given on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Misrouted => "misrouted",
            Self::Reordered => "reordered",
            Self::Gapped => "gapped",
            Self::Corrupted => "corrupted",
            Self::Late => "late",
            Self::Leaked => "leaked",
            Self::OverBound => "over-bound",
            Self::Zombie => "zombie",
            Self::Unjustified => "unjustified",
            Self::Unavailable => "unavailable",
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that was broken, and how.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// The call that it is about; none where it is about a host.
    pub call: Option<u32>,
    /// Virtual time, in microseconds.
    pub at_us: u64,
    /// What was seen, and what was due.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule, at_us, what, ..
        } = self;
        write!(f, "{rule} at {:.3} ms", *at_us as f64 / 1e3)?;
        if let Some(call) = self.call {
            write!(f, ", call {call}")?;
        }
        write!(f, ": {what}")
    }
}
