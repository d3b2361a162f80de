//! The world of one run: hosts, connections, virtual time, and what is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use grpcrouter_core::{Config, Key, Time};

use crate::determinism::machine_delay;
use crate::oracle::{Bounds, Edge, Ledger, Slack, Trace, What};
use crate::plan::Plan;
use crate::report::Watch;

use super::client::ClientHost;
use super::fault::Running;
use super::gateway::{GatewayHost, GatewayTunnel};
use super::instance::{InstanceHost, InstanceTunnel};
use super::link::{Conn, ConnId, HostId, Link};
use super::wire::{Frame, Piece};

/// What of a request the gateway keeps for a second try, in bytes.
pub(super) const REPLAY_MAX: usize = 16 * 1024;
/// What a handler's side takes of a response at a time, in bytes.
pub(super) const PIECE: usize = 32 * 1024;
/// The longest bytes of one frame of a client's connection: HTTP/2's default.
pub(super) const FRAME_MAX: usize = 16 * 1024;

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The next piece of a pipe.
    Arrive { conn: ConnId, from: usize },
    /// A tunnel's timer: at the gateway's end (1), or the instance's (0).
    TunnelTimer { conn: ConnId, end: usize },
    /// A call begins.
    CallStart { call: u32 },
    /// A client's next step in a call.
    ClientWake { call: u32 },
    /// A client gives a call up.
    ClientCancel { call: u32 },
    /// A handler's next step.
    HandlerWake { conn: ConnId, key: Key },
    /// Both ends of a client's connection send their pings, and look for the peer's.
    ClientTick { conn: ConnId },
    /// An instance dials a gateway.
    Dial { instance: usize, gateway: usize },
    /// A fault of the plan begins.
    FaultStart { fault: usize },
    /// A running fault's next step, or its end.
    FaultStep { running: usize },
    /// Everything is mended.
    Heal,
    /// New calls must succeed.
    Probe,
    /// And have succeeded by now.
    Verdict,
}

