//! One call at a gateway: from its client's connection to a tunnel, and back, as the product does it.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::registry::{Choice, Key as RegistryKey, Load, Wanted};
use grpcrouter_core::tunnel::{CallRequest, reset_code};
use grpcrouter_core::{CallFault, Key, OpenError, Received, Time};
use http::{HeaderMap, HeaderValue};

use crate::oracle::{Edge, What};

use super::handler::CALL;
use super::instance::{SERVICE, name};
use super::link::ConnId;
use super::wire::Frame;
use super::world::{FRAME_MAX, REPLAY_MAX, World};

/// A call that a gateway carries.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) client: ConnId,
    /// The instance that it is for.
    pinned: Option<String>,
    deadline: Option<Time>,
    /// Where it is open.
    pub(super) at: Option<(ConnId, Key)>,
    /// All of the request so far, while it may be sent again.
    replay: Option<Vec<u8>>,
    received: usize,
    /// What of it the client was told has moved on.
    released: usize,
    ended: bool,
    /// Who did not take it.
    tried: Option<RegistryKey>,
    head_sent: bool,
    /// What the client takes now, in bytes.
    credit: u32,
    /// The call as load of its instance.
    load: Option<Load>,
}

impl World<'_> {
    /// A call came in.
    pub(super) fn relay(
        &mut self,
        client: ConnId,
        call: u32,
        timeout: Option<Duration>,
        bytes: &Bytes,
        end: bool,
    ) {
        let gateway = self.conns[client].hosts[1];
        let pinned = self.ledger.plan(call).pinned;
        let relay = Relay {
            client,
            pinned: pinned.map(name),
            deadline: timeout.map(|timeout| self.now + timeout),
            at: None,
            replay: Some(Vec::new()),
            received: 0,
            released: 0,
            ended: end,
            tried: None,
            head_sent: false,
            credit: self.plan.options.reader_window,
            load: None,
        };
        self.gateways[gateway].calls.insert(call, relay);
        self.keep(gateway, call, bytes);
        if self.gateways[gateway].draining {
            self.touch(call);
            return self.finish_relay(gateway, call, 14, "draining");
        }
        self.open(gateway, call, bytes);
    }

    /// Notes what came of a request, for as long as it is short enough to be sent again.
    fn keep(&mut self, gateway: usize, call: u32, bytes: &[u8]) {
        let Some(relay) = self.gateways[gateway].calls.get_mut(&call) else {
            return;
        };
        relay.received += bytes.len();
        match &mut relay.replay {
            Some(replay) if replay.len() + bytes.len() <= REPLAY_MAX => {
                replay.extend_from_slice(bytes);
            }
            replay => *replay = None,
        }
    }

    /// Picks an instance and opens the call there; once more elsewhere where that fails.
    fn open(&mut self, gateway: usize, call: u32, bytes: &Bytes) {
        loop {
            let host = &mut self.gateways[gateway];
            let Some(relay) = host.calls.get_mut(&call) else {
                return;
            };
            let wanted = Wanted {
                service: SERVICE,
                choice: match &relay.pinned {
                    Some(id) => Choice::Instance(id),
                    None => Choice::Turn,
                },
                excluded: relay.tried,
            };
            let Ok(picked) = host.registry.pick(wanted) else {
                if self.is_nobody_settled(gateway, call) {
                    self.touch(call);
                }
                return self.finish_relay(gateway, call, 14, "no-instance");
            };
            relay.load = Some(picked.load);
            let conn = picked.tunnel;
            self.touch_if_faulty(call, conn);
            match self.open_at(gateway, call, conn, bytes) {
                Ok(()) => {
                    self.ledger
                        .note(self.now, Edge::Gateway, What::Opened, call, conn as u64);
                    self.pass_on(call);
                    return self.gateway_settle(conn);
                }
                Err(error) => {
                    self.unload(gateway, call);
                    let host = &mut self.gateways[gateway];
                    let Some(relay) = host.calls.get_mut(&call) else {
                        return;
                    };
                    if error.is_of_tunnel() && relay.tried.is_none() {
                        relay.tried = Some(picked.key);
                        continue;
                    }
                    // The reasons that the library's gateway gives.
                    let (code, reason) = match error {
                        OpenError::NotLive => (14, "no-instance"),
                        OpenError::QueueFull(_) => (14, "limit"),
                        OpenError::Expired => (4, "deadline"),
                        OpenError::TooManyCalls(_) | OpenError::MetadataTooLarge { .. } => {
                            (8, "limit")
                        }
                    };
                    return self.finish_relay(gateway, call, code, reason);
                }
            }
        }
    }

    fn open_at(
        &mut self,
        gateway: usize,
        call: u32,
        conn: ConnId,
        bytes: &Bytes,
    ) -> Result<(), OpenError> {
        let now = self.now;
        let (Some(relay), Some(end)) = (
            self.gateways[gateway].calls.get_mut(&call),
            &mut self.gateway_ends[conn],
        ) else {
            return Err(OpenError::NotLive);
        };
        let mut headers = HeaderMap::new();
        headers.insert(CALL, HeaderValue::from(call));
        let request = CallRequest {
            method: "/sim.Probe/Run",
            authority: "sim",
            timeout: relay.deadline.map(|at| at - now),
            content_type: None,
            headers: &headers,
        };
        let key = end.tunnel.open(now, request, bytes.clone(), relay.ended)?;
        relay.at = Some((conn, key));
        end.calls.insert(key, call);
        Ok(())
    }

    /// Bytes of a request.
    pub(super) fn relay_data(&mut self, call: u32, bytes: Bytes) {
        let Some((gateway, conn, key)) = self.place(call) else {
            return;
        };
        self.keep(gateway, call, &bytes);
        if let Some(end) = &mut self.gateway_ends[conn] {
            end.tunnel.send(key, bytes, false);
        }
        self.pass_on(call);
        self.gateway_settle(conn);
    }

    /// The end of a request.
    pub(super) fn relay_end(&mut self, call: u32) {
        let Some((gateway, conn, key)) = self.place(call) else {
            return;
        };
        if let Some(relay) = self.gateways[gateway].calls.get_mut(&call) {
            relay.ended = true;
        }
        if let Some(end) = &mut self.gateway_ends[conn] {
            end.tunnel.send(key, Bytes::new(), true);
        }
        self.gateway_settle(conn);
    }

    /// Nobody waits for the call any more.
    pub(super) fn relay_reset(&mut self, call: u32) {
        let Some(gateway) = self.gateway_of(call) else {
            return;
        };
        self.unload(gateway, call);
        let relay = self.gateways[gateway].calls.remove(&call);
        if let Some((conn, key)) = relay.and_then(|relay| relay.at) {
            self.release(conn, key);
            self.gateway_settle(conn);
        }
    }

    /// The client takes so many bytes more.
    pub(super) fn relay_window(&mut self, call: u32, bytes: u32) {
        let Some((gateway, conn, _)) = self.place(call) else {
            return;
        };
        if let Some(relay) = self.gateways[gateway].calls.get_mut(&call) {
            relay.credit += bytes;
        }
        self.pump_response(call);
        self.gateway_settle(conn);
    }

    /// What moved on in the tunnel makes room for the client.
    pub(super) fn pass_on(&mut self, call: u32) {
        let Some((gateway, conn, key)) = self.place(call) else {
            return;
        };
        let Some(relay) = self.gateways[gateway].calls.get_mut(&call) else {
            return;
        };
        let Some(end) = &mut self.gateway_ends[conn] else {
            return;
        };
        // A second try passes bytes again that the client was already told of.
        let passed = end.tunnel.take_passed(key);
        let passed = passed.min(relay.received.saturating_sub(relay.released));
        if passed > 0 {
            relay.released += passed;
            let (client, bytes) = (relay.client, passed as u32);
            self.send_frame(client, 1, Frame::Window { call, bytes });
        }
    }

    /// Moves what came from the instance to the client, as far as that takes it.
    pub(super) fn pump_response(&mut self, call: u32) {
        while let Some((gateway, conn, key)) = self.place(call) {
            let (Some(relay), Some(end)) = (
                self.gateways[gateway].calls.get_mut(&call),
                &mut self.gateway_ends[conn],
            ) else {
                return;
            };
            let client = relay.client;
            let max = FRAME_MAX.min(relay.credit as usize);
            match end.tunnel.recv(key, max) {
                Received::Pending => return,
                Received::Start(_) => {
                    relay.head_sent = true;
                    relay.replay = None;
                    self.send_frame(client, 1, Frame::Head);
                }
                Received::Data(bytes) => {
                    relay.credit = relay.credit.saturating_sub(bytes.len() as u32);
                    self.send_frame(client, 1, Frame::Data { call, bytes });
                }
                Received::End(trailers) => {
                    self.release(conn, key);
                    self.finish_relay(gateway, call, trailers.status, "");
                }
                Received::Failed(fault) => self.on_fault(gateway, call, conn, key, &fault),
            }
        }
    }

    /// A call failed at its instance: it goes elsewhere where no handler can have seen it.
    fn on_fault(&mut self, gateway: usize, call: u32, conn: ConnId, key: Key, fault: &CallFault) {
        let registered = self.gateway_ends[conn].as_ref().and_then(|e| e.registered);
        self.release(conn, key);
        self.unload(gateway, call);
        let Some(relay) = self.gateways[gateway].calls.get_mut(&call) else {
            return;
        };
        relay.at = None;
        let again = fault.never_dispatched() && relay.tried.is_none() && !relay.head_sent;
        if let (true, Some(replay)) = (again, relay.replay.clone()) {
            relay.tried = registered;
            self.ledger
                .note(self.now, Edge::Gateway, What::Retried, call, conn as u64);
            return self.open(gateway, call, &Bytes::from(replay));
        }
        let (code, reason) = match fault {
            CallFault::Deadline => (4, "deadline"),
            CallFault::Lost { .. } => (14, "instance-lost"),
            CallFault::Breach(_) => (13, "protocol-error"),
            CallFault::TooLarge(_) => (8, "limit"),
            CallFault::Reset(reset) if reset.code == reset_code::CANCEL => (1, "reset"),
            CallFault::Reset(_) => (13, "reset"),
        };
        self.finish_relay(gateway, call, code, reason);
    }

    /// Gives a call's key back to its tunnel.
    fn release(&mut self, conn: ConnId, key: Key) {
        if let Some(end) = &mut self.gateway_ends[conn] {
            end.tunnel.release(key);
            end.calls.remove(&key);
            self.drop_if_done(conn);
        }
    }

    /// The call is no load of an instance any more.
    fn unload(&mut self, gateway: usize, call: u32) {
        let host = &mut self.gateways[gateway];
        let relay = host.calls.get_mut(&call);
        if let Some(load) = relay.and_then(|relay| relay.load.take()) {
            host.registry.release(load);
        }
    }

    /// The call's answer.
    fn finish_relay(&mut self, gateway: usize, call: u32, code: u32, reason: &'static str) {
        self.unload(gateway, call);
        if let Some(relay) = self.gateways[gateway].calls.remove(&call) {
            let trailers = Frame::Trailers { call, code, reason };
            self.send_frame(relay.client, 1, trailers);
        }
    }

    /// The gateway that carries a call.
    pub(super) fn gateway_of(&self, call: u32) -> Option<usize> {
        let has = |host: &super::gateway::GatewayHost| host.calls.contains_key(&call);
        self.gateways.iter().position(has)
    }

    /// The gateway that carries a call, and where it is open.
    pub(super) fn place(&self, call: u32) -> Option<(usize, ConnId, Key)> {
        let gateway = self.gateway_of(call)?;
        let (conn, key) = self.gateways[gateway].calls[&call].at?;
        Some((gateway, conn, key))
    }
}
