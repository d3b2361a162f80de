//! Stories: runs of the network level in which a test says what happens when.
//!
//! A [`Story`] is a world of real gateways, instances, agents and clients, as a seed has it, and the same
//! ledger judges it. What differs is who decides: calls and faults begin where the test says so, and time
//! passes only in [`run_for`](Story::run_for) and its like, so that limits of time are exact: to the step
//! of 5 ms, and a message takes its link's latency and up to two steps more, in which hosts take turns.
//!
//! - [`Call`] says what both edges of a call do, [`Fault`] what happens to links and hosts.
//! - A call that a fault touches may fail, and every other one must end as its plan says: the oracle's
//!   rules hold in every story, and [`Story::rest`] asserts them.
//! - Every third instance, beginning with the second, is an agent with a server behind it.

mod call;
mod fault;
mod seen;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use grpcrouter::routing::ServiceRoutes;
use grpcrouter_core::Time;

use crate::net::{Change, Hit, Network, Stage, World, is_at_rest, leaks};
use crate::oracle::{Rule, Trace};
use crate::report::Watch;

pub use crate::net::Node;
pub use crate::oracle::{Direction, Outcome};
pub use crate::plan::Kind;
pub use call::Call;
pub use fault::{Fault, Line, between, one_way};
pub use settings::{SERVICE, Settings};

/// How long everything may take to come to rest, after all faults are over.
const REST: Duration = Duration::from_secs(30);
/// How long instances may take to register when a story begins.
const ALL_THERE: Duration = Duration::from_secs(30);
/// Longer than any story.
const FOREVER: Duration = Duration::from_secs(86_400);

/// A story that is being told.
pub struct Story {
    name: String,
    stage: Stage,
    network: Network,
    /// Faults that last.
    lasting: Vec<Fault>,
    rested: bool,
}

