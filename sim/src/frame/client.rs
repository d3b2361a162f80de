//! Clients: each makes its calls over one connection, and knows nothing of tunnels.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::Time;

use crate::oracle::{Direction, Outcome, Slack, Stream};
use crate::plan::CallPlan;

use super::link::ConnId;
use super::wire::{Frame, Piece};
use super::world::{Due, FRAME_MAX, World};

/// A process that makes calls.
#[derive(Debug)]
pub(super) struct ClientHost {
    pub(super) alive: bool,
    /// The gateway that it calls.
    pub(super) gateway: usize,
    pub(super) conn: Option<ConnId>,
    pub(super) calls: BTreeMap<u32, Ongoing>,
}

/// A call at its client.
#[derive(Debug)]
pub(super) struct Ongoing {
    plan: Arc<CallPlan>,
    request: Stream,
    response: Stream,
    /// What the gateway takes now, in bytes.
    window: u64,
    end_sent: bool,
    /// Nothing is sent before this.
    send_at: Time,
    /// Nothing is read before this.
    pub(super) read_at: Time,
    /// How long it was made not to read.
    pub(super) stalled: Duration,
    /// What came and was not read.
    waiting: VecDeque<Bytes>,
    trailers: Option<(u32, &'static str)>,
}

/// Messages of a call that waits for the echo of each, at the most: every one takes a round trip.
const IN_STEP_MAX: usize = 24;

/// UNAVAILABLE.
const UNAVAILABLE: u32 = 14;

impl ClientHost {
    pub(super) fn new(gateway: usize) -> Self {
        Self {
            alive: true,
            gateway,
            conn: None,
            calls: BTreeMap::new(),
        }
    }
}

impl World<'_> {
    pub(super) fn start_call(&mut self, call: u32) {
        let plan = self.ledger.plan(call).clone();
        let client = plan.client;
        if !self.clients[client].alive {
            return;
        }
        self.ledger.started(self.now, call);
        let Some(conn) = self.client_conn(client) else {
            self.touch(call);
            let outcome = unavailable("cannot connect");
            return self
                .ledger
                .client_ended(self.now, call, outcome, Slack::ZERO);
        };
        self.touch_if_faulty(call, conn);
        let mut ongoing = Ongoing {
            request: Stream::new(call, Direction::Request, plan.request.clone()),
            response: Stream::new(call, Direction::Response, plan.response.clone()),
            window: u64::from(self.plan.options.client_window),
            end_sent: false,
            send_at: self.now,
            read_at: self.now + plan.reader_stall,
            stalled: plan.reader_stall,
            waiting: VecDeque::new(),
            trailers: None,
            plan,
        };
        if ongoing.plan.reader_stall > Duration::ZERO {
            self.at(ongoing.read_at, Due::ClientWake { call });
        }
        if let Some(after) = ongoing.plan.cancel {
            self.after(after, Due::ClientCancel { call });
        }
        // As gRPC libraries do: the head goes with what of the request is there.
        let bytes = self.next_bytes(call, &mut ongoing);
        let end = ongoing.request.is_done() && ongoing.send_at <= self.now;
        ongoing.end_sent = end;
        let timeout = ongoing.plan.timeout;
        self.clients[client].calls.insert(call, ongoing);
        let open = Frame::Open {
            call,
            timeout,
            bytes,
            end,
        };
        self.send_frame(conn, 0, open);
        self.client_progress(call);
    }

    /// The client's connection, made where there is none.
    fn client_conn(&mut self, client: usize) -> Option<ConnId> {
        if let Some(conn) = self.clients[client].conn {
            return Some(conn);
        }
        let gateways = self.plan.options.gateways;
        for _ in 0..gateways {
            let gateway = self.clients[client].gateway;
            let link = self.client_link(client, gateway);
            let host = &self.gateways[gateway];
            if host.alive && !host.draining && !self.links[link].is_parted() {
                let conn = self.connect(client, gateway, link);
                self.clients[client].conn = Some(conn);
                self.clients_heard(conn, 0);
                self.clients_heard(conn, 1);
                self.after(self.plan.options.heartbeat, Due::ClientTick { conn });
                return Some(conn);
            }
            self.clients[client].gateway = (gateway + 1) % gateways;
        }
        None
    }

