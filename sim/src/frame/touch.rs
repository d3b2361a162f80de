//! Which calls a fault is on: they may fail, and no others.

use grpcrouter_core::Time;
use grpcrouter_core::tunnel::Phase;

use crate::oracle::Slack;

use super::link::ConnId;
use super::world::World;

impl World<'_> {
    /// A fault is on the call's path.
    pub(super) fn touch(&mut self, call: u32) {
        if !self.ledger.record(call).is_touched() {
            let ever = Time::from_micros(u64::MAX);
            self.ledger.touched(self.now, call, self.now..=ever);
        }
    }

    /// The call takes this connection from now on, and with it what faults are on it.
    pub(super) fn touch_if_faulty(&mut self, call: u32, conn: ConnId) {
        let faulty = self.is_faulty(conn);
        if faulty {
            self.touch(call);
        }
        if faulty && !self.is_tunnel(conn) {
            self.mark_client(call);
        }
    }

    /// A fault is on this connection: all calls that are open on it may fail. Gives how many there are.
    pub(super) fn touch_conn(&mut self, conn: ConnId) -> usize {
        let calls = self.calls_on(conn);
        // Of a call that has just ended, frames may be under way that the fault delays.
        let slack_us = self.base_slack().as_micros() as u64;
        let since = Time::from_micros(self.now.as_micros().saturating_sub(slack_us));
        for call in self.ledger.ended_after(since) {
            self.touch(call);
        }
        for call in &calls {
            self.touch(*call);
            if !self.is_tunnel(conn) {
                self.mark_client(*call);
            }
        }
        calls.len()
    }

    /// A fault is on this link, and on all connections over it.
    pub(super) fn touch_link(&mut self, link: usize) -> usize {
        self.last_fault[link] = self.now;
        let over = (0..self.conns.len()).filter(|conn| self.conns[*conn].link == link);
        let over: Vec<ConnId> = over.collect();
        over.into_iter().map(|conn| self.touch_conn(conn)).sum()
    }

    /// The calls that are open on a connection, as its ends know them.
    pub(super) fn calls_on(&self, conn: ConnId) -> Vec<u32> {
        if !self.is_tunnel(conn) {
            let client = &self.clients[self.conns[conn].hosts[0]];
            let is_own = client.conn == Some(conn);
            return client.calls.keys().copied().filter(|_| is_own).collect();
        }
        let mut calls: Vec<u32> = match &self.gateway_ends[conn] {
            Some(end) => end.calls.values().copied().collect(),
            None => Vec::new(),
        };
        if let Some(end) = &self.instance_ends[conn] {
            calls.extend(end.runs.values().map(|run| run.call));
        }
        calls.retain(|call| self.ledger.record(*call).is_open());
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    /// Whether a fault is on a connection, or one that was may still end it.
    pub(super) fn is_faulty(&self, conn: ConnId) -> bool {
        let connection = &self.conns[conn];
        // What a slow link let through at last is still under way when the fault is over.
        let in_time = self.now + self.plan.options.latency + self.plan.options.jitter;
        self.sick[conn]
            || self.links[connection.link].is_touched()
            || connection.pipes.iter().any(|pipe| pipe.broken)
            || connection
                .pipes
                .iter()
                .any(|pipe| pipe.last_due() > in_time)
    }

    /// Whether a fault explains that a connection is silent, or over, now.
    pub(super) fn was_touched_lately(&self, conn: ConnId) -> bool {
        let lately = self.plan.options.heartbeat * 3 + self.base_slack();
        self.is_faulty(conn) || self.now - self.last_fault[self.conns[conn].link] <= lately
    }

    /// The call's client is behind a fault.
    fn mark_client(&mut self, call: u32) {
        let call = call as usize;
        if self.behind_fault.len() <= call {
            self.behind_fault.resize(call + 1, false);
        }
        self.behind_fault[call] = true;
    }

    /// How late a client may learn of a call's end.
    pub(super) fn client_slack(&self, call: u32) -> Slack {
        match self.behind_fault.get(call as usize) {
            Some(true) => self.faulty_slack(),
            _ => self.base_slack(),
        }
    }

    /// Whether no instance that may take this call is registered for all that itself knows, with nothing
    /// wrong near it.
    pub(super) fn is_nobody_settled(&self, gateway: usize, call: u32) -> bool {
        let pinned = self.ledger.plan(call).pinned;
        let is_settled = |conn: ConnId| {
            let end = self.instance_ends[conn].as_ref();
            end.is_some_and(|end| end.tunnel.phase() == Phase::Live)
                && !self.was_touched_lately(conn)
        };
        !self.instances.iter().any(|host| {
            let may = pinned.is_none_or(|id| id == host.id) && host.alive && !host.draining;
            may && host.conns[gateway].is_some_and(is_settled)
        })
    }
}