impl Story {
    /// A world with these settings, in which every instance is registered and nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        Self::named("", settings)
    }

    /// As [`Story::new`], with a name that stands in front of what fails: of one case of several.
    pub fn named(name: impl Into<String>, settings: Settings) -> Self {
        let trace = Trace::new(Watch::default());
        let seed = settings.seed;
        let stage = Stage::new(seed, settings.options(), &[], trace, None);
        let mut story = Self {
            name: name.into(),
            network: Network::new(stage.world.clone()),
            stage,
            lasting: Vec::new(),
            rested: false,
        };
        story.run_until("every instance is registered", ALL_THERE, |story| {
            story.world().with(|state, _| is_at_rest(state))
        });
        story
    }

    fn world(&self) -> &Arc<World> {
        &self.stage.world
    }

    /// The time, since the world began.
    pub fn now(&self) -> Time {
        self.world().now()
    }

    fn step(&mut self) {
        self.stage.step();
    }

    /// Time passes.
    pub fn run_for(&mut self, length: Duration) {
        let until = self.now() + length;
        while self.now() < until {
            self.step();
        }
    }

    /// Time passes until something is so. Gives how long that took.
    ///
    /// # Panics
    /// Where it is not so within the limit.
    pub fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let start = self.now();
        while !is(self) {
            let past = self.now() - start;
            assert!(past < limit, "{}: not within {limit:?}: {what}", self.name);
            self.step();
        }
        self.now() - start
    }

    /// Time passes, and at every step something is so.
    ///
    /// # Panics
    /// Where it is not.
    pub fn run_while(&mut self, what: &str, length: Duration, mut is: impl FnMut(&Self) -> bool) {
        let until = self.now() + length;
        while self.now() < until {
            self.step();
            assert!(
                is(self),
                "{}: no longer at {:?}: {what}",
                self.name,
                self.now()
            );
        }
    }

    /// A client makes a call: within 20 ms, at its next turn. Gives the call's number.
    pub fn call(&mut self, call: Call) -> u32 {
        self.world().with(|state, _| state.want(call.into_plan()))
    }

    /// A fault begins: calls on what it hits may fail from now on.
    pub fn begin(&mut self, fault: Fault) {
        if let Some(hit) = fault.hit() {
            // A silent peer is given up after two intervals, and the other end hears of it.
            let options = &self.world().options;
            let late = options.heartbeat * 2 + crate::net::hop(options) * 4;
            self.world().with(|state, now| {
                let (ledger, ever) = (&mut state.ledger, now + FOREVER);
                state.touches.begin(ledger, now, hit, ever, late);
            });
        }
        self.lasting.push(fault);
        self.apply(fault.begins());
    }

    /// A fault is over. What it hit may still be late until silent peers are noticed and hosts are back.
    ///
    /// # Panics
    /// Where it does not last.
    pub fn end(&mut self, fault: Fault) {
        let found = self.lasting.iter().position(|lasts| *lasts == fault);
        let found = found.unwrap_or_else(|| panic!("{}: {fault:?} does not last", self.name));
        self.lasting.remove(found);
        self.apply(fault.ends());
        if let Some(hit) = fault.hit() {
            self.fades(hit);
        }
    }

    fn fades(&self, hit: Hit) {
        let tail = self.world().options.heartbeat * 4;
        self.world()
            .with(|state, now| state.touches.end(hit, now + tail));
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.network.apply(&mut self.stage.sim, change);
        }
    }

    /// Asks an instance or a gateway to drain. No call may fail of it.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn drain(&mut self, node: Node) {
        self.apply(vec![Change::Drain(node)]);
        let told = self.network.is_draining(node);
        assert!(told, "{}: {node} does not run", self.name);
    }

    /// A process that has ended starts anew.
    pub fn restart(&mut self, node: Node) {
        self.apply(vec![Change::Stop(node), Change::Start(node)]);
    }

    /// The next connection that the link has is reset, at the end which is named first, after so many bytes
    /// more: in the middle of whatever is sent then.
    ///
    /// # Panics
    /// Where there is none.
    pub fn reset(&mut self, from: Node, to: Node, after: usize) {
        let fault = Fault::Hold(between(from, to));
        let (Some(hit), now) = (fault.hit(), self.now()) else {
            return;
        };
        let tail = self.world().options.heartbeat * 4;
        let found = self.world().with(|state, _| {
            let end = state.links.end_at(from, to);
            if let Some(end) = end {
                state.links.cut(end, Some(after));
            }
            state
                .touches
                .begin(&mut state.ledger, now, hit, now + tail, tail);
            end
        });
        assert!(
            found.is_some(),
            "{}: {from} has no connection to {to}",
            self.name
        );
    }

    /// The wall clock of an instance's host jumps: its next process believes that it started then.
    pub fn jump_clock(&mut self, instance: usize, by: Duration, ahead: bool) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        let by = if ahead { by } else { -by };
        self.world()
            .with(|state, _| state.clocks_us[instance] += by);
    }

    /// Sets how all gateways route the calls of a service.
    ///
    /// # Panics
    /// Where one is down.
    pub fn route(&mut self, routes: &ServiceRoutes) {
        for gateway in 0..self.world().options.gateways {
            let found = self.gateway(gateway);
            let gateway = found.unwrap_or_else(|| panic!("{}: {gateway} is down", self.name));
            gateway.set_service_routes(routes);
        }
    }

    /// The handler of a call does nothing for so long, from where it waits for its request next.
    ///
    /// # Panics
    /// Where the call is over.
    pub fn stall_handler(&mut self, call: u32, length: Duration) {
        self.assert_open(call);
        self.world().with(|state, now| {
            state.handler_stalls.insert(call, now + length);
        });
    }

    /// The client of a call reads nothing for so long, from its next turn on.
    ///
    /// # Panics
    /// Where the call is over.
    pub fn stall_client(&mut self, call: u32, length: Duration) {
        self.assert_open(call);
        self.world().with(|state, now| {
            state.client_stalls.insert(call, now + length);
        });
    }

    /// The client of a call gives it up.
    ///
    /// # Panics
    /// Where the call is not open.
    pub fn cancel(&mut self, call: u32) {
        let cancel = self
            .world()
            .with(|state, _| state.cancels.get(&call).cloned());
        let cancel = cancel.unwrap_or_else(|| panic!("{}: call {call} is not open", self.name));
        cancel.notify_one();
    }

    fn assert_open(&self, call: u32) {
        let over = self.outcome(call);
        assert!(
            over.is_none(),
            "{}: call {call} is over: {over:?}",
            self.name
        );
    }

    /// The story's end: all faults are over, everything comes to rest, nothing is left, no rule was broken.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn rest(mut self) {
        for fault in self.lasting.clone() {
            self.end(fault);
        }
        self.network.heal(&mut self.stage.sim);
        let limit = self.now() + REST;
        while self.now() < limit && !self.world().with(|state, _| is_at_rest(state)) {
            self.network.supervise(&mut self.stage.sim);
            self.step();
        }
        self.world().with(|state, now| {
            for what in leaks(state) {
                state.ledger.report(now, Rule::Leaked, None, what);
            }
            state.ledger.close(now);
        });
        self.rested = true;
        let report = self.stage.report("net", 0);
        assert!(report.is_clean(), "{}: {report}", self.name);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let told = self.rested || std::thread::panicking();
        assert!(told, "{}: a story ends with `rest`", self.name);
    }
}
