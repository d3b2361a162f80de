//! What a story sees: of its calls at both edges, and of its gateways and instances.

use std::time::Duration;

use grpcrouter::Gateway;
use grpcrouter_core::Time;

use crate::net::{self, Node};
use crate::oracle::{Direction, Outcome, Record};

use super::Story;

impl Story {
    fn seen<T>(&self, call: u32, look: impl FnOnce(&Record) -> T) -> T {
        self.world()
            .with(|state, _| look(state.ledger.record(call)))
    }

    /// How a call ended at its client; none while it has not.
    pub fn outcome(&self, call: u32) -> Option<Outcome> {
        self.seen(call, |record| record.outcome().cloned())
    }

    /// Whether a call ended with OK.
    pub fn is_ok(&self, call: u32) -> bool {
        self.outcome(call) == Some(Outcome::Ok)
    }

    /// Every one of these calls ended with OK.
    ///
    /// # Panics
    /// Where one did not.
    pub fn assert_ok<'a>(&self, calls: impl IntoIterator<Item = &'a u32>) {
        for call in calls {
            let outcome = self.outcome(*call);
            let ok = outcome == Some(Outcome::Ok);
            assert!(ok, "{}: call {call}: {outcome:?}", self.name);
        }
    }

    /// The status code with which a call failed, and the gateway's reason where it made the status.
    pub fn failure(&self, call: u32) -> Option<(u32, String)> {
        match self.outcome(call)? {
            Outcome::Failed { code, reason } => Some((code, reason)),
            Outcome::Ok | Outcome::Cancelled => None,
        }
    }

    /// When a call began at its client.
    pub fn started(&self, call: u32) -> Option<Time> {
        self.seen(call, Record::started)
    }

    /// When a call ended at its client.
    pub fn ended(&self, call: u32) -> Option<Time> {
        self.seen(call, Record::ended)
    }

    /// How long a call took at its client; none while it has not ended.
    pub fn took(&self, call: u32) -> Option<Duration> {
        Some(self.ended(call)? - self.started(call)?)
    }

    /// When a call's handler was told that nobody waits for it any more.
    pub fn cancelled(&self, call: u32) -> Option<Time> {
        self.seen(call, Record::cancelled)
    }

    /// Times that a handler began for a call.
    pub fn runs(&self, call: u32) -> u32 {
        self.seen(call, Record::runs)
    }

    /// The instance at which a call's handler ran.
    pub fn ran_at(&self, call: u32) -> Option<usize> {
        self.seen(call, Record::ran_at)
    }

    /// Whether a fault was on a call's path.
    pub fn is_touched(&self, call: u32) -> bool {
        self.seen(call, Record::is_touched)
    }

    /// Bytes that the sending edge handed over.
    pub fn handed(&self, call: u32, direction: Direction) -> u64 {
        self.seen(call, |record| record.handed(direction))
    }

    /// Bytes that the receiving edge was given.
    pub fn delivered(&self, call: u32, direction: Direction) -> u64 {
        self.seen(call, |record| record.delivered(direction))
    }

    /// Bytes between the two edges.
    pub fn under_way(&self, call: u32, direction: Direction) -> u64 {
        self.handed(call, direction) - self.delivered(call, direction)
    }

    /// The most bytes that were ever between the two edges.
    pub fn most_under_way(&self, call: u32, direction: Direction) -> u64 {
        self.seen(call, |record| record.most_under_way(direction))
    }

    /// Whether every message of the plan was delivered, in order: anything else breaks a rule at once.
    pub fn is_whole(&self, call: u32, direction: Direction) -> bool {
        self.seen(call, |record| record.is_whole(direction))
    }

    /// The declared bound of what may be under way on a call: the gateway's B, and what the endpoints of the
    /// simulation hold themselves.
    pub fn bound(&self, direction: Direction) -> u64 {
        let bounds = net::bounds(&self.world().options);
        match direction {
            Direction::Request => bounds.request,
            Direction::Response => bounds.response,
        }
    }

    /// A gateway's process; none while it is down.
    pub fn gateway(&self, number: usize) -> Option<Gateway> {
        self.world()
            .with(|state, _| state.gateways[number].gateway.clone())
    }

    /// How many instances a gateway can pick from.
    pub fn registered(&self, gateway: usize) -> usize {
        self.gateway(gateway)
            .map_or(0, |gateway| gateway.instances())
    }

    /// Tunnels that a gateway holds, registered or about to be.
    pub fn tunnels(&self, gateway: usize) -> usize {
        self.gateway(gateway)
            .map_or(0, |gateway| gateway.gauges().tunnels.get())
    }

    /// Calls that a gateway has open.
    pub fn open_calls(&self, gateway: usize) -> usize {
        self.gateway(gateway)
            .map_or(0, |gateway| gateway.gauges().calls.get())
    }

    /// Registrations that the latest process of an instance has had, at all gateways together.
    pub fn registrations(&self, instance: usize) -> u64 {
        let handle = self
            .world()
            .with(|state, _| state.instances[instance].handle.clone());
        handle.map_or(0, |handle| handle.registrations().borrow().iter().sum())
    }

    /// Whether an instance's process, or a gateway's, has ended by itself: drained, or superseded.
    pub fn has_ended(&self, node: Node) -> bool {
        self.world().with(|state, _| match node {
            Node::Gateway(n) => state.gateways[n].ended.is_some(),
            Node::Instance(n) => state.instances[n].ended.is_some(),
            _ => false,
        })
    }

    /// Tasks that a gateway's or an instance's process has.
    pub fn tasks(&self, node: Node) -> usize {
        let tasks = self.world().with(|state, _| match node {
            Node::Gateway(n) => state.gateways[n].tasks.clone(),
            Node::Instance(n) => state.instances[n].tasks.clone(),
            _ => None,
        });
        tasks.map_or(0, |tasks| tasks.num_alive_tasks())
    }

    /// Ends of connections that are open on all hosts.
    pub fn sockets(&self) -> usize {
        self.world().with(|state, _| state.links.len())
    }

    /// Handlers that run, at all instances.
    pub fn handlers(&self) -> usize {
        self.world().with(|state, _| state.running())
    }
}
