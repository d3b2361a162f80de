//! A gateway: the registry, the gateway's ends of tunnels, and its clients' connections.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use grpcrouter_core::registry::{Identity, Registration, Registry, RegistryLimits};
use grpcrouter_core::registry::{Key as RegistryKey, RegisterError};
use grpcrouter_core::tunnel::{Event, GatewayEvent};
use grpcrouter_core::{Gateway, Key, Time, Tunnel, TunnelError};
use grpcrouter_proto::v1::InstanceInfo;

use crate::oracle::{Edge, Rule, What};

use super::link::{ConnId, TURN};
use super::relay::Relay;
use super::wire::{Frame, Piece};
use super::world::{Due, World};

/// ABORTED, ALREADY_EXISTS.
const ABORTED: u32 = 10;
const ALREADY_EXISTS: u32 = 6;

/// A process that takes calls in.
#[derive(Debug)]
pub(super) struct GatewayHost {
    pub(super) alive: bool,
    pub(super) draining: bool,
    pub(super) registry: Registry<ConnId>,
    /// Calls that go on, by number.
    pub(super) calls: BTreeMap<u32, Relay>,
}

/// The gateway's end of a tunnel.
#[derive(Debug)]
pub(super) struct GatewayTunnel {
    pub(super) gateway: usize,
    pub(super) tunnel: Tunnel<Gateway>,
    pub(super) registered: Option<RegistryKey>,
    /// Start and attempt of the registration.
    epoch: (u64, u64),
    /// The calls on it.
    pub(super) calls: BTreeMap<Key, u32>,
    timer_at: Option<Time>,
    /// It ended; calls may still have to take what came before.
    pub(super) closed: bool,
}

impl GatewayHost {
    pub(super) fn new() -> Self {
        Self {
            alive: true,
            draining: false,
            registry: Registry::new(RegistryLimits::default()),
            calls: BTreeMap::new(),
        }
    }
}

