//! The end of a run: everything is mended, new calls must succeed, and then nothing may be left.

use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::Time;
use grpcrouter_core::config::CHUNK;

use crate::oracle::{Edge, Outcome, Record, Rule, What};
use crate::plan::{CallPlan, Kind};

use super::world::{Due, World};

/// New calls succeed within this time after everything was mended.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
/// Peers that were lost have been noticed by then: two heartbeats, a back-off, and a handshake.
const PROBE_AFTER: Duration = Duration::from_millis(3_500);
/// One way over a link that is slow, at the least.
const SLOW: Duration = Duration::from_millis(20);
/// How long nothing may move on any call that has not ended: longer than every stall and deadline.
const STUCK_AFTER: Duration = Duration::from_secs(25);
/// Steps of a run, at the most: more is a loop.
const STEPS_MAX: u64 = 20_000_000;

impl World<'_> {
    /// Runs the whole plan.
    pub(super) fn play(&mut self) {
        let mut steps = 0_u64;
        let forever = Time::from_micros(u64::MAX);
        while self.step(forever) {
            steps += 1;
            if steps > STEPS_MAX {
                let what = format!("{steps} steps, and no rest");
                return self.ledger.report(self.now, Rule::Leaked, None, what);
            }
            if self.is_over() {
                break;
            }
        }
        self.rest();
    }

    fn is_over(&self) -> bool {
        let Some(done_at) = self.done_at else {
            return false;
        };
        let busy = self.ledger.records().iter().any(Record::is_open);
        let moved_at = done_at.max(self.ledger.moved_at());
        self.now >= moved_at + STUCK_AFTER
            || (!busy && self.now >= moved_at + self.base_slack() * 2)
    }

    /// Everything is mended, whatever was on.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.ledger.world(self.now, Edge::World, What::Healed, 0);
        for link in 0..self.links.len() {
            if self.links[link].is_touched() {
                self.touch_link(link);
            }
            for from in [0, 1] {
                let links = &mut self.links[link];
                links.parted[from] = 0;
                links.held[from] = links.held[from].min(1);
                if links.held[from] == 1 {
                    self.set_held(link, Some(from), false);
                }
            }
            self.links[link].slowed = Duration::ZERO;
            if self.links[link].rate.is_some() {
                self.stop_drip(link);
            }
        }
        for gateway in 0..self.gateways.len() {
            if self.gateways[gateway].draining {
                self.strike_gateway(gateway);
                self.kill_gateway(gateway, false);
            }
            self.gateways[gateway].alive = true;
        }
        for instance in 0..self.instances.len() {
            if self.instances[instance].draining {
                self.strike_host(self.plan.options.clients + instance);
                self.kill_instance(instance, false);
            }
            if !self.instances[instance].alive {
                self.restart_instance(instance);
            }
        }
        for client in &mut self.clients {
            client.alive = true;
        }
        self.after(PROBE_AFTER, Due::Probe);
        self.after(LIVE_WITHIN, Due::Verdict);
    }

    /// A call from every client to every instance, longer than all windows.
    pub(super) fn probe(&mut self) {
        let options = &self.plan.options;
        let windows = [
            options.call_window,
            options.client_window,
            options.reader_window,
        ];
        let size = windows.into_iter().min().unwrap_or_default();
        // Over slow links many windows of it would take longer than a call may.
        let size = match options.latency + options.jitter > SLOW {
            true => size.min(CHUNK as u32),
            false => size,
        };
        let sizes: Arc<[u32]> = vec![size; 3].into();
        for client in 0..options.clients {
            for id in 0..options.instances {
                let plan = CallPlan {
                    kind: Kind::Bidi,
                    request: sizes.clone(),
                    response: sizes.clone(),
                    ..CallPlan::small(client, id)
                };
                let call = self.ledger.add(Arc::new(plan));
                self.probes.push(call);
                self.start_call(call);
            }
        }
    }

    pub(super) fn verdict(&mut self) {
        for call in self.probes.clone() {
            let outcome = self.ledger.record(call).outcome();
            if outcome != Some(&Outcome::Ok) {
                let id = self.ledger.plan(call).pinned;
                let what = format!(
                    "a new call to instance {id:?} {} s after all was whole: {outcome:?}",
                    LIVE_WITHIN.as_secs()
                );
                self.ledger
                    .report(self.now, Rule::Unavailable, Some(call), what);
            }
        }
        self.done_at = Some(self.now);
    }

    /// Nothing is under way any more, and nothing may be held.
    fn rest(&mut self) {
        let now = self.now;
        let mut held = Vec::new();
        for (number, gateway) in self.gateways.iter().enumerate() {
            if !gateway.calls.is_empty() {
                held.push(format!("gateway {number}: {} calls", gateway.calls.len()));
            }
            let loads = gateway.registry.load();
            if loads > 0 {
                held.push(format!("gateway {number}: {loads} calls counted as load"));
            }
        }
        for (conn, end) in self.gateway_ends.iter().enumerate() {
            if let Some(end) = end {
                let (calls, known) = (end.tunnel.open_calls(), end.calls.len());
                if calls + known > 0 {
                    held.push(format!("tunnel {conn} at its gateway: {calls} calls"));
                }
            }
        }
        for (conn, end) in self.instance_ends.iter().enumerate() {
            if let Some(end) = end {
                let (calls, runs) = (end.tunnel.open_calls(), end.runs.len());
                if calls + runs > 0 {
                    let of: Vec<u32> = end.runs.values().map(|run| run.call).collect();
                    held.push(format!(
                        "tunnel {conn} at its instance: {calls} calls, handlers of {of:?}"
                    ));
                }
            }
        }
        for what in held {
            self.ledger.report(now, Rule::Leaked, None, what);
        }
        self.ledger.close(now);
    }
}
