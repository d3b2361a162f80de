//! An instance: it dials every gateway, registers, and hands calls to its handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes};
use grpcrouter_core::tunnel::{Event, InstanceEvent};
use grpcrouter_core::{Instance, Key, Time, Tunnel};
use grpcrouter_proto::v1::{Epoch, HealthStatus, InstanceInfo, ServiceInfo};

use crate::oracle::{Edge, What};

use super::handler::Run;
use super::link::{ConnId, TURN};
use super::wire::Piece;
use super::world::{Due, World};

/// The service of every instance.
pub(super) const SERVICE: &str = "sim.Probe";

/// A process that offers the service.
#[derive(Debug)]
pub(super) struct InstanceHost {
    /// Which of the plan's instances it is; another process may claim the same.
    pub(super) id: usize,
    /// When its process started.
    started_us: u64,
    /// Counts its registrations.
    attempt: u64,
    pub(super) alive: bool,
    /// It was told that another one took its place, or has nothing more to do: it dials no more.
    pub(super) done: bool,
    /// It takes no new calls and will leave.
    pub(super) draining: bool,
    /// Its tunnels, by gateway.
    pub(super) conns: Vec<Option<ConnId>>,
    /// Dials without success, by gateway.
    failures: Vec<u32>,
}

/// The instance's end of a tunnel.
#[derive(Debug)]
pub(super) struct InstanceTunnel {
    pub(super) host: usize,
    pub(super) gateway: usize,
    pub(super) tunnel: Tunnel<Instance>,
    pub(super) runs: BTreeMap<Key, Run>,
    timer_at: Option<Time>,
}