impl World<'_> {
    /// Bytes of a tunnel; the first ones begin it.
    pub(super) fn gateway_bytes(&mut self, conn: ConnId, bytes: Bytes) {
        let now = self.now;
        let gateway = self.conns[conn].hosts[1];
        let config = &self.config;
        let end = self.gateway_ends[conn].get_or_insert_with(|| {
            Box::new(GatewayTunnel {
                gateway,
                tunnel: Tunnel::<Gateway>::new(now, config.clone()),
                registered: None,
                epoch: (0, 0),
                calls: BTreeMap::new(),
                timer_at: None,
                closed: false,
            })
        });
        let mut rest = end.tunnel.handle_some(now, bytes, TURN);
        self.gateway_settle(conn);
        while rest && let Some(end) = &mut self.gateway_ends[conn] {
            rest = end.tunnel.handle_rest(now, TURN);
            self.gateway_settle(conn);
        }
    }

    pub(super) fn gateway_timer(&mut self, conn: ConnId) {
        let now = self.now;
        if let Some(end) = &mut self.gateway_ends[conn] {
            end.timer_at = None;
            if end.tunnel.poll_timeout().is_some_and(|at| at <= now) {
                end.tunnel.handle_timeout(now);
            }
            self.gateway_settle(conn);
        }
    }

    pub(super) fn gateway_end(&mut self, conn: ConnId, why: &str) {
        if let Some(end) = &mut self.gateway_ends[conn] {
            end.tunnel.handle_end(self.now, why);
            self.gateway_settle(conn);
        } else {
            self.conns[conn].open[1] = false;
        }
    }

    /// Does what an end of a tunnel wants done, until it wants nothing more.
    pub(super) fn gateway_settle(&mut self, conn: ConnId) {
        let mut over = false;
        loop {
            let Some(end) = &mut self.gateway_ends[conn] else {
                return;
            };
            if let Some(event) = end.tunnel.poll_event() {
                over |= self.on_gateway_event(conn, event);
                continue;
            }
            // What says why it ended goes out even when the pipe is full.
            if !end.tunnel.has_transmit() || (self.room(conn, 1) == 0 && !over) {
                break;
            }
            let now = self.now;
            let Some(end) = &mut self.gateway_ends[conn] else {
                return;
            };
            match end.tunnel.poll_transmit(now) {
                Some(mut batch) => {
                    let bytes = batch.copy_to_bytes(batch.remaining());
                    self.send(conn, 1, Piece::Bytes(bytes));
                }
                None => break,
            }
        }
        if over {
            self.send(conn, 1, Piece::Fin);
            self.conns[conn].open[1] = false;
            self.conns[conn].parting[1] = true;
        }
        let Some(end) = &mut self.gateway_ends[conn] else {
            return;
        };
        end.closed |= over;
        // Also of a tunnel that ended: its calls' answers still have deadlines.
        let at = end.tunnel.poll_timeout();
        if let Some(at) = at.filter(|at| end.timer_at.is_none_or(|set| *at < set)) {
            end.timer_at = Some(at);
            self.at(at, Due::TunnelTimer { conn, end: 1 });
        }
        self.drop_if_done(conn);
    }

    /// A tunnel that ended is kept for as long as a call may take something from it.
    pub(super) fn drop_if_done(&mut self, conn: ConnId) {
        if let Some(end) = &self.gateway_ends[conn]
            && end.closed
            && end.calls.is_empty()
        {
            self.gateway_ends[conn] = None;
        }
    }

    /// Deals with an event; `true` when the tunnel is over.
    fn on_gateway_event(&mut self, conn: ConnId, event: Event<Gateway>) -> bool {
        match event {
            Event::Role(GatewayEvent::Registering(info)) => self.register(conn, &info),
            Event::Role(GatewayEvent::Health(services)) => {
                if let Some((gateway, key)) = self.registration(conn) {
                    self.gateways[gateway]
                        .registry
                        .report_health(key, &services);
                }
            }
            Event::Role(GatewayEvent::Unregistering) => {
                if let Some((gateway, key)) = self.registration(conn) {
                    self.gateways[gateway].registry.set_draining(key);
                }
            }
            Event::Role(GatewayEvent::Descriptors(_)) | Event::Drained => {}
            Event::Readable(key) => {
                if let Some(call) = self.call_of(conn, key) {
                    self.pump_response(call);
                }
            }
            Event::Writable(key) => {
                if let Some(call) = self.call_of(conn, key) {
                    self.pass_on(call);
                }
            }
            Event::Closed(error) => {
                self.tunnel_failed(conn, &error);
                if let Some((gateway, key)) = self.registration(conn) {
                    self.gateways[gateway].registry.remove(key);
                    while self.gateways[gateway].registry.poll_change().is_some() {}
                }
                self.ledger
                    .world(self.now, Edge::Gateway, What::TunnelEnded, conn as u64);
                // Their faults are events that may not have been taken yet.
                let end = self.gateway_ends[conn].as_ref();
                let calls: Vec<u32> =
                    end.map_or(Vec::new(), |e| e.calls.values().copied().collect());
                for call in calls {
                    self.pump_response(call);
                }
                return true;
            }
        }
        false
    }

    fn registration(&self, conn: ConnId) -> Option<(usize, RegistryKey)> {
        let end = self.gateway_ends[conn].as_ref()?;
        Some((end.gateway, end.registered?))
    }

    fn call_of(&self, conn: ConnId, key: Key) -> Option<u32> {
        let end = self.gateway_ends[conn].as_ref()?;
        end.calls.get(&key).copied()
    }

    fn register(&mut self, conn: ConnId, info: &InstanceInfo) {
        let now = self.now;
        let gateway = self.conns[conn].hosts[1];
        let host = &mut self.gateways[gateway];
        let Some(end) = &mut self.gateway_ends[conn] else {
            return;
        };
        if host.draining {
            return end
                .tunnel
                .refuse(14, "draining", "the gateway is shutting down");
        }
        let epoch = info.epoch.unwrap_or_default();
        let limits = host.registry.limits();
        let registration = match Registration::parse(info, Identity::anonymous(), limits) {
            Ok(registration) => registration,
            Err(error) => return end.tunnel.refuse(3, "bad-registration", &error.to_string()),
        };
        match host.registry.register(registration, conn) {
            Ok(registered) => {
                while host.registry.poll_change().is_some() {}
                end.registered = Some(registered.key);
                end.epoch = (epoch.started_us, epoch.attempt);
                end.tunnel
                    .accept(now, format!("gateway-{gateway}"), Vec::new());
                self.ledger
                    .world(now, Edge::Gateway, What::Registered, conn as u64);
                if let Some(old) = registered.replaced {
                    self.supersede(old, (epoch.started_us, epoch.attempt));
                }
            }
            Err(error) => {
                let (code, reason) = match error {
                    RegisterError::AlreadyExists { .. } => (ALREADY_EXISTS, "stale-epoch"),
                    _ => (8, "limit"),
                };
                end.tunnel.refuse(code, reason, &error.to_string());
                self.ledger
                    .world(now, Edge::Gateway, What::Refused, conn as u64);
            }
        }
    }

    /// A later registration took a tunnel's place.
    fn supersede(&mut self, old: ConnId, by: (u64, u64)) {
        let now = self.now;
        let Some(end) = &mut self.gateway_ends[old] else {
            return;
        };
        if end.epoch >= by {
            let what = format!("epoch {by:?} took the place of {:?}", end.epoch);
            self.ledger.report(now, Rule::Misrouted, None, what);
        }
        let Some(end) = &mut self.gateway_ends[old] else {
            return;
        };
        end.tunnel
            .refuse(ABORTED, "superseded", "a later registration took its place");
        self.touch_conn(old);
        self.gateway_settle(old);
    }

    /// A tunnel ended for this reason: what was on it may fail, where a fault explains it.
    pub(super) fn tunnel_failed(&mut self, conn: ConnId, error: &TunnelError) {
        let explained = match error {
            // Silence, and a peer that hung up, follow from faults that were there lately.
            TunnelError::Silent(_)
            | TunnelError::Transport(_)
            | TunnelError::HandshakeTimeout(_) => self.was_touched_lately(conn),
            TunnelError::Refused { .. } => true,
            // Only a hostile peer breaks the protocol.
            _ => self.sick[conn],
        };
        if explained {
            self.touch_conn(conn);
        }
        self.sick[conn] |= explained;
    }

    /// Frames of a client.
    pub(super) fn gateway_frame(&mut self, conn: ConnId, frame: Frame) {
        self.clients_heard(conn, 1);
        match frame {
            Frame::Open {
                call,
                timeout,
                bytes,
                end,
            } => self.relay(conn, call, timeout, &bytes, end),
            Frame::Data { call, bytes } => self.relay_data(call, bytes),
            Frame::End { call } => self.relay_end(call),
            Frame::Reset { call } => self.relay_reset(call),
            Frame::Window { call, bytes } => self.relay_window(call, bytes),
            Frame::Ping | Frame::Head | Frame::Trailers { .. } => {}
        }
    }

    /// A client's connection is over at the gateway: all its calls with it.
    pub(super) fn gateway_drops_client(&mut self, conn: ConnId) {
        self.conns[conn].open[1] = false;
        let gateway = self.conns[conn].hosts[1];
        let calls = &self.gateways[gateway].calls;
        let of_client = |(call, relay): (&u32, &Relay)| (relay.client == conn).then_some(*call);
        let calls: Vec<u32> = calls.iter().filter_map(of_client).collect();
        for call in calls {
            self.relay_reset(call);
        }
    }

    /// Asks all instances to go elsewhere; new calls are refused.
    pub(super) fn drain_gateway(&mut self, gateway: usize) {
        self.gateways[gateway].draining = true;
        for conn in 0..self.conns.len() {
            match &mut self.gateway_ends[conn] {
                Some(end) if end.gateway == gateway => {
                    end.tunnel.drain("the gateway is shutting down");
                    self.gateway_settle(conn);
                }
                _ => {}
            }
        }
    }

    /// The process is gone. `quietly`: nobody is told.
    pub(super) fn kill_gateway(&mut self, gateway: usize, quietly: bool) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].hosts[1] != gateway {
                continue;
            }
            self.gateway_ends[conn] = None;
            if !quietly {
                self.send(conn, 1, Piece::Rst);
            }
            self.conns[conn].open[1] = false;
            self.conns[conn].parting[1] = false;
        }
        self.gateways[gateway] = GatewayHost::new();
        self.gateways[gateway].alive = false;
    }
}
