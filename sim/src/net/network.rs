//! What faults change on the network and at hosts. Faults overlap: a link is whole when no fault holds or
//! parts it any longer, and a host is up when none keeps it down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::Time;
use turmoil::Sim;

use crate::oracle::{Edge, Rule, What};

use super::hosts::DRAIN;
use super::node::{Link, Node, is_agent};
use super::world::World;

/// How long a process may take to drain: a gateway gives its calls a time, and those that it is connected to
/// another. The rest is for turns that come late.
const DRAINED_WITHIN: Duration = DRAIN
    .saturating_mul(2)
    .saturating_add(Duration::from_millis(500));

/// A change of the network or of a host.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Hold(Link),
    Release(Link),
    HoldOneWay(Node, Node),
    ReleaseOneWay(Node, Node),
    /// Nothing goes from one to the other.
    Part(Node, Node),
    Join(Node, Node),
    Slow(Link),
    Fast(Link),
    Drip(Link, bool),
    /// A link carries one byte each way in so many steps, or is whole again.
    Crawl(Link, Option<u64>),
    /// The connection's end is not cut any more, unless it was.
    Uncut(u64),
    /// A host is gone without a word.
    Crash(Node),
    /// A process ends, and its connections with it.
    Stop(Node),
    /// The end of one of the two.
    Start(Node),
    Drain(Node),
    /// Another process takes an instance's id, with a later epoch or not.
    Rival(usize, bool),
    NoRival(usize),
}

/// How a link is.
#[derive(Debug, Default)]
struct State {
    held: u32,
    /// From the lower end, and to it.
    parted: [u32; 2],
    slow: u32,
}

/// All links and hosts.
pub(crate) struct Network {
    world: Arc<World>,
    links: BTreeMap<Link, State>,
    /// How many faults keep a host down.
    down: BTreeMap<Node, u32>,
    /// Processes that were told to drain, and when.
    draining: BTreeMap<Node, Time>,
}