impl World<'_> {
    /// A process for this id, with links to every gateway, that dials.
    pub(super) fn add_instance(&mut self, id: usize, started_us: u64) -> usize {
        let gateways = self.plan.options.gateways;
        self.instances.push(InstanceHost {
            id,
            started_us,
            attempt: 0,
            alive: true,
            done: false,
            draining: false,
            conns: vec![None; gateways],
            failures: vec![0; gateways],
        });
        self.add_links();
        let instance = self.instances.len() - 1;
        self.dial_all(instance);
        instance
    }

    /// The process starts again, later than ever before.
    pub(super) fn restart_instance(&mut self, instance: usize) {
        let now_us = self.now.as_micros();
        let host = &mut self.instances[instance];
        host.alive = true;
        host.draining = false;
        host.started_us = host.started_us.max(now_us);
        host.attempt += 1;
        if !host.done {
            self.dial_all(instance);
        }
    }

    fn dial_all(&mut self, instance: usize) {
        for gateway in 0..self.plan.options.gateways {
            self.after(Duration::ZERO, Due::Dial { instance, gateway });
        }
    }

    /// Dials, unless a tunnel is there or nobody is to.
    pub(super) fn dial(&mut self, instance: usize, gateway: usize) {
        let link = self.instance_link(instance, gateway);
        let host = &mut self.instances[instance];
        if !host.alive || host.done || host.draining || host.conns[gateway].is_some() {
            return;
        }
        if self.links[link].is_parted() || !self.gateways[gateway].alive {
            return self.dial_later(instance, gateway);
        }
        let host = &mut self.instances[instance];
        host.attempt += 1;
        let info = InstanceInfo {
            instance_id: name(host.id),
            epoch: Some(Epoch {
                started_us: host.started_us,
                attempt: host.attempt,
            }),
            services: vec![ServiceInfo {
                name: SERVICE.to_owned(),
                health: HealthStatus::Healthy.into(),
            }],
            ..InstanceInfo::default()
        };
        let conn = self.connect(self.plan.options.clients + instance, gateway, link);
        self.instances[instance].conns[gateway] = Some(conn);
        self.instance_ends[conn] = Some(Box::new(InstanceTunnel {
            host: instance,
            gateway,
            tunnel: Tunnel::<Instance>::new(self.now, self.config.clone(), info),
            runs: BTreeMap::new(),
            timer_at: None,
        }));
        self.instance_settle(conn);
    }

    /// Backs off: full jitter up to a cap that doubles, at most half a second.
    fn dial_later(&mut self, instance: usize, gateway: usize) {
        let failures = &mut self.instances[instance].failures[gateway];
        *failures = (*failures + 1).min(6);
        let cap_us = (10_000 << *failures).min(500_000);
        let wait = Duration::from_micros(self.rng.u64(1_000..=cap_us));
        self.after(wait, Due::Dial { instance, gateway });
    }

    pub(super) fn instance_bytes(&mut self, conn: ConnId, bytes: Bytes) {
        let now = self.now;
        if let Some(end) = &mut self.instance_ends[conn] {
            let mut rest = end.tunnel.handle_some(now, bytes, TURN);
            self.instance_settle(conn);
            while rest && let Some(end) = &mut self.instance_ends[conn] {
                rest = end.tunnel.handle_rest(now, TURN);
                self.instance_settle(conn);
            }
        }
    }

    pub(super) fn instance_timer(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(end) = &mut self.instance_ends[conn] {
            end.timer_at = None;
            if end.tunnel.poll_timeout().is_some_and(|at| at <= now) {
                end.tunnel.handle_timeout(now);
            }
            self.instance_settle(conn);
        }
    }

    pub(super) fn instance_end(&mut self, conn: ConnId, why: &str) {
        if let Some(end) = &mut self.instance_ends[conn] {
            end.tunnel.handle_end(self.now, why);
            self.instance_settle(conn);
        }
    }

    /// Does what an end of a tunnel wants done, until it wants nothing more.
    pub(super) fn instance_settle(&mut self, conn: ConnId) {
        let Some(mut end) = self.instance_ends[conn].take() else {
            return;
        };
        let mut over = false;
        loop {
            while let Some(event) = end.tunnel.poll_event() {
                over |= self.on_instance_event(conn, &mut end, event);
            }
            // What is left when it is over goes out even when the pipe is full.
            while end.tunnel.has_transmit() && (over || self.room(conn, 0) > 0) {
                match end.tunnel.poll_transmit(self.now) {
                    Some(mut batch) => {
                        let bytes = batch.copy_to_bytes(batch.remaining());
                        self.send(conn, 0, Piece::Bytes(bytes));
                    }
                    None => break,
                }
            }
            match end.tunnel.poll_event() {
                Some(event) => over |= self.on_instance_event(conn, &mut end, event),
                None => break,
            }
        }
        if over {
            self.send(conn, 0, Piece::Fin);
            self.conns[conn].parting[0] = true;
            return self.close_instance_end(conn, *end);
        }
        let at = end.tunnel.poll_timeout();
        if let Some(at) = at.filter(|at| end.timer_at.is_none_or(|set| *at < set)) {
            end.timer_at = Some(at);
            self.at(at, Due::TunnelTimer { conn, end: 0 });
        }
        self.instance_ends[conn] = Some(end);
    }

    /// Deals with an event; `true` when the tunnel is over.
    fn on_instance_event(
        &mut self,
        conn: ConnId,
        end: &mut InstanceTunnel,
        event: Event<Instance>,
    ) -> bool {
        match event {
            Event::Role(InstanceEvent::Registered(_)) => {
                self.instances[end.host].failures[end.gateway] = 0;
                if self.instances[end.host].draining {
                    end.tunnel.unregister("the instance drains");
                }
            }
            Event::Role(InstanceEvent::Incoming(key, open)) => {
                self.start_run(conn, end, key, &open);
            }
            Event::Role(InstanceEvent::Draining { answer: false }) => {
                // The gateway wants it elsewhere: another tunnel, while the calls of this one finish.
                let (instance, gateway) = (end.host, end.gateway);
                if self.instances[instance].conns[gateway] == Some(conn) {
                    self.instances[instance].conns[gateway] = None;
                    self.dial_later(instance, gateway);
                }
            }
            Event::Role(_) => {}
            Event::Readable(key) | Event::Writable(key) => self.progress_run(conn, end, key),
            Event::Drained => return true,
            Event::Closed(error) => {
                self.tunnel_failed(conn, &error);
                if let grpcrouter_core::TunnelError::Refused { reason, .. } = &error
                    && (reason == "superseded" || reason == "stale-epoch")
                {
                    self.instances[end.host].done = true;
                }
                // Handlers still learn what became of their calls.
                let keys: Vec<Key> = end.runs.keys().copied().collect();
                for key in keys {
                    self.progress_run(conn, end, key);
                }
                return true;
            }
        }
        false
    }

    /// The tunnel is over at this end.
    fn close_instance_end(&mut self, conn: ConnId, end: InstanceTunnel) {
        self.conns[conn].open[0] = false;
        self.ledger
            .world(self.now, Edge::World, What::TunnelEnded, conn as u64);
        for run in end.runs.into_values() {
            self.forget_run(&run);
        }
        let (instance, gateway) = (end.host, end.gateway);
        if self.instances[instance].conns[gateway] == Some(conn) {
            self.instances[instance].conns[gateway] = None;
            self.dial_later(instance, gateway);
        }
    }

    /// Drains an instance: it takes no new calls and leaves when the running ones are done.
    pub(super) fn drain_instance(&mut self, instance: usize) {
        self.instances[instance].draining = true;
        for conn in self.instances[instance].conns.clone().into_iter().flatten() {
            if let Some(end) = &mut self.instance_ends[conn] {
                end.tunnel.unregister("the instance drains");
                self.instance_settle(conn);
            }
        }
    }

    /// The process is gone. `quietly`: nobody is told.
    pub(super) fn kill_instance(&mut self, instance: usize, quietly: bool) {
        self.instances[instance].alive = false;
        for conn in 0..self.conns.len() {
            if self.conns[conn].hosts[0] != self.plan.options.clients + instance {
                continue;
            }
            if !quietly {
                self.send(conn, 0, Piece::Rst);
            }
            self.conns[conn].open[0] = false;
            self.conns[conn].parting[0] = false;
            if let Some(end) = self.instance_ends[conn].take() {
                for run in end.runs.into_values() {
                    self.forget_run(&run);
                }
            }
        }
        self.instances[instance].conns.fill(None);
    }
}

/// The id under which an instance registers.
pub(super) fn name(id: usize) -> String {
    format!("instance-{id}")
}
