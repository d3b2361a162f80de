//! The calls of an instance: what the gateway says of each, checked against the rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grpcrouter_proto::v1::RpcCall;

use crate::tunnel::flow::Flow;
use crate::tunnel::{flags, reset};

/// Ids of calls that have ended, kept to tell late frames from wrong ones.
const RECENT: usize = 65_536;

/// A request as it comes.
pub(super) type RequestFlow = Flow<Bytes, RequestEnd>;

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestEnd {
    /// In good order.
    HalfClosed,
    /// The gateway has sent RESET with this code.
    Reset(u32),
    /// The gateway has broken a rule: the answer is RESET with this code.
    Breach(u32),
    /// The tunnel is lost.
    Lost,
}

/// The calls that run.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: BTreeMap<u64, Running>,
    recent: BTreeSet<u64>,
    order: VecDeque<u64>,
}

#[derive(Debug)]
struct Running {
    flow: Arc<RequestFlow>,
    seq: u32,
    half_closed: bool,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// A frame of an id that no call has asks to open one.
    pub(super) fn is_new(&self, call: &RpcCall) -> bool {
        call.flags & flags::OPEN != 0 && !self.running.contains_key(&call.request_id)
    }

    pub(super) fn open(&mut self, id: u64, flow: Arc<RequestFlow>) {
        let running = Running {
            flow,
            seq: 0,
            half_closed: false,
        };
        self.running.insert(id, running);
    }

    /// A call has ended.
    pub(super) fn close(&mut self, id: u64) {
        if self.running.remove(&id).is_some() {
            self.ended(id);
        }
    }

    /// What still comes for this id is late.
    pub(super) fn ended(&mut self, id: u64) {
        if self.order.len() == RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        self.order.push_back(id);
        self.recent.insert(id);
    }

    /// The tunnel is lost, and every call with it.
    pub(super) fn lose(&self) {
        for running in self.running.values() {
            running.flow.silence();
            running.flow.cut(RequestEnd::Lost);
        }
    }

    /// A frame of a call that is open or over; `opened` where it has just opened it. What is wrong with it, if
    /// anything is.
    pub(super) fn frame(&mut self, call: RpcCall, opened: bool) -> Result<(), Wrong> {
        let Some(running) = self.running.get_mut(&call.request_id) else {
            // Late, or of no call that there ever was: a breach.
            return match self.recent.contains(&call.request_id) {
                true => Ok(()),
                false => Err(Wrong::Call("a frame of a call that was never opened")),
            };
        };
        if call.flags & flags::OPEN != 0 && !opened {
            return Err(Wrong::Tunnel("OPEN for an id that is in use"));
        }
        let flow = &running.flow;
        if call.flags & flags::RESET != 0 {
            flow.silence();
            flow.cut(RequestEnd::Reset(call.reset_code));
            return Ok(());
        }
        if let Err((code, what)) = running.take(call) {
            running.flow.cut(RequestEnd::Breach(code));
            return Err(Wrong::Call(what));
        }
        Ok(())
    }
}

/// What a gateway did wrong.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Costs the call.
    Call(&'static str),
    /// Costs the tunnel.
    Tunnel(&'static str),
}

impl Running {
    fn take(&mut self, call: RpcCall) -> Result<(), (u32, &'static str)> {
        if call.flags & flags::REFUSED != 0 {
            return Err((reset::PROTOCOL_ERROR, "REFUSED by a gateway"));
        }
        if call.window > 0 {
            self.flow.grant(call.window);
        }
        if !call.data.is_empty() {
            if self.half_closed {
                return Err((reset::PROTOCOL_ERROR, "data after HALF_CLOSE"));
            }
            if call.seq != self.seq {
                return Err((reset::PROTOCOL_ERROR, "a gap or a repeat in seq"));
            }
            self.seq = self.seq.wrapping_add(1);
            if !self.flow.spend(call.data.len()) {
                return Err((reset::FLOW_CONTROL_ERROR, "data without credit"));
            }
            self.flow.push(call.data);
        }
        if call.flags & flags::HALF_CLOSE != 0 {
            if self.half_closed {
                return Err((reset::PROTOCOL_ERROR, "HALF_CLOSE twice"));
            }
            self.half_closed = true;
            self.flow.end(RequestEnd::HalfClosed);
        }
        Ok(())
    }
}
