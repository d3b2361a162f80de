//! The ledger of a run: both edges write into it, and it judges.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::Time;

use crate::plan::CallPlan;

use super::trace::NO_CALL;
use super::{Direction, Edge, Event, Outcome, Record, Rule, Trace, Violation, What};

/// The most that may be under way on one call, in bytes, declared before the run.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the client to the handler.
    pub request: u64,
    /// From the handler to the client.
    pub response: u64,
}

/// How much later than at once something may be, in this run, for this call: its links' latency, and where
/// a fault was on them, how long that lasted and how long it takes to notice a silent peer.
pub type Slack = Duration;

const DEADLINE_EXCEEDED: u32 = 4;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// Why a call cannot reach its handler, or not any more: what the gateway says, and what clients do.
const UNREACHABLE: [&str; 8] = [
    "",
    "cannot connect",
    "the connection ended",
    "no-instance",
    "instance-lost",
    "draining",
    "refused",
    // A tunnel that a fault holds back has a full queue.
    "limit",
];
/// What the gateway says of a call whose peer broke the protocol.
const BREACHES: [&str; 2] = ["protocol-error", "reset"];

/// What both edges of every call saw.
#[derive(Debug)]
pub struct Ledger {
    records: Vec<Record>,
    bounds: Bounds,
    violations: Vec<Violation>,
    moved_at: Time,
    /// Whether a peer has broken the protocol.
    hostile: bool,
    /// What happened.
    pub trace: Trace,
}

impl Ledger {
    /// A ledger of these calls, which are numbered in their order.
    pub fn new(plans: &[Arc<CallPlan>], bounds: Bounds, trace: Trace) -> Self {
        let records = plans.iter().enumerate();
        Self {
            records: records
                .map(|(call, plan)| Record::new(call as u32, plan.clone()))
                .collect(),
            bounds,
            violations: Vec::new(),
            moved_at: Time::ZERO,
            hostile: false,
            trace,
        }
    }

    /// Adds a call to the plan. Gives its number.
    pub fn add(&mut self, plan: Arc<CallPlan>) -> u32 {
        let call = self.records.len() as u32;
        self.records.push(Record::new(call, plan));
        call
    }

    /// What is known of a call.
    pub fn record(&self, call: u32) -> &Record {
        &self.records[call as usize]
    }

    /// What is known of every call.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The plan of a call.
    pub fn plan(&self, call: u32) -> &Arc<CallPlan> {
        &self.records[call as usize].plan
    }

    /// The rules that were broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// When bytes of any call were last delivered, or a call ended.
    pub fn moved_at(&self) -> Time {
        self.moved_at
    }

    /// Calls that began.
    pub fn calls(&self) -> usize {
        self.records.iter().filter(|r| r.started.is_some()).count()
    }

    /// Messages that were delivered whole, both ways.
    pub fn messages(&self) -> usize {
        let both = |r: &Record| r.request.delivered.messages() + r.response.delivered.messages();
        self.records.iter().map(both).sum()
    }

    /// Something happened that is about no call.
    pub fn world(&mut self, now: Time, edge: Edge, what: What, n: u64) {
        self.event(now, edge, what, NO_CALL, n);
    }

    /// Something happened to a call that decides nothing here.
    pub fn note(&mut self, now: Time, edge: Edge, what: What, call: u32, n: u64) {
        self.event(now, edge, what, call, n);
    }

    /// A client began a call.
    pub fn started(&mut self, now: Time, call: u32) {
        self.event(now, Edge::Client, What::Started, call, 0);
        self.records[call as usize].started = Some(now);
    }

    /// The sending edge handed over so many bytes more.
    pub fn handed(&mut self, now: Time, call: u32, direction: Direction, bytes: usize) {
        let edge = match direction {
            Direction::Request => Edge::Client,
            Direction::Response => Edge::Handler,
        };
        self.event(now, edge, What::Handed, call, bytes as u64);
        let bound = match direction {
            Direction::Request => self.bounds.request,
            Direction::Response => self.bounds.response,
        };
        let record = &mut self.records[call as usize];
        // After an end at either edge bytes are thrown away, which is not delivery.
        let over = record.finished.is_some() && direction == Direction::Request;
        let over = over || record.cancelled.is_some() || !record.is_open();
        let flow = record.flow(direction);
        flow.handed += bytes as u64;
        let under_way = flow.under_way();
        if !over {
            flow.most = flow.most.max(under_way);
        }
        if under_way > bound && !over {
            let what = format!("{under_way} bytes of the {direction:?} under way, bound {bound}");
            self.report(now, Rule::OverBound, Some(call), what);
        }
    }

