//! Faults: what each does when it begins, at its steps, and at its end.

use std::time::Duration;

use grpcrouter_core::Time;

use crate::oracle::{Edge, What};
use crate::plan::FaultKind;

use super::hosts::GATEWAYS;
use super::link::{ConnId, HostId};
use super::wire::Piece;
use super::world::{Due, World};

/// A fault that has begun.
#[derive(Debug)]
pub(super) struct Running {
    kind: FaultKind,
    until: Time,
    length: Duration,
    /// The links that it is on, in the order in which they are released.
    links: Vec<usize>,
    /// The host that it is on, and whose direction, of a link.
    host: HostId,
    direction: Option<usize>,
    steps: u32,
}

/// Processes that may claim ids, at the most.
const INSTANCES_MAX: usize = 12;
/// What a link adds while it is slow.
const SLOW: Duration = Duration::from_millis(120);
/// Bytes a second of a dripping link.
const DRIP_RATE: u64 = 20_000;

impl World<'_> {
    pub(super) fn begin_fault(&mut self, fault: usize) {
        if self.healed {
            return;
        }
        let plan = self.plan.faults[fault];
        let mut running = Running {
            kind: plan.kind,
            until: self.now + plan.length,
            length: plan.length,
            links: Vec::new(),
            host: 0,
            direction: None,
            steps: 0,
        };
        self.ledger
            .world(self.now, Edge::World, What::Fault, plan.kind.number());
        let calls = self.strike(&mut running);
        self.counted += usize::from(calls > 0);
    }

    /// Does what a fault does at its beginning. Gives how many calls were open on what it hit.
    fn strike(&mut self, fault: &mut Running) -> usize {
        use FaultKind as Kind;
        match fault.kind {
            Kind::HoldOneWay | Kind::PartitionOneWay => {
                fault.direction = Some(self.rng.usize(..2));
                self.strike_links(fault, 1)
            }
            Kind::Hold | Kind::Partition | Kind::Latency | Kind::Drip | Kind::Flap => {
                self.strike_links(fault, 1)
            }
            Kind::Swizzle => {
                let links = self.rng.usize(2..=4);
                self.strike_links(fault, links)
            }
            Kind::Cut => self.with_busy_conn(Self::cut),
            Kind::HalfOpen => self.with_busy_conn(Self::half_open),
            Kind::Crash | Kind::Bounce => {
                let Some(host) = self.busy_host(|_| true) else {
                    return 0;
                };
                fault.host = host;
                let calls = self.strike_host(host);
                self.kill(host, fault.kind == Kind::Crash);
                self.run(fault, fault.until);
                calls
            }
            Kind::DrainInstance => {
                let from = self.plan.options.clients;
                let Some(host) = self.busy_host(|host| (from..GATEWAYS).contains(&host)) else {
                    return 0;
                };
                fault.host = host;
                let instance = host - from;
                if self.instances[instance].draining {
                    return 0;
                }
                let calls = self.calls_of_host(host);
                self.drain_instance(instance);
                self.run(fault, fault.until);
                calls
            }
            Kind::DrainGateway => {
                let gateway = self.rng.usize(..self.gateways.len());
                let host = &self.gateways[gateway];
                if !host.alive || host.draining {
                    return 0;
                }
                fault.host = gateway;
                let calls = host.calls.len();
                self.drain_gateway(gateway);
                self.run(fault, fault.until);
                calls
            }
            Kind::StallHandler => self.stall_handler(fault.length),
            Kind::StallClient => self.stall_client(fault.length),
            Kind::Cancel => match self.random_call() {
                Some(call) => {
                    self.cancel_call(call);
                    1
                }
                None => 0,
            },
            Kind::Replace => self.impersonate(self.now.as_micros() + 1),
            Kind::StaleEpoch => self.impersonate(1),
            Kind::Hostile(how) => self.hostile(how),
        }
    }

    /// A fault on some links, busy ones first.
    fn strike_links(&mut self, fault: &mut Running, count: usize) -> usize {
        let mut busy: Vec<usize> = (0..self.conns.len())
            .filter(|conn| !self.calls_on(*conn).is_empty())
            .map(|conn| self.conns[conn].link)
            .collect();
        busy.sort_unstable();
        busy.dedup();
        self.rng.shuffle(&mut busy);
        if busy.is_empty() {
            busy.push(self.rng.usize(..self.links.len()));
        }
        busy.truncate(count);
        let steps = busy.len() as u32;
        fault.links = busy;
        if fault.kind == FaultKind::Swizzle {
            // Held one by one; the first here, the others at its steps.
            let first = fault.links[0];
            let calls = self.touch_link(first);
            self.set_held(first, None, true);
            let at = self.now + fault.length / (steps * 2);
            self.run(fault, at);
            return calls;
        }
        let link = fault.links[0];
        let calls = self.touch_link(link);
        self.put_on(fault, link);
        let at = match fault.kind {
            FaultKind::Flap => self.now + fault.length / 8,
            _ => fault.until,
        };
        self.run(fault, at);
        calls
    }

    fn put_on(&mut self, fault: &Running, link: usize) {
        match fault.kind {
            FaultKind::Hold | FaultKind::HoldOneWay | FaultKind::Flap => {
                self.set_held(link, fault.direction, true);
            }
            FaultKind::Partition | FaultKind::PartitionOneWay => {
                self.set_parted(link, fault.direction, true);
            }
            FaultKind::Latency => self.links[link].slowed += SLOW,
            FaultKind::Drip => self.links[link].rate = Some(DRIP_RATE),
            _ => {}
        }
    }

    fn take_off(&mut self, fault: &Running, link: usize) {
        self.last_fault[link] = self.now;
        match fault.kind {
            FaultKind::Hold | FaultKind::HoldOneWay | FaultKind::Flap | FaultKind::Swizzle => {
                self.set_held(link, fault.direction, false);
            }
            FaultKind::Partition | FaultKind::PartitionOneWay => {
                self.set_parted(link, fault.direction, false);
            }
            FaultKind::Latency => {
                let slowed = &mut self.links[link].slowed;
                *slowed = slowed.saturating_sub(SLOW);
            }
            FaultKind::Drip => self.stop_drip(link),
            _ => {}
        }
    }

    /// A link that dripped lets everything through that waited for it.
    pub(super) fn stop_drip(&mut self, link: usize) {
        self.links[link].rate = None;
        let due = self.now + self.plan.options.latency;
        for conn in 0..self.conns.len() {
            if self.conns[conn].link != link {
                continue;
            }
            for from in [0, 1] {
                let pipe = &mut self.conns[conn].pipes[from];
                pipe.hurry(due);
                for _ in 0..self.conns[conn].pipes[from].pieces() {
                    self.at(due, Due::Arrive { conn, from });
                }
            }
        }
    }

    /// Puts a fault on the list, with the time of its next step.
    fn run(&mut self, fault: &mut Running, at: Time) {
        let fault = std::mem::replace(
            fault,
            Running {
                links: Vec::new(),
                ..*fault
            },
        );
        self.running.push(fault);
        let running = self.running.len() - 1;
        self.at(at, Due::FaultStep { running });
    }

    pub(super) fn step_fault(&mut self, running: usize) {
        if self.healed {
            return;
        }
        let fault = &mut self.running[running];
        fault.steps += 1;
        let steps = fault.steps;
        let mut fault = Running {
            links: fault.links.clone(),
            ..*fault
        };
        let again = match fault.kind {
            FaultKind::Flap if steps < 8 => {
                let link = fault.links[0];
                self.touch_link(link);
                self.set_held(link, None, steps.is_multiple_of(2));
                Some(self.now + fault.length / 8)
            }
            FaultKind::Swizzle => self.swizzle(&mut fault),
            FaultKind::Crash | FaultKind::Bounce => {
                self.revive(fault.host);
                None
            }
            FaultKind::DrainInstance => {
                let instance = fault.host - self.plan.options.clients;
                let left = self.instances[instance].conns.iter().all(Option::is_none);
                if left {
                    self.restart_instance(instance);
                }
                (!left).then(|| self.now + self.plan.options.heartbeat)
            }
            FaultKind::DrainGateway => {
                let gateway = fault.host;
                self.strike_gateway(gateway);
                self.kill_gateway(gateway, false);
                self.gateways[gateway].alive = true;
                None
            }
            _ => {
                for link in fault.links.clone() {
                    self.take_off(&fault, link);
                }
                None
            }
        };
        self.running[running] = fault;
        match again {
            Some(at) => self.at(at, Due::FaultStep { running }),
            None => {
                let kind = self.running[running].kind.number();
                self.ledger.world(self.now, Edge::World, What::Mended, kind);
            }
        }
    }

    /// Links are held one by one, and released in another order.
    fn swizzle(&mut self, fault: &mut Running) -> Option<Time> {
        let (step, count) = (fault.steps as usize, fault.links.len());
        if step < count {
            self.touch_link(fault.links[step]);
            self.set_held(fault.links[step], None, true);
        } else {
            if step == count {
                self.rng.shuffle(&mut fault.links);
            }
            self.take_off(fault, fault.links[step - count]);
        }
        (step + 1 < count * 2).then(|| self.now + fault.length / (count as u32 * 2))
    }

    pub(super) fn set_held(&mut self, link: usize, direction: Option<usize>, held: bool) {
        for from in direction.map_or(0..2, |one| one..one + 1) {
            let count = &mut self.links[link].held[from];
            *count = if held {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.unpark(link, from);
            }
        }
    }

    fn set_parted(&mut self, link: usize, direction: Option<usize>, parted: bool) {
        for from in direction.map_or(0..2, |one| one..one + 1) {
            let count = &mut self.links[link].parted[from];
            *count = if parted {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
        }
    }

    /// What a held link kept is delivered.
    fn unpark(&mut self, link: usize, from: usize) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].link == link {
                for _ in 0..std::mem::take(&mut self.conns[conn].pipes[from].parked) {
                    self.at(self.now, Due::Arrive { conn, from });
                }
            }
        }
    }

    /// A connection on which calls are open, if there is one.
    fn with_busy_conn(&mut self, strike: fn(&mut Self, ConnId)) -> usize {
        let busy = (0..self.conns.len()).filter(|conn| !self.calls_on(*conn).is_empty());
        let busy: Vec<ConnId> = busy.collect();
        let Some(conn) = self.rng.choice(busy) else {
            return 0;
        };
        let calls = self.touch_conn(conn);
        self.sick[conn] = true;
        self.last_fault[self.conns[conn].link] = self.now;
        strike(self, conn);
        calls
    }

    /// A connection is reset at both ends, after a part of what was under way one way.
    fn cut(&mut self, conn: ConnId) {
        let from = self.rng.usize(..2);
        if let Some(Piece::Bytes(bytes)) = self.conns[conn].pipes[from].pop()
            && self.conns[conn].open[1 - from]
        {
            let part = bytes.slice(..self.rng.usize(..=bytes.len()));
            match from {
                0 => self.gateway_bytes(conn, part),
                _ => self.instance_bytes(conn, part),
            }
        }
        for pipe in &mut self.conns[conn].pipes {
            pipe.clear();
            pipe.broken = true;
        }
        for end in [0, 1] {
            if self.conns[conn].open[end] {
                self.hang_up(conn, end, "reset");
            }
        }
    }

    /// One end is reset, and the other one hears nothing.
    fn half_open(&mut self, conn: ConnId) {
        let end = self.rng.usize(..2);
        self.conns[conn].pipes[end].broken = true;
        if self.conns[conn].open[end] {
            self.hang_up(conn, end, "reset");
        }
    }

    fn stall_handler(&mut self, length: Duration) -> usize {
        let ends = self.instance_ends.iter().enumerate();
        let runs = ends.filter_map(|(conn, end)| Some((conn, end.as_ref()?)));
        let runs = runs.flat_map(|(conn, end)| end.runs.keys().map(move |key| (conn, *key)));
        let runs: Vec<_> = runs.collect();
        let Some((conn, key)) = self.rng.choice(runs) else {
            return 0;
        };
        let until = self.now + length;
        if let Some(run) = self.instance_ends[conn]
            .as_mut()
            .and_then(|end| end.runs.get_mut(&key))
        {
            run.until = run.until.max(until);
        }
        self.at(until, Due::HandlerWake { conn, key });
        1
    }

    fn stall_client(&mut self, length: Duration) -> usize {
        let Some(call) = self.random_call() else {
            return 0;
        };
        let until = self.now + length;
        let client = self.ledger.plan(call).client;
        if let Some(ongoing) = self.clients[client].calls.get_mut(&call) {
            ongoing.read_at = ongoing.read_at.max(until);
            ongoing.stalled += length;
        }
        self.at(until, Due::ClientWake { call });
        1
    }

    fn random_call(&mut self) -> Option<u32> {
        let calls = self.clients.iter().flat_map(|client| client.calls.keys());
        let calls: Vec<u32> = calls.copied().collect();
        self.rng.choice(calls)
    }

    /// Another process claims an instance's id.
    fn impersonate(&mut self, started_us: u64) -> usize {
        if self.instances.len() >= INSTANCES_MAX {
            return 0;
        }
        let id = self.rng.usize(..self.plan.options.instances);
        let own = (0..self.instances.len()).filter(|i| self.instances[*i].id == id);
        let own: Vec<usize> = own.collect();
        let hosts = own.iter().map(|i| self.plan.options.clients + i);
        let calls = hosts.map(|host| self.calls_of_host(host)).sum();
        self.add_instance(id, started_us);
        calls
    }
}

impl FaultKind {
    /// Its place among all kinds.
    fn number(self) -> u64 {
        let place = Self::ALL.iter().position(|kind| *kind == self);
        place.map_or(u64::MAX, |place| place as u64)
    }
}
