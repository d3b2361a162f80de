//! The faults of a run: what each hits is chosen when it begins, among what calls are open on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use grpcrouter_core::Time;
use turmoil::Sim;

use crate::oracle::{Edge, What};
use crate::plan::{FaultKind, FaultPlan, Plan};

use super::client::START;
use super::hosts::{BACKOFF, DIAL, DRAIN, PROBES};
use super::network::{Change, Network};
use super::node::{Link, Node};
use super::touch::Hit;
use super::world::World;

/// Times that a flapping link is held.
const FLAPS: u32 = 4;
/// Links that a swizzle stops at the most.
const SWIZZLED: usize = 4;

/// The faults, those to come and those that last.
pub(super) struct Faults {
    world: Arc<World>,
    rng: Rng,
    network: Network,
    /// Whether each is printed as it begins.
    print: bool,
    /// Not begun, by time; one that finds no call open waits for the next.
    waiting: Vec<FaultPlan>,
    /// What is to be done when, in order.
    agenda: BTreeMap<(Time, u64), Change>,
    scheduled: u64,
    /// That hit something on which a call was open; those aside that are a cut.
    counted: usize,
}

impl Faults {
    pub(super) fn new(world: Arc<World>, plan: &Plan, print: bool) -> Self {
        Self {
            network: Network::new(world.clone()),
            world,
            rng: Rng::with_seed(plan.seed ^ 0x6a09_e667_f3bc_c908),
            print,
            waiting: plan.faults.clone(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            counted: 0,
        }
    }

    /// Begins and ends what is due.
    pub(super) fn tick(&mut self, sim: &mut Sim<'_>) {
        let now = self.world.now();
        while let Some(due) = self.agenda.first_entry()
            && due.key().0 <= now
        {
            let change = due.remove();
            self.network.apply(sim, change);
        }
        let due = |fault: &FaultPlan| START + fault.start <= now;
        let (due, later) = self.waiting.drain(..).partition(due);
        self.waiting = later;
        for fault in due as Vec<_> {
            match self.begin(sim, fault) {
                Some(number) => {
                    if self.print {
                        let until = (now + fault.length).as_micros() as f64 / 1e3;
                        println!("{} until {until:.3} ms", fault.kind);
                    }
                    // Nothing is cut before its end has sent what it still may.
                    self.counted += usize::from(fault.kind != FaultKind::Cut);
                    self.world.with(|state, now| {
                        state.ledger.world(now, Edge::World, What::Fault, number);
                    });
                }
                None => self.waiting.push(fault),
            }
        }
        self.network.supervise(sim);
    }

    /// Faults that hit something on which a call was open.
    pub(super) fn counted(&self) -> usize {
        self.counted + self.world.with(|state, _| state.links.cuts())
    }

    /// Begins no more faults. Whether a process drains, which is to come to its end by itself.
    pub(super) fn last(&mut self) -> bool {
        self.waiting.clear();
        self.network.drains()
    }

    /// Ends all faults, and brings up what is down.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>) {
        while let Some((_, change)) = self.agenda.pop_first() {
            self.network.apply(sim, change);
        }
        self.network.heal(sim);
        self.world.with(|state, now| {
            state.handler_stalls.clear();
            state.client_stalls.clear();
            state.ledger.world(now, Edge::World, What::Healed, 0);
        });
    }

    /// Starts hosts anew that have stopped.
    pub(super) fn supervise(&mut self, sim: &mut Sim<'_>) {
        self.network.supervise(sim);
    }

    /// Ends a process for good.
    pub(super) fn stop(&mut self, sim: &mut Sim<'_>, node: Node) {
        self.network.apply(sim, Change::Stop(node));
    }

    fn at(&mut self, time: Time, change: Change) {
        self.scheduled += 1;
        self.agenda.insert((time, self.scheduled), change);
    }

    /// Begins now and ends with the fault.
    fn during(&mut self, sim: &mut Sim<'_>, fault: &FaultPlan, begin: Change, end: Change) {
        self.network.apply(sim, begin);
        self.at(self.world.now() + fault.length, end);
    }

    /// Begins a fault, if a call is open on anything that it may hit. Gives a number for what it hit.
    fn begin(&mut self, sim: &mut Sim<'_>, fault: FaultPlan) -> Option<u64> {
        match fault.kind {
            FaultKind::StallHandler | FaultKind::StallClient | FaultKind::Cancel => {
                self.begin_at_call(&fault)
            }
            FaultKind::Crash
            | FaultKind::Bounce
            | FaultKind::DrainInstance
            | FaultKind::DrainGateway
            | FaultKind::Replace
            | FaultKind::StaleEpoch => self.begin_at_host(sim, &fault),
            FaultKind::Hostile(_) => None,
            FaultKind::Swizzle => self.swizzle(sim, &fault),
            _ => self.begin_at_link(sim, &fault),
        }
    }