impl Network {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self {
            world,
            links: BTreeMap::new(),
            down: BTreeMap::new(),
            draining: BTreeMap::new(),
        }
    }

    /// Whether nothing keeps a host down, or is about to.
    pub(crate) fn is_up(&self, node: Node) -> bool {
        self.down.get(&node).is_none_or(|n| *n == 0) && !self.draining.contains_key(&node)
    }

    pub(crate) fn apply(&mut self, sim: &mut Sim<'_>, change: Change) {
        match change {
            Change::Hold(link) => self.link(sim, link, |state| state.held += 1),
            Change::Release(link) => self.link(sim, link, |state| state.held -= 1),
            Change::HoldOneWay(from, to) => {
                self.world.with(|state, _| state.links.hold(from, to));
            }
            Change::ReleaseOneWay(from, to) => {
                self.world.with(|state, _| state.links.release(from, to));
            }
            Change::Part(from, to) => self.part(sim, from, to, |n| n + 1),
            Change::Join(from, to) => self.part(sim, from, to, |n| n - 1),
            Change::Slow(link) => self.slow(sim, link, |n| n + 1),
            Change::Fast(link) => self.slow(sim, link, |n| n - 1),
            Change::Drip(link, on) => self.world.with(|state, _| state.links.drip(link, on)),
            Change::Crawl(link, every) => {
                self.world.with(|state, _| state.links.crawl(link, every));
            }
            Change::Uncut(end) => self.world.with(|state, _| state.links.cut(end, None)),
            Change::Crash(node) => self.stop(sim, node, false),
            Change::Stop(node) => self.stop(sim, node, true),
            Change::Start(node) => self.start(sim, node),
            Change::Drain(node) => self.drain(node),
            Change::Rival(instance, later) => {
                self.world
                    .with(|state, _| state.rivals[instance] = Some(later));
                self.bounce(sim, Node::Rival(instance));
                // Superseded, it must not come back before its rival has gone.
                *self.down.entry(Node::Instance(instance)).or_default() += 1;
            }
            Change::NoRival(instance) => {
                self.world.with(|state, _| state.rivals[instance] = None);
                self.bounce(sim, Node::Rival(instance));
                self.unclaim(Node::Instance(instance));
            }
        }
    }

    /// Brings up what has stopped by itself: it drained, or was superseded.
    pub(crate) fn supervise(&mut self, sim: &mut Sim<'_>) {
        for node in Node::all(&self.world.options) {
            let grace = super::hop(&self.world.options) * 2;
            let ended = self.world.with(|state, now| {
                let ended = match node {
                    Node::Gateway(n) => state.gateways[n].ended,
                    Node::Instance(n) => state.instances[n].ended,
                    _ => None,
                };
                // Its last words are on their way.
                ended.is_some_and(|ended| now >= ended + grace)
            });
            if ended && self.down.get(&node).is_none_or(|n| *n == 0) {
                self.bounce(sim, node);
            }
        }
        self.check_drains();
    }

    /// Whether a process drains.
    pub(super) fn drains(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Whether this one drains.
    pub(crate) fn is_draining(&self, node: Node) -> bool {
        self.draining.contains_key(&node)
    }

    /// A process that was told to drain ends in time, whatever its calls do.
    fn check_drains(&mut self) {
        let world = &self.world;
        self.draining.retain(|node, since| {
            world.with(|state, now| {
                let ended = match node {
                    Node::Gateway(n) => state.gateways[*n].ended,
                    Node::Instance(n) => state.instances[*n].ended,
                    _ => None,
                };
                let overdue = ended.is_none() && now > *since + DRAINED_WITHIN;
                if overdue {
                    let took = (now - *since).as_millis();
                    let what = format!("{node} was told to drain {took} ms ago, and still runs");
                    state.ledger.report(now, Rule::Late, None, what);
                }
                !overdue
            })
        });
    }

    /// Hosts that drain are started anew: all else has healed by itself.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        for node in std::mem::take(&mut self.draining).into_keys() {
            self.bounce(sim, node);
        }
    }

    fn link(&mut self, sim: &Sim<'_>, link: Link, change: impl FnOnce(&mut State)) {
        let state = self.links.entry(link).or_default();
        change(state);
        if let Some(air) = &self.world.air {
            // Nothing waits on this network: what is held is lost, and sent again.
            let parted = state.parted.map(|n| n > 0 || state.held > 0);
            air.part(link.0, link.1, parted[0]);
            return air.part(link.1, link.0, parted[1]);
        }
        let (a, b) = (link.0.to_string(), link.1.to_string());
        // What was held goes out; then the other faults' part again.
        sim.release(a.as_str(), b.as_str());
        if state.held > 0 {
            sim.hold(a.as_str(), b.as_str());
        }
        if state.parted[0] > 0 {
            sim.partition_oneway(a.as_str(), b.as_str());
        }
        if state.parted[1] > 0 {
            sim.partition_oneway(b.as_str(), a.as_str());
        }
    }

    fn part(&mut self, sim: &Sim<'_>, from: Node, to: Node, change: impl FnOnce(u32) -> u32) {
        let link = Link::new(from, to);
        let way = usize::from(link.0 != from);
        self.link(sim, link, |state| {
            state.parted[way] = change(state.parted[way]);
        });
    }

    fn slow(&mut self, sim: &Sim<'_>, link: Link, change: impl FnOnce(u32) -> u32) {
        let state = self.links.entry(link).or_default();
        state.slow = change(state.slow);
        if let Some(air) = &self.world.air {
            return air.slow(link, state.slow > 0);
        }
        let (a, b) = (link.0.to_string(), link.1.to_string());
        let options = &self.world.options;
        if state.slow > 0 {
            sim.set_link_latency(a, b, super::spike(options));
        } else {
            sim.set_link_latency(a.as_str(), b.as_str(), options.latency);
            sim.set_link_max_message_latency(a, b, options.latency + options.jitter);
        }
    }

    /// An agent and its server are one machine.
    fn machine(node: Node) -> Vec<Node> {
        match node {
            Node::Instance(n) if is_agent(n) => vec![Node::Server(n), node],
            _ => vec![node],
        }
    }

    /// Keeps a host down; `told` are those that it was connected to.
    fn stop(&mut self, sim: &mut Sim<'_>, node: Node, told: bool) {
        *self.down.entry(node).or_default() += 1;
        self.draining.remove(&node);
        for node in Self::machine(node) {
            self.kill(sim, node, told);
        }
        if let Node::Client(client) = node {
            self.world.with(|state, now| {
                for call in 0..state.ledger.records().len() as u32 {
                    if state.ledger.plan(call).client == client {
                        state.ledger.abandoned(now, call);
                    }
                }
            });
        }
    }

    /// Ends a process. In which order tokio then drops its tasks depends on how many the whole program has
    /// spawned before: so nothing of it gets through, and what the others are told is told in order.
    fn kill(&mut self, sim: &mut Sim<'_>, node: Node, told: bool) {
        let links = Link::all(&self.world.options).into_iter();
        let own: Vec<_> = links
            .filter(|link| link.0 == node || link.1 == node)
            .collect();
        for link in &own {
            self.link(sim, *link, |state| {
                state.parted = state.parted.map(|n| n + 1);
            });
        }
        if let Some(air) = &self.world.air {
            air.end(node);
        }
        // Not dropped under the lock.
        let _gone = self.world.with(|state, _| {
            state.killed = Some(Vec::new());
            match node {
                Node::Gateway(n) => (state.gateways[n].gateway.take(), None),
                Node::Instance(n) => (None, state.instances[n].handle.take()),
                _ => (None, None),
            }
        });
        sim.crash(node.to_string());
        self.world.with(|state, now| {
            let mut runs = state.killed.take().unwrap_or_default();
            runs.sort_unstable();
            for (call, finished) in runs {
                if !finished {
                    let slack = state.touches.slack(call);
                    state.ledger.handler_cancelled(now, call, slack);
                }
            }
            if told {
                state.links.reset(node);
            }
        });
        for link in own {
            self.link(sim, link, |state| {
                state.parted = state.parted.map(|n| n - 1);
            });
        }
    }

    fn start(&mut self, sim: &mut Sim<'_>, node: Node) {
        if self.unclaim(node) {
            self.bounce(sim, node);
        }
    }

    /// Whether that was the last one.
    fn unclaim(&mut self, node: Node) -> bool {
        let down = self.down.entry(node).or_default();
        *down = down.saturating_sub(1);
        *down == 0
    }

    fn bounce(&mut self, sim: &mut Sim<'_>, node: Node) {
        self.draining.remove(&node);
        for node in Self::machine(node) {
            self.kill(sim, node, true);
            sim.bounce(node.to_string());
        }
        self.world.with(|state, now| {
            // It says itself when it stops; until it runs it has not.
            match node {
                Node::Gateway(n) => state.gateways[n].ended = None,
                Node::Instance(n) => state.instances[n].ended = None,
                _ => {}
            }
            state
                .ledger
                .world(now, Edge::World, What::Mended, node.number());
        });
    }

    fn drain(&mut self, node: Node) {
        // Not under the lock: it wakes tasks. A process that has just begun to start has nobody to tell.
        let (handle, drain, now) = self.world.with(|state, now| match node {
            Node::Instance(n) => (state.instances[n].handle.clone(), None, now),
            Node::Gateway(n) => {
                let host = &state.gateways[n];
                let runs = host.gateway.is_some();
                (None, runs.then(|| host.drain.clone()), now)
            }
            _ => (None, None, now),
        });
        if handle.is_some() || drain.is_some() {
            self.draining.insert(node, now);
        }
        if let Some(handle) = handle {
            handle.drain();
        }
        if let Some(drain) = drain {
            drain.notify_one();
        }
    }
}
