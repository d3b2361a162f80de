//! What a run of one seed found, the same for both layers.

use std::fmt;

use crate::oracle::{Event, Rule, Violation};

/// What a run of one seed found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The layer that ran it, as it is given on the command line.
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

/// How a run is watched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// The hash covers the bytes of every segment, not only their lengths.
    pub whole: bool,
    /// Every event is printed.
    pub print: bool,
    /// The first thing on the network takes as long as a clock of this machine says.
    pub wall_clock: bool,
}

/// Events shown about each violation: of its call, and of the world.
pub const EVENTS: usize = 24;

impl Report {
    /// What is known of a run that panicked.
    pub fn panicked(seed: u64, layer: &'static str, what: String) -> Self {
        Self {
            seed,
            layer,
            calls: 0,
            messages: 0,
            faults: 0,
            hash: 0,
            violations: vec![Violation {
                rule: Rule::Panicked,
                call: None,
                at_us: 0,
                what,
            }],
            events: vec![Vec::new()],
        }
    }

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
            "seed {seed} ({layer}): {calls} calls, {messages} messages, {faults} faults, hash {hash:016x}"
        )?;
        for (violation, events) in self.violations.iter().zip(&self.events) {
            write!(f, "\nseed {seed}: {violation}")?;
            for event in events {
                write!(f, "\n  {event}")?;
            }
        }
        Ok(())
    }
}