/// The world of one run.
pub(super) struct World<'a> {
    pub(super) now: Time,
    pub(super) plan: &'a Plan,
    pub(super) rng: Rng,
    pub(super) ledger: Ledger,
    /// Whether the first piece takes as long as a clock of this machine says.
    late: bool,
    /// Settings of both ends of every tunnel.
    pub(super) config: Config,
    queue: BinaryHeap<Reverse<(Time, u64, Due)>>,
    scheduled: u64,
    pub(super) links: Vec<Link>,
    pub(super) conns: Vec<Conn<Piece>>,
    pub(super) gateways: Vec<GatewayHost>,
    pub(super) clients: Vec<ClientHost>,
    pub(super) instances: Vec<InstanceHost>,
    /// By connection: the ends of tunnels.
    pub(super) gateway_ends: Vec<Option<Box<GatewayTunnel>>>,
    pub(super) instance_ends: Vec<Option<Box<InstanceTunnel>>>,
    /// By connection: a fault may still end it.
    pub(super) sick: Vec<bool>,
    /// By connection: frames on it that broke the rules of a call.
    pub(super) breaches: Vec<u32>,
    /// By connection: when each end of a client's connection last heard of the other.
    pub(super) heard: Vec<[Time; 2]>,
    /// By link: when a fault was last on it.
    pub(super) last_fault: Vec<Time>,
    /// By call: a fault is or was between its client and its gateway.
    pub(super) behind_fault: Vec<bool>,
    /// Faults that have begun.
    pub(super) running: Vec<Running>,
    /// Faults that hit something on which a call was open.
    pub(super) counted: usize,
    /// Whether everything has been mended for good.
    pub(super) healed: bool,
    /// When the verdict on new calls was given.
    pub(super) done_at: Option<Time>,
    /// Probe calls, which must all succeed.
    pub(super) probes: Vec<u32>,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan, watch: Watch) -> Self {
        let options = &plan.options;
        let config = Config {
            call_window: options.call_window,
            call_window_max: options.call_window_max,
            // A tenth of the default: a run has tens of calls, and makes many tunnels.
            max_calls: 1_000,
            heartbeat_interval: options.heartbeat,
            handshake_timeout: options.heartbeat * 2,
            ..Config::default()
        };
        let grown = u64::from(config.call_window.max(config.call_window_max));
        let bounds = Bounds {
            request: u64::from(options.client_window) + REPLAY_MAX as u64 + grown,
            response: PIECE as u64 + grown + u64::from(options.reader_window),
        };
        let mut world = Self {
            now: Time::from_micros(1_000_000),
            plan,
            rng: Rng::with_seed(plan.seed ^ 0x6a09_e667_f3bc_c908),
            ledger: Ledger::new(&plan.calls, bounds, Trace::new(watch)),
            late: watch.wall_clock,
            config,
            queue: BinaryHeap::new(),
            scheduled: 0,
            links: Vec::new(),
            conns: Vec::new(),
            gateways: (0..options.gateways).map(|_| GatewayHost::new()).collect(),
            clients: Vec::new(),
            instances: Vec::new(),
            gateway_ends: Vec::new(),
            instance_ends: Vec::new(),
            sick: Vec::new(),
            breaches: Vec::new(),
            heard: Vec::new(),
            last_fault: Vec::new(),
            behind_fault: Vec::new(),
            running: Vec::new(),
            counted: 0,
            healed: false,
            done_at: None,
            probes: Vec::new(),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let options = &self.plan.options;
        for client in 0..options.clients {
            self.clients
                .push(ClientHost::new(client % options.gateways));
            self.add_links();
        }
        for id in 0..options.instances {
            self.add_instance(id, 1_000_000);
        }
        let begin = self.now + self.warm_up();
        for (call, plan) in self.plan.calls.iter().enumerate() {
            self.at(begin + plan.start, Due::CallStart { call: call as u32 });
        }
        for (fault, plan) in self.plan.faults.iter().enumerate() {
            self.at(begin + plan.start, Due::FaultStart { fault });
        }
        self.at(begin + options.span, Due::Heal);
    }

    /// Time for the first registrations.
    fn warm_up(&self) -> Duration {
        (self.plan.options.latency + self.plan.options.jitter) * 6 + Duration::from_millis(1)
    }

    /// Links from a host that has just been added to every gateway.
    pub(super) fn add_links(&mut self) {
        for _ in 0..self.plan.options.gateways {
            self.links.push(Link::default());
            self.last_fault.push(Time::ZERO);
        }
    }

    /// Puts something on the list of what is due.
    pub(super) fn at(&mut self, at: Time, due: Due) {
        self.scheduled += 1;
        self.queue
            .push(Reverse((at.max(self.now), self.scheduled, due)));
    }

    /// As `at`, after some time.
    pub(super) fn after(&mut self, delay: Duration, due: Due) {
        self.at(self.now + delay, due);
    }

    /// Does what is due next, not after `until`. `false`: nothing is.
    pub(super) fn step(&mut self, until: Time) -> bool {
        match self.queue.peek() {
            Some(Reverse((at, ..))) if *at <= until => {}
            _ => return false,
        }
        let Some(Reverse((at, _, due))) = self.queue.pop() else {
            return false;
        };
        self.now = at;
        match due {
            Due::Arrive { conn, from } => self.arrive(conn, from),
            Due::TunnelTimer { conn, end } => self.tunnel_timer(conn, end),
            Due::CallStart { call } => self.start_call(call),
            Due::ClientWake { call } => self.client_progress(call),
            Due::ClientCancel { call } => self.cancel_call(call),
            Due::HandlerWake { conn, key } => self.handler_wake(conn, key),
            Due::ClientTick { conn } => self.client_tick(conn),
            Due::Dial { instance, gateway } => self.dial(instance, gateway),
            Due::FaultStart { fault } => self.begin_fault(fault),
            Due::FaultStep { running } => self.step_fault(running),
            Due::Heal => self.heal(),
            Due::Probe => self.probe(),
            Due::Verdict => self.verdict(),
        }
        true
    }

    /// The link between a client and a gateway.
    pub(super) fn client_link(&self, client: usize, gateway: usize) -> usize {
        client * self.plan.options.gateways + gateway
    }

    /// The link between an instance and a gateway.
    pub(super) fn instance_link(&self, instance: usize, gateway: usize) -> usize {
        (self.plan.options.clients + instance) * self.plan.options.gateways + gateway
    }

    /// Connects a host to a gateway.
    pub(super) fn connect(&mut self, host: HostId, gateway: usize, link: usize) -> ConnId {
        self.conns.push(Conn::new(host, gateway, link));
        self.gateway_ends.push(None);
        self.instance_ends.push(None);
        self.sick.push(false);
        self.breaches.push(0);
        self.heard.push([self.now; 2]);
        self.ledger
            .world(self.now, Edge::World, What::Dialled, host as u64);
        self.conns.len() - 1
    }

    /// Whether a connection carries a tunnel. Clients come first among the hosts that dial.
    pub(super) fn is_tunnel(&self, conn: ConnId) -> bool {
        self.conns[conn].hosts[0] >= self.plan.options.clients
    }

    /// Room in a pipe, in bytes.
    pub(super) fn room(&self, conn: ConnId, from: usize) -> usize {
        let used = self.conns[conn].pipes[from].bytes();
        self.plan.options.link_bytes.saturating_sub(used)
    }

    /// Puts a piece into a pipe.
    pub(super) fn send(&mut self, conn: ConnId, from: usize, piece: Piece) {
        let options = &self.plan.options;
        let connection = &mut self.conns[conn];
        if !connection.open[from] {
            return;
        }
        let link = &self.links[connection.link];
        let len = piece.len();
        let jitter = self.rng.u64(..=options.jitter.as_micros() as u64);
        let mut delay = options.latency + Duration::from_micros(jitter) + link.slowed;
        if std::mem::take(&mut self.late) {
            delay += machine_delay();
        }
        let pipe = &mut connection.pipes[from];
        let mut from_time = self.now;
        if let Some(rate) = link.rate {
            from_time = from_time.max(pipe.last_due());
            delay += Duration::from_micros(len as u64 * 1_000_000 / rate);
        }
        if let Piece::Bytes(bytes) = &piece {
            self.ledger
                .trace
                .segment(self.now.as_micros(), (conn * 2 + from) as u64, bytes);
        }
        if link.parted[from] > 0 || pipe.broken {
            pipe.broken = true;
            return;
        }
        if matches!(piece, Piece::Rst) {
            // What a reset overtakes is lost.
            pipe.clear();
        }
        let due = pipe.push(from_time + delay, len, piece);
        self.at(due, Due::Arrive { conn, from });
    }

    /// Puts a frame into a client's connection.
    pub(super) fn send_frame(&mut self, conn: ConnId, from: usize, frame: Frame) {
        self.send(conn, from, Piece::Frame(frame));
    }

    /// A piece is due at the other end.
    fn arrive(&mut self, conn: ConnId, from: usize) {
        let connection = &mut self.conns[conn];
        let link = &self.links[connection.link];
        let pipe = &mut connection.pipes[from];
        if !pipe.is_due(self.now) {
            return;
        }
        if link.held[from] > 0 {
            pipe.parked += 1;
            return;
        }
        let Some(piece) = pipe.pop() else {
            return;
        };
        if link.parted[from] > 0 || pipe.broken {
            pipe.broken = true;
            return;
        }
        let to = 1 - from;
        if !self.is_up(conn, to) {
            return;
        }
        if !self.conns[conn].open[to] {
            // Who has said goodbye hears the other one out; else nobody there knows this connection.
            if !self.conns[conn].parting[to] && !matches!(piece, Piece::Fin | Piece::Rst) {
                self.reply_reset(conn, to);
            }
            return;
        }
        match piece {
            Piece::Bytes(bytes) => self.tunnel_bytes(conn, to, bytes),
            Piece::Frame(frame) if to == 1 => self.gateway_frame(conn, frame),
            Piece::Frame(frame) => self.client_frame(conn, frame),
            Piece::Fin | Piece::Rst => self.hang_up(conn, to, "closed by the peer"),
        }
        self.flush_end(conn, from);
    }

    /// Whether the host at an end runs.
    fn is_up(&self, conn: ConnId, end: usize) -> bool {
        let hosts = self.conns[conn].hosts;
        let clients = self.plan.options.clients;
        match (end, hosts[0]) {
            (1, _) => self.gateways[hosts[1]].alive,
            (_, client) if client < clients => self.clients[client].alive,
            (_, host) => self.instances[host - clients].alive,
        }
    }

    /// The operating system answers for a connection that its host does not have any more.
    fn reply_reset(&mut self, conn: ConnId, end: usize) {
        self.conns[conn].open[end] = true;
        self.send(conn, end, Piece::Rst);
        self.conns[conn].open[end] = false;
    }

    /// Bytes for one end of a tunnel, whole or in two pieces.
    fn tunnel_bytes(&mut self, conn: ConnId, to: usize, mut bytes: Bytes) {
        if self.rng.u8(..) < self.plan.options.fragmented && bytes.len() > 1 {
            let cut = self.rng.usize(1..bytes.len());
            let first = bytes.split_to(cut);
            self.tunnel_read(conn, to, first);
        }
        self.tunnel_read(conn, to, bytes);
    }

    fn tunnel_read(&mut self, conn: ConnId, to: usize, bytes: Bytes) {
        if to == 1 {
            self.gateway_bytes(conn, bytes);
        } else {
            self.instance_bytes(conn, bytes);
        }
    }

    fn tunnel_timer(&mut self, conn: ConnId, end: usize) {
        if end == 1 {
            self.gateway_timer(conn);
        } else {
            self.instance_timer(conn);
        }
    }

    /// An end learns that its connection is over.
    pub(super) fn hang_up(&mut self, conn: ConnId, end: usize, why: &str) {
        match (end, self.is_tunnel(conn)) {
            (1, true) => self.gateway_end(conn, why),
            (1, false) => self.gateway_drops_client(conn),
            (_, true) => self.instance_end(conn, why),
            (_, false) => self.client_drops(conn),
        }
    }

    /// What an end sent is through: it may send more.
    fn flush_end(&mut self, conn: ConnId, end: usize) {
        if !self.is_tunnel(conn) {
            return;
        }
        if end == 1 {
            self.gateway_settle(conn);
        } else {
            self.instance_settle(conn);
        }
    }

    /// How late something may be for a call on whose path no fault was: a few times each link's latency.
    pub(super) fn base_slack(&self) -> Slack {
        let options = &self.plan.options;
        (options.latency + options.jitter) * 6 + Duration::from_millis(1)
    }

    /// As `base_slack`, with a fault: its length, and what it takes to notice silence on both links.
    pub(super) fn faulty_slack(&self) -> Slack {
        self.base_slack() + self.plan.options.heartbeat * 16
    }

    /// The slack of what comes to a call's handler.
    pub(super) fn path_slack(&self, call: u32) -> Slack {
        if self.ledger.record(call).is_touched() {
            self.faulty_slack()
        } else {
            self.base_slack()
        }
    }
}