    /// The receiving edge was given bytes.
    pub fn delivered(
        &mut self,
        now: Time,
        call: u32,
        direction: Direction,
        bytes: &[u8],
        slack: Slack,
    ) {
        let edge = match direction {
            Direction::Request => Edge::Handler,
            Direction::Response => Edge::Client,
        };
        self.event(now, edge, What::Delivered, call, bytes.len() as u64);
        self.moved_at = now;
        if direction == Direction::Request {
            self.check_zombie(now, call, "bytes came to its handler", slack);
        }
        let record = &mut self.records[call as usize];
        if record.broken {
            return;
        }
        let flow = record.flow(direction);
        let at = flow.delivered.position();
        if let Err(rule) = flow.delivered.check(bytes) {
            let what = format!(
                "{} bytes of the {direction:?} that are not those at {at}",
                bytes.len()
            );
            self.report(now, rule, Some(call), what);
        }
    }

    /// A handler was given the end of the request.
    pub fn request_ended(&mut self, now: Time, call: u32) {
        self.event(now, Edge::Handler, What::RequestEnd, call, 0);
        let stream = &self.records[call as usize].request.delivered;
        if !stream.is_done() {
            let what = format!("the request's end after message {}", stream.messages());
            self.report(now, Rule::Gapped, Some(call), what);
        }
    }

    /// A handler began, at the instance of this number.
    pub fn handler_started(&mut self, now: Time, call: u32, instance: usize, slack: Slack) {
        self.event(now, Edge::Handler, What::Started, call, instance as u64);
        self.check_zombie(now, call, "it came to its handler", slack);
        let record = &mut self.records[call as usize];
        record.runs += 1;
        record.ran_at = Some(instance);
        let (runs, pinned) = (record.runs, record.plan.pinned);
        if runs > 1 {
            let what = format!("run {runs} of its handler, at instance {instance}");
            self.report(now, Rule::Duplicated, Some(call), what);
        }
        if let Some(pinned) = pinned.filter(|pinned| *pinned != instance) {
            let what = format!("for instance {pinned}, and came to {instance}");
            self.report(now, Rule::Misrouted, Some(call), what);
        }
    }

    /// A handler gave its status.
    pub fn handler_finished(&mut self, now: Time, call: u32, status: u32, slack: Slack) {
        self.event(now, Edge::Handler, What::Finished, call, u64::from(status));
        self.check_zombie(now, call, "its handler gave its status", slack);
        self.records[call as usize].finished = Some(status);
    }

    /// A handler was told that nobody waits for it any more.
    pub fn handler_cancelled(&mut self, now: Time, call: u32, slack: Slack) {
        self.event(now, Edge::Handler, What::Cancelled, call, 0);
        self.check_zombie(now, call, "its handler was told", slack);
        self.records[call as usize].cancelled = Some(now);
    }

    /// A call ended at its client.
    pub fn client_ended(&mut self, now: Time, call: u32, outcome: Outcome, slack: Slack) {
        let code = match &outcome {
            Outcome::Ok => 0,
            Outcome::Failed { code, .. } => u64::from(*code),
            Outcome::Cancelled => 1,
        };
        self.event(now, Edge::Client, What::Ended, call, code);
        self.moved_at = now;
        let record = &mut self.records[call as usize];
        if record.abandoned {
            return;
        }
        if record.ended.is_some() {
            return self.report(now, Rule::Corrupted, Some(call), "a second end".into());
        }
        record.ended = Some((now, outcome.clone()));
        if let Some(deadline) = record.deadline().map(|deadline| deadline + slack)
            && now > deadline
            && outcome != Outcome::Cancelled
        {
            let late = (now - deadline).as_micros();
            let what = format!("ended {late} us later than its deadline and what delays allow");
            self.report(now, Rule::Late, Some(call), what);
        }
        match outcome {
            Outcome::Ok => self.check_ok(now, call),
            Outcome::Failed { code, reason } => {
                self.check_failure(now, call, code, &reason, slack);
            }
            Outcome::Cancelled => {}
        }
    }

    /// A call's client is gone.
    pub fn abandoned(&mut self, now: Time, call: u32) {
        let record = &mut self.records[call as usize];
        if record.is_open() {
            record.abandoned = true;
            // For what comes to a handler later, this is the end.
            record.ended = Some((now, Outcome::Cancelled));
            self.event(now, Edge::Client, What::Abandoned, call, 0);
        }
    }

    /// A fault is on the call's path: it may fail while that is felt.
    pub fn touched(&mut self, now: Time, call: u32, felt: RangeInclusive<Time>) {
        self.event(now, Edge::World, What::Touched, call, 0);
        self.records[call as usize].excused.push(felt);
    }

