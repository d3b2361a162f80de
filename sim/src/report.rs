//! What a run of one seed found, the same for both layers.

use std::fmt;

use crate::oracle::{Event, Violation};

/// What a run of one seed found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The layer that ran it: `frame` or `net`.
    pub layer: &'static str,
    /// Calls that began.
    pub calls: usize,
    /// Messages that were delivered whole, both ways.
    pub messages: usize,
    /// Faults that hit something on which a call was open.
    pub faults: usize,
    /// Of everything that happened, in order.
    pub hash: u64,
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// For each violation, the last events at both edges of its call and in the world.
    pub events: Vec<Vec<Event>>,
}

impl Report {
    /// Whether no rule was broken.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            layer,
            calls,
            messages,
            faults,
            hash,
            ..
        } = self;
        write!(
            f,
            "seed {seed} ({layer}): {calls} calls, {messages} messages, {faults} faults, {hash:016x}"
        )?;
        for (violation, events) in self.violations.iter().zip(&self.events) {
            write!(f, "\n{violation}")?;
            for event in events {
                write!(f, "\n  {event}")?;
            }
        }
        Ok(())
    }
}
