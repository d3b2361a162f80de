//! Implementations that are broken on purpose, each in one way: what the suite must find.
//!
//! A mutant is a whole implementation with a [`Relay`] between its gateway and its instances that changes
//! frames on their way, or with a [`Hop`] between clients and its gateway. Everything else of it is right, so that it
//! fails what it is broken for.
//!
//! What it does must not depend on time, nor on how bytes are cut into frames: it decides by what a call is, so that it
//! fails the same cases in every run.

mod answer;
mod content;
mod edit;
mod flags;
mod front;
mod hop;
mod ids;
mod messages;
mod queue;
mod relay;
mod request;
mod spool;
mod tamper;

pub use hop::Hop;
pub use relay::Relay;
pub use tamper::{Frames, Tamper};

use std::fmt;
use std::str::FromStr;

/// A way of being broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A response is passed on when it is complete.
    BuffersResponses,
    /// A request is passed on when it is complete.
    BuffersRequests,
    /// Every message waits for the next one.
    WaitsForNext,
    /// The initial metadata wait for the first message.
    GluesHead,
    /// One message overtakes another.
    Reorders,
    /// A message comes twice.
    Repeats,
    /// Messages without bytes are left out.
    DropsEmpty,
    /// The half close behind the only message of a call is lost.
    LosesHalfClose,
    /// Credit for requests is granted for what has come, not for what was taken.
    GrantsOnReceipt,
    /// More credit is passed on than was granted.
    Overspends,
    /// Credit is lost, once a call was given much of it.
    LeaksCredit,
    /// One call without credit stops the others.
    StallsSiblings,
    /// A cancellation is lost.
    IgnoresCancel,
    /// A deadline is lost.
    IgnoresDeadline,
    /// Deadlines are longer than they were.
    StretchesDeadline,
    /// What was lost with its instance is said to have never been dispatched.
    RetriesUnsafely,
    /// What an instance declined is said to be broken.
    ForgetsRefusal,
    /// Two calls at a time that go both ways get each other's answers.
    SwapsCalls,
    /// An instance with keys registers those of the one before it.
    SwapsKeys,
    /// Routes are taken, and calls go in turn.
    ForgetsRoutes,
    /// What instances say of their health is lost.
    LosesHealth,
    /// Clients are pinged after an hour.
    NeverPings,
    /// `te` is forwarded.
    ForwardsTe,
    /// `-bin` values lose their last bytes.
    CorruptsBin,
    /// Repeats of a key are joined into one.
    JoinsRepeats,
    /// Values lose the spaces within them.
    TrimsValues,
    /// The user agent and the authority are the gateway's own.
    HidesClient,
    /// Trailing metadata are dropped.
    DropsTrailers,
    /// Status details are dropped.
    DropsDetails,
    /// A status that is rare becomes UNKNOWN.
    RewritesStatus,
    /// A status message is cut at its first escape.
    CutsMessage,
    /// The flag of compression is lost.
    ClearsCompression,
    /// Of `-bin` values joined by commas the first is kept.
    DropsJoined,
    /// A message that the request ends in is filled up.
    CompletesMessages,
    /// A request of very many messages is reset.
    CountsMessages,
    /// An answer that comes before the end of its request is a cancellation.
    ResetsEarlyEnds,
    /// What a handler aborted is said to have gone well.
    HidesAborts,
    /// Names of headers that are not in lower case are mended.
    LowersKeys,
    /// Every call is cut when it opens.
    CutsCalls,
    /// Any registration is taken for the latest.
    AcceptsStaleEpochs,
    /// An id is its first tunnel's until that ends.
    RefusesLater,
    /// The answer to a drain is lost.
    LosesDrain,
    /// Heartbeats are not passed on.
    LosesHeartbeats,
    /// Calls go on at an instance whose tunnel was lost.
    KeepsZombies,
    /// The id of a call that is over is taken again too soon.
    ReusesIds,
    /// What a client does not read is kept, however much it is.
    QueuesAnswers,
    /// Every call costs more memory than a path may hold.
    HoardsMemory,
    /// Less is declared of a path than it holds.
    UnderstatesBound,
    /// What instances prove themselves with is logged.
    LogsTokens,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 49] = [
        Self::BuffersResponses,
        Self::BuffersRequests,
        Self::WaitsForNext,
        Self::GluesHead,
        Self::Reorders,
        Self::Repeats,
        Self::DropsEmpty,
        Self::LosesHalfClose,
        Self::GrantsOnReceipt,
        Self::Overspends,
        Self::LeaksCredit,
        Self::StallsSiblings,
        Self::IgnoresCancel,
        Self::IgnoresDeadline,
        Self::StretchesDeadline,
        Self::RetriesUnsafely,
        Self::ForgetsRefusal,
        Self::SwapsCalls,
        Self::SwapsKeys,
        Self::ForgetsRoutes,
        Self::LosesHealth,
        Self::NeverPings,
        Self::ForwardsTe,
        Self::CorruptsBin,
        Self::JoinsRepeats,
        Self::TrimsValues,
        Self::HidesClient,
        Self::DropsTrailers,
        Self::DropsDetails,
        Self::RewritesStatus,
        Self::CutsMessage,
        Self::ClearsCompression,
        Self::DropsJoined,
        Self::CompletesMessages,
        Self::CountsMessages,
        Self::ResetsEarlyEnds,
        Self::HidesAborts,
        Self::LowersKeys,
        Self::CutsCalls,
        Self::AcceptsStaleEpochs,
        Self::RefusesLater,
        Self::LosesDrain,
        Self::LosesHeartbeats,
        Self::KeepsZombies,
        Self::ReusesIds,
        Self::QueuesAnswers,
        Self::HoardsMemory,
        Self::UnderstatesBound,
        Self::LogsTokens,
    ];

    /// Its name on the command line and in reports: that of the variant, in words.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mutant| mutant.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no mutant `{text}`; they are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_name_that_finds_it() {
        for mutant in Mutant::ALL {
            assert_eq!(mutant.name().parse(), Ok(mutant));
        }
        assert_eq!(Mutant::ForwardsTe.name(), "forwards-te");
        assert!("forwards".parse::<Mutant>().is_err());
    }
}