    fn begin_at_link(&mut self, sim: &mut Sim<'_>, fault: &FaultPlan) -> Option<u64> {
        let kind = fault.kind;
        // Nobody pings between an agent and its server: what is silent there is silent for ever.
        let silent = matches!(
            kind,
            FaultKind::Partition | FaultKind::PartitionOneWay | FaultKind::HalfOpen
        );
        let mut links = self.links_with_calls();
        links.retain(|link| !(silent && matches!(link.1, Node::Server(_))));
        let link = self.one_of(&links)?;
        let Link(a, b) = link;
        let (from, to) = if self.rng.bool() { (a, b) } else { (b, a) };
        let ends = self.world.with(|state, _| state.links.ends(link));
        if matches!(kind, FaultKind::Cut | FaultKind::HalfOpen) && ends.is_empty() {
            return None;
        }
        self.touch(Hit::Link(link), fault);
        match kind {
            FaultKind::Hold => {
                self.during(sim, fault, Change::Hold(link), Change::Release(link));
            }
            FaultKind::HoldOneWay => {
                let (begin, end) = (
                    Change::HoldOneWay(from, to),
                    Change::ReleaseOneWay(from, to),
                );
                self.during(sim, fault, begin, end);
            }
            FaultKind::Partition => {
                self.during(sim, fault, Change::Part(a, b), Change::Join(a, b));
                self.during(sim, fault, Change::Part(b, a), Change::Join(b, a));
            }
            FaultKind::PartitionOneWay => {
                self.during(sim, fault, Change::Part(from, to), Change::Join(from, to));
            }
            FaultKind::Latency => {
                self.during(sim, fault, Change::Slow(link), Change::Fast(link));
            }
            FaultKind::Drip => {
                self.during(
                    sim,
                    fault,
                    Change::Drip(link, true),
                    Change::Drip(link, false),
                );
            }
            FaultKind::Flap => {
                let start = self.world.now();
                for n in 0..FLAPS {
                    let part = |k: u32| start + fault.length * k / (2 * FLAPS);
                    self.at(part(2 * n), Change::Hold(link));
                    self.at(part(2 * n + 1), Change::Release(link));
                }
            }
            FaultKind::Cut => {
                let end = self.one_of(&ends)?;
                let after = self.rng.usize(1..200);
                self.world
                    .with(|state, _| state.links.cut(end, Some(after)));
                self.at(self.world.now() + fault.length, Change::Uncut(end));
            }
            _ => {
                let end = self.one_of(&ends)?;
                self.world.with(|state, _| state.links.deafen(end));
            }
        }
        Some(link.number())
    }

    /// Links are held one by one, and released in another order.
    fn swizzle(&mut self, sim: &mut Sim<'_>, fault: &FaultPlan) -> Option<u64> {
        let mut links = self.links_with_calls();
        self.one_of(&links)?;
        self.rng.shuffle(&mut links);
        links.truncate(SWIZZLED);
        let start = self.world.now();
        let step = fault.length / (2 * links.len() as u32);
        for (n, link) in (0..).zip(links.clone()) {
            self.touch(Hit::Link(link), fault);
            match n {
                0 => self.network.apply(sim, Change::Hold(link)),
                _ => self.at(start + step * n, Change::Hold(link)),
            }
        }
        let first = links[0];
        self.rng.shuffle(&mut links);
        for (n, link) in (1..).zip(links) {
            self.at(start + fault.length / 2 + step * n, Change::Release(link));
        }
        Some(first.number())
    }