    /// A call's client reads nothing until then.
    pub fn looks_away(&mut self, now: Time, call: u32, until: Time) {
        self.records[call as usize].away = Some(now..=until);
    }

    /// A peer breaks the protocol.
    pub fn hostile(&mut self) {
        self.hostile = true;
    }

    /// A hostile instance answered the call itself: what comes of it is not its handler's.
    pub fn forged(&mut self, call: u32) {
        self.records[call as usize].broken = true;
    }

    /// Calls that ended at their clients after `since`.
    pub fn ended_after(&self, since: Time) -> Vec<u32> {
        let recent = |record: &Record| matches!(&record.ended, Some((at, _)) if *at >= since);
        let numbered = self.records.iter().enumerate();
        numbered
            .filter(|(_, record)| recent(record))
            .map(|(call, _)| call as u32)
            .collect()
    }

    /// Everything has come to rest, long after all was whole again.
    pub fn close(&mut self, now: Time) {
        for call in 0..self.records.len() {
            let record = &self.records[call];
            if record.is_open() && !record.broken {
                let (rule, what) = match record.finished {
                    Some(status) => (
                        Rule::Lost,
                        format!("its handler gave status {status}, and its client got no end"),
                    ),
                    None => (Rule::Leaked, "it never ended".to_owned()),
                };
                self.report(now, rule, Some(call as u32), what);
            }
        }
    }

    /// A rule was broken.
    pub fn report(&mut self, now: Time, rule: Rule, call: Option<u32>, what: String) {
        if let Some(call) = call {
            // One report a call: what follows from it says nothing new.
            if std::mem::replace(&mut self.records[call as usize].broken, true) {
                return;
            }
        }
        self.violations.push(Violation {
            rule,
            call,
            at_us: now.as_micros(),
            what,
        });
    }

    fn check_ok(&mut self, now: Time, call: u32) {
        let record = &self.records[call as usize];
        let stream = &record.response.delivered;
        if record.finished != Some(0) {
            let what = format!("OK, where its handler gave {:?}", record.finished);
            self.report(now, Rule::Corrupted, Some(call), what);
        } else if !stream.is_done() {
            let what = format!("OK after message {} of the response", stream.messages());
            self.report(now, Rule::Gapped, Some(call), what);
        }
    }

    fn check_failure(&mut self, now: Time, call: u32, code: u32, reason: &str, slack: Slack) {
        let record = &self.records[call as usize];
        let overdue = record.deadline().is_some_and(|deadline| now >= deadline);
        let own = record.is_own(&Outcome::Failed {
            code,
            reason: reason.to_owned(),
        });
        let by_deadline = code == DEADLINE_EXCEEDED && overdue;
        let response = &record.response;
        let (handed, delivered) = (response.handed, response.delivered.position());
        let excused = record.is_excused(now, slack);
        let of_a_fault = self.may_come_of_faults(code, reason);
        if by_deadline || excused && of_a_fault {
            // Also where its handler gave the same status: a client that is cut off says UNAVAILABLE itself.
        } else if own && handed != delivered {
            // A status comes after all that its handler gave before it.
            let what = format!("its handler's status {code} after {delivered} bytes of {handed}");
            self.report(now, Rule::Gapped, Some(call), what);
        } else if !own && !excused {
            let what = format!("status {code} `{reason}`, and no fault was near it");
            self.report(now, Rule::Unjustified, Some(call), what);
        } else if !own {
            let what = format!("status {code} `{reason}`, which comes of no fault");
            self.report(now, Rule::Unjustified, Some(call), what);
        }
    }

    /// Whether a call that a fault is on may end so.
    fn may_come_of_faults(&self, code: u32, reason: &str) -> bool {
        match code {
            UNAVAILABLE => UNREACHABLE.contains(&reason),
            INTERNAL => self.hostile && BREACHES.contains(&reason),
            _ => false,
        }
    }

    /// Something happened at a call's handler: not long after the call's end.
    fn check_zombie(&mut self, now: Time, call: u32, what: &str, slack: Slack) {
        let record = &self.records[call as usize];
        if let Some((ended, _)) = &record.ended
            && now > *ended + slack
        {
            let since = (now - *ended).as_micros();
            let what = format!("{what} {since} us after its end");
            self.report(now, Rule::Zombie, Some(call), what);
        }
    }

    fn event(&mut self, now: Time, edge: Edge, what: What, call: u32, n: u64) {
        self.trace.push(Event {
            at_us: now.as_micros(),
            edge,
            what,
            call,
            n,
        });
    }
}