    /// Lets a client do in a call what it can do now.
    pub(super) fn client_progress(&mut self, call: u32) {
        let client = self.ledger.plan(call).client;
        let (Some(mut ongoing), Some(conn)) = (
            self.clients[client].calls.remove(&call),
            self.clients[client].conn,
        ) else {
            return;
        };
        self.write_request(conn, call, &mut ongoing);
        if !self.read_response(conn, call, &mut ongoing) {
            self.clients[client].calls.insert(call, ongoing);
        }
    }

    fn write_request(&mut self, conn: ConnId, call: u32, ongoing: &mut Ongoing) {
        while !ongoing.end_sent && ongoing.trailers.is_none() && self.now >= ongoing.send_at {
            if ongoing.request.is_done() {
                ongoing.end_sent = true;
                return self.send_frame(conn, 0, Frame::End { call });
            }
            let bytes = self.next_bytes(call, ongoing);
            if bytes.is_empty() {
                return;
            }
            self.send_frame(conn, 0, Frame::Data { call, bytes });
        }
    }

    /// The next bytes of a request: at most the rest of a message, a frame, and the window.
    fn next_bytes(&mut self, call: u32, ongoing: &mut Ongoing) -> Bytes {
        // Who is echoed waits for each echo: whatever holds back a message then stops the call for good.
        let in_step = ongoing.plan.handler.echoes && ongoing.plan.request.len() <= IN_STEP_MAX;
        if in_step && ongoing.request.messages() > ongoing.response.messages() {
            return Bytes::new();
        }
        let left = ongoing.request.until(1);
        let n = left.min(ongoing.window).min(FRAME_MAX as u64) as usize;
        let mut bytes = vec![0; n];
        ongoing.request.fill(&mut bytes);
        ongoing.window -= n as u64;
        if n > 0 {
            self.ledger.handed(self.now, call, Direction::Request, n);
        }
        if n as u64 == left && n > 0 && !ongoing.plan.gap.is_zero() {
            ongoing.send_at = self.now + ongoing.plan.gap;
            self.at(ongoing.send_at, Due::ClientWake { call });
        }
        Bytes::from(bytes)
    }

    /// Reads what came. `true` when the call is over.
    fn read_response(&mut self, conn: ConnId, call: u32, ongoing: &mut Ongoing) -> bool {
        // A failure is known at once. What a gateway says itself may come instead of what was not read; what a
        // handler says comes behind all that it gave.
        let failed = ongoing.trailers.filter(|(code, _)| *code != 0);
        if let Some((code, reason)) = failed.filter(|(_, reason)| !reason.is_empty()) {
            self.end_call(call, ongoing, code, reason);
            return true;
        }
        if self.now < ongoing.read_at && failed.is_none() {
            return false;
        }
        while let Some(bytes) = ongoing.waiting.pop_front() {
            let slack = self.path_slack(call);
            self.ledger
                .delivered(self.now, call, Direction::Response, &bytes, slack);
            ongoing.response.skip(bytes.len() as u64);
            let bytes = bytes.len() as u32;
            self.send_frame(conn, 0, Frame::Window { call, bytes });
            self.write_request(conn, call, ongoing);
        }
        let Some((code, reason)) = ongoing.trailers else {
            return false;
        };
        self.end_call(call, ongoing, code, reason);
        true
    }

    fn end_call(&mut self, call: u32, ongoing: &Ongoing, code: u32, reason: &str) {
        let outcome = match code {
            0 => Outcome::Ok,
            code => Outcome::Failed {
                code,
                reason: reason.to_owned(),
            },
        };
        // A client that does not read learns of OK late, by its own doing.
        let stalled = if code == 0 {
            ongoing.stalled
        } else {
            Slack::ZERO
        };
        let slack = self.client_slack(call) + stalled;
        self.ledger.client_ended(self.now, call, outcome, slack);
    }