    fn begin_at_host(&mut self, sim: &mut Sim<'_>, fault: &FaultPlan) -> Option<u64> {
        let kind = fault.kind;
        let nodes = Node::all(&self.world.options).into_iter();
        let mut nodes: Vec<_> = nodes
            .filter(|node| self.has_calls(Hit::Host(*node)))
            .collect();
        nodes.retain(|node| match (kind, node) {
            // A server's process alone: it and its agent are one machine.
            (FaultKind::Bounce, Node::Server(_)) => true,
            (_, Node::Rival(_) | Node::Server(_)) => false,
            (FaultKind::Crash | FaultKind::Bounce, _)
            | (FaultKind::DrainGateway, Node::Gateway(_)) => true,
            (FaultKind::Replace | FaultKind::StaleEpoch, Node::Instance(i)) => {
                self.world.with(|state, _| state.rivals[*i].is_none())
            }
            (FaultKind::DrainInstance, Node::Instance(_)) => true,
            _ => false,
        });
        nodes.retain(|node| self.network.is_up(*node));
        let is_server = |node: &Node| matches!(node, Node::Server(_));
        // Often a server: only there is a call declined that another instance may still take, ...
        if nodes.iter().any(is_server) && self.rng.bool() {
            nodes.retain(is_server);
        }
        let node = self.one_of(&nodes)?;
        let mut fault = *fault;
        if is_server(&node) {
            // ... and until its agent looks again.
            fault.length = fault.length.max(PROBES);
        }
        let fault = &fault;
        match kind {
            // A process whose time has passed disturbs nobody.
            FaultKind::StaleEpoch => {}
            FaultKind::DrainInstance | FaultKind::DrainGateway => self.touch_drained(node),
            _ => self.touch(Hit::Host(node), fault),
        }
        match (kind, node) {
            (FaultKind::Crash, _) => {
                self.during(sim, fault, Change::Crash(node), Change::Start(node));
            }
            (FaultKind::Bounce, _) => {
                self.during(sim, fault, Change::Stop(node), Change::Start(node));
            }
            (FaultKind::Replace | FaultKind::StaleEpoch, Node::Instance(i)) => {
                let later = kind == FaultKind::Replace;
                let (begin, end) = (Change::Rival(i, later), Change::NoRival(i));
                self.during(sim, fault, begin, end);
            }
            _ => self.network.apply(sim, Change::Drain(node)),
        }
        Some(node.number())
    }

    fn begin_at_call(&mut self, fault: &FaultPlan) -> Option<u64> {
        let handler = fault.kind == FaultKind::StallHandler;
        let calls: Vec<u32> = self.world.with(|state, _| {
            let open = state.ledger.records().iter().zip(0..);
            let open = open.filter(|(record, _)| record.is_open());
            let open = open.map(|(_, call)| call);
            open.filter(|call| !handler || state.handlers.iter().any(|h| h.contains_key(call)))
                .collect()
        });
        let call = self.one_of(&calls)?;
        let cancel = self.world.with(|state, now| {
            let until = now + fault.length;
            match fault.kind {
                FaultKind::StallHandler => drop(state.handler_stalls.insert(call, until)),
                FaultKind::StallClient => drop(state.client_stalls.insert(call, until)),
                _ => return state.cancels.get(&call).cloned(),
            }
            None
        });
        if let Some(cancel) = cancel {
            cancel.notify_one();
        }
        Some(u64::from(call))
    }

    fn has_calls(&self, hit: Hit) -> bool {
        self.world
            .with(|state, _| !state.touches.open_on(&state.ledger, hit).is_empty())
    }

    fn links_with_calls(&self) -> Vec<Link> {
        let links = Link::all(&self.world.options).into_iter();
        links
            .filter(|link| !matches!(link.1, Node::Rival(_)))
            .filter(|link| self.has_calls(Hit::Link(*link)))
            .collect()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.rng.usize(..all.len())])
    }

    /// Touches what comes to a host that drains, until it is started anew, and what it has when its time is up.
    fn touch_drained(&self, node: Node) {
        let late = Duration::from_secs(8) + back(&self.world);
        self.world.with(|state, now| {
            let ledger = &mut state.ledger;
            state.touches.drain(ledger, now, node, DRAIN, late);
        });
    }

    /// Touches what goes over it while the fault lasts, and until its ends have noticed and are back.
    fn touch(&self, hit: Hit, fault: &FaultPlan) {
        let tail = tail(&self.world, hit, fault);
        self.world.with(|state, now| {
            let until = now + fault.length + tail;
            let late = fault.length + tail;
            state
                .touches
                .begin(&mut state.ledger, now, hit, until, late);
        });
    }
}

/// How long a host takes that dials again: a dial, and the handshake of a tunnel.
fn back(world: &World) -> Duration {
    BACKOFF + super::hop(&world.options) * 12
}

/// How long after a fault it is felt.
fn tail(world: &World, hit: Hit, fault: &FaultPlan) -> Duration {
    let options = &world.options;
    let back = back(world);
    // A silent peer is pinged after one interval, and given up after another.
    let noticed = options.heartbeat * 2 + DIAL + back;
    match fault.kind {
        // An agent that lost its server looks again after a while, and gets no calls until then.
        _ if matches!(
            hit,
            Hit::Host(Node::Server(_)) | Hit::Link(Link(_, Node::Server(_)))
        ) =>
        {
            PROBES + DIAL + back
        }
        FaultKind::Cut | FaultKind::Bounce => back,
        // Who dialled before the rival did has an earlier epoch: it tries again after two intervals.
        FaultKind::Replace => options.heartbeat * 2 + back,
        FaultKind::Hold
        | FaultKind::HoldOneWay
        | FaultKind::Flap
        | FaultKind::Swizzle
        | FaultKind::Latency
            if fault.length < options.heartbeat / 2 =>
        {
            back
        }
        _ => noticed,
    }
}
