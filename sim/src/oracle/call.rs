//! What is known of one call.

use std::ops::RangeInclusive;
use std::sync::Arc;

use grpcrouter_core::Time;

use crate::plan::CallPlan;

use super::{Direction, Slack, Stream};

/// How a call ended at its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// OK.
    Ok,
    /// Another status, and the gateway's reason where the gateway made it.
    Failed {
        /// The gRPC status code.
        code: u32,
        /// `grpcrouter-reason`; empty where the handler gave the status, or the client itself.
        reason: String,
    },
    /// The client cancelled it.
    Cancelled,
}

/// A call, as both of its edges saw it.
#[derive(Debug)]
pub struct Record {
    pub(super) plan: Arc<CallPlan>,
    pub(super) started: Option<Time>,
    pub(super) ended: Option<(Time, Outcome)>,
    /// Its client is gone: nobody can say how it ended.
    pub(super) abandoned: bool,
    /// When it may fail: while faults on its path are felt.
    pub(super) excused: Vec<RangeInclusive<Time>>,
    /// When its client last read nothing, and would not have noticed an end.
    pub(super) away: Option<RangeInclusive<Time>>,
    /// Times that a handler began.
    pub(super) runs: u32,
    pub(super) finished: Option<u32>,
    /// When its handler was told that nobody waits for it any more.
    pub(super) cancelled: Option<Time>,
    /// The instance at which its handler ran last.
    pub(super) ran_at: Option<usize>,
    pub(super) request: Flow,
    pub(super) response: Flow,
    /// A violation was reported; what follows from it is not.
    pub(super) broken: bool,
}

/// One direction of a call.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes that the sending edge handed over.
    pub(super) handed: u64,
    /// The most that was under way.
    pub(super) most: u64,
    /// What the receiving edge was given, and what comes next.
    pub(super) delivered: Stream,
}

impl Flow {
    fn new(call: u32, direction: Direction, sizes: &Arc<[u32]>) -> Self {
        Self {
            handed: 0,
            most: 0,
            delivered: Stream::new(call, direction, sizes.clone()),
        }
    }

    pub(super) fn under_way(&self) -> u64 {
        self.handed.saturating_sub(self.delivered.position())
    }
}

impl Record {
    pub(super) fn new(call: u32, plan: Arc<CallPlan>) -> Self {
        Self {
            request: Flow::new(call, Direction::Request, &plan.request),
            response: Flow::new(call, Direction::Response, &plan.response),
            plan,
            started: None,
            ended: None,
            abandoned: false,
            excused: Vec::new(),
            away: None,
            runs: 0,
            finished: None,
            cancelled: None,
            ran_at: None,
            broken: false,
        }
    }

    /// Whether it has begun and its client waits for its end.
    pub fn is_open(&self) -> bool {
        self.started.is_some() && self.ended.is_none() && !self.abandoned
    }

    /// Whether a fault was on its path.
    pub fn is_touched(&self) -> bool {
        !self.excused.is_empty()
    }

    /// Whether a fault on its path explains that it fails now, or failed while its client looked away, which
    /// then has the end within `slack`.
    pub(super) fn is_excused(&self, now: Time, slack: Slack) -> bool {
        let away = self.away.as_ref();
        let since = away.filter(|away| now <= *away.end() + slack);
        let since = since.map_or(now, |away| *away.start());
        let explains = |felt: &RangeInclusive<Time>| *felt.start() <= now && since <= *felt.end();
        self.excused.iter().any(explains)
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.ended.as_ref().map(|(_, outcome)| outcome)
    }

    /// When it began.
    pub fn started(&self) -> Option<Time> {
        self.started
    }

    /// When it ended at its client.
    pub fn ended(&self) -> Option<Time> {
        self.ended.as_ref().map(|(at, _)| *at)
    }

    /// When its handler was told that nobody waits for it any more.
    pub fn cancelled(&self) -> Option<Time> {
        self.cancelled
    }

    /// The instance at which its handler ran last.
    pub fn ran_at(&self) -> Option<usize> {
        self.ran_at
    }

    /// When it ends at the latest.
    pub fn deadline(&self) -> Option<Time> {
        Some(self.started? + self.plan.timeout?)
    }

    /// Times that a handler began.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether this is the status that its handler gave.
    pub(super) fn is_own(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Ok => self.finished == Some(0),
            Outcome::Failed { code, reason } => self.finished == Some(*code) && reason.is_empty(),
            Outcome::Cancelled => false,
        }
    }

    pub(super) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    fn seen(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    /// The most bytes that were under way in a direction.
    pub fn most_under_way(&self, direction: Direction) -> u64 {
        self.seen(direction).most
    }

    /// Bytes that the sending edge handed over.
    pub fn handed(&self, direction: Direction) -> u64 {
        self.seen(direction).handed
    }

    /// Bytes that the receiving edge was given.
    pub fn delivered(&self, direction: Direction) -> u64 {
        self.seen(direction).delivered.position()
    }

    /// Whether the receiving edge was given every message of the plan.
    pub fn is_whole(&self, direction: Direction) -> bool {
        self.seen(direction).delivered.is_done()
    }
}