    /// Frames of a gateway.
    pub(super) fn client_frame(&mut self, conn: ConnId, frame: Frame) {
        self.clients_heard(conn, 0);
        let client = self.conns[conn].hosts[0];
        let ongoing = |world: &'_ mut Self, call: u32, change: &mut dyn FnMut(&mut Ongoing)| {
            if let Some(ongoing) = world.clients[client].calls.get_mut(&call) {
                change(ongoing);
                world.client_progress(call);
            }
        };
        match frame {
            Frame::Data { call, bytes } => {
                ongoing(self, call, &mut |o| o.waiting.push_back(bytes.clone()));
            }
            Frame::Window { call, bytes } => {
                ongoing(self, call, &mut |o| o.window += u64::from(bytes));
            }
            Frame::Trailers { call, code, reason } => {
                ongoing(self, call, &mut |o| o.trailers = Some((code, reason)));
            }
            Frame::Head
            | Frame::Ping
            | Frame::Open { .. }
            | Frame::End { .. }
            | Frame::Reset { .. } => {}
        }
    }

    /// A client gives a call up.
    pub(super) fn cancel_call(&mut self, call: u32) {
        let client = self.ledger.plan(call).client;
        if self.clients[client].calls.remove(&call).is_none() {
            return;
        }
        let slack = self.client_slack(call);
        self.ledger
            .client_ended(self.now, call, Outcome::Cancelled, slack);
        if let Some(conn) = self.clients[client].conn {
            self.send_frame(conn, 0, Frame::Reset { call });
        }
    }

    /// A client's connection is over at the client: its calls fail.
    pub(super) fn client_drops(&mut self, conn: ConnId) {
        self.conns[conn].open[0] = false;
        let client = self.conns[conn].hosts[0];
        if self.clients[client].conn != Some(conn) {
            return;
        }
        let touched = self.was_touched_lately(conn);
        let host = &mut self.clients[client];
        host.conn = None;
        host.gateway = (host.gateway + 1) % self.plan.options.gateways;
        for (call, _) in std::mem::take(&mut host.calls) {
            if touched {
                self.touch(call);
            }
            let slack = self.client_slack(call);
            let outcome = unavailable("the connection ended");
            self.ledger.client_ended(self.now, call, outcome, slack);
        }
    }

    /// The process is gone. `quietly`: nobody is told.
    pub(super) fn kill_client(&mut self, client: usize, quietly: bool) {
        let host = &mut self.clients[client];
        host.alive = false;
        let conn = host.conn.take();
        for (call, _) in std::mem::take(&mut host.calls) {
            self.ledger.abandoned(self.now, call);
        }
        if let Some(conn) = conn {
            if !quietly {
                self.send(conn, 0, Piece::Rst);
            }
            self.conns[conn].open[0] = false;
        }
    }

    /// Both ends of a client's connection send a ping, and give a peer up that was silent for two.
    pub(super) fn client_tick(&mut self, conn: ConnId) {
        let limit = self.plan.options.heartbeat * 2;
        for end in [0, 1] {
            if !self.conns[conn].open[end] {
                continue;
            }
            if self.now - self.heard[conn][end] >= limit {
                self.sick[conn] |= self.was_touched_lately(conn);
                self.send(conn, end, Piece::Rst);
                self.hang_up(conn, end, "silent");
            } else {
                self.send_frame(conn, end, Frame::Ping);
            }
        }
        if self.conns[conn].open != [false; 2] {
            self.after(self.plan.options.heartbeat, Due::ClientTick { conn });
        }
    }

    /// An end of a client's connection heard of the other one.
    pub(super) fn clients_heard(&mut self, conn: ConnId, end: usize) {
        self.heard[conn][end] = self.now;
    }
}

fn unavailable(reason: &str) -> Outcome {
    Outcome::Failed {
        code: UNAVAILABLE,
        reason: reason.to_owned(),
    }
}
