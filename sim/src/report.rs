//! What a run came to.

use crate::oracle::{Event, Violation};

/// What the run of one seed came to.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Calls that began.
    pub calls: usize,
    /// Messages that were delivered whole, both ways.
    pub messages: usize,
    /// Faults that hit something on which a call was open.
    pub faults: usize,
    /// Of everything that happened.
    pub hash: u64,
    /// The rules that were broken, each with the last events at both edges.
    pub violations: Vec<(Violation, Vec<Event>)>,
}

/// How a run is watched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// The hash covers the bytes of every segment, not only their lengths.
    pub whole: bool,
    /// Every event is printed.
    pub print: bool,
}

/// Events printed beside a violation: of its call, and of the world.
pub const EVENTS: usize = 24;
