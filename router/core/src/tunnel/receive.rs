//! What comes into a tunnel: bytes to frames, frames to calls.

use bytes::Bytes;

use crate::call::{Over, RecvState};
use crate::error::{Breach, CallFault, TunnelError};
use crate::frame::{DecodeError, Frame, Inbound, Limits};
use crate::sabotage::{self, Sabotage};
use crate::table::Key;
use crate::time::Time;

use super::places::push;
use super::{Phase, Role, Tunnel};

impl<R: Role> Tunnel<R> {
    /// The transport read these bytes.
    ///
    /// A peer's fault is not an error of this method: it ends the call, or the tunnel, and events say so.
    pub fn handle_bytes(&mut self, now: Time, bytes: Bytes) {
        self.handle_some(now, bytes, usize::MAX);
    }

    /// As [`handle_bytes`](Self::handle_bytes), but takes in no more once so many events wait: who works for some calls
    /// need not wait until all of them have been told. Whether there is a rest, for which
    /// [`handle_rest`](Self::handle_rest) is to be called before there are other bytes.
    pub fn handle_some(&mut self, now: Time, bytes: Bytes, events: usize) -> bool {
        if self.phase == Phase::Closed {
            return false;
        }
        self.keepalive.heard(now);
        self.meters.received += bytes.len() as u64;
        self.deframer.push(bytes);
        self.handle_rest(now, events)
    }

    /// Goes on where [`handle_some`](Self::handle_some) stopped. Whether there still is a rest.
    pub fn handle_rest(&mut self, now: Time, events: usize) -> bool {
        if let Err(error) = self.read_frames(now, events) {
            self.close(error);
        }
        !self.deframer.is_read()
    }

    fn read_frames(&mut self, now: Time, events: usize) -> Result<(), TunnelError> {
        let limits = Limits {
            metadata_list: self.config.max_metadata,
        };
        while self.phase != Phase::Closed && self.events.len() < events {
            let next = self.deframer.next();
            let Some(body) = next.map_err(|e| TunnelError::Malformed(e.to_string()))? else {
                break;
            };
            match R::decode(body, &limits) {
                Ok(Inbound::Hot(frame)) => self.on_frame(now, frame)?,
                Ok(Inbound::Control(control)) => R::on_control(self, now, control)?,
                // A frame of a later revision: ignored, so that it can be added without a new revision.
                Ok(Inbound::Unknown) => {}
                Err(DecodeError::Malformed(what)) => {
                    return Err(TunnelError::Malformed(what.to_string()));
                }
                Err(DecodeError::Breach { id, breach }) => {
                    self.on_bad_content(now, id, breach.into())?;
                }
            }
            // What we owe in answer is bounded, unless the peer asks and never reads.
            let queued = self.lanes.queued();
            if queued > self.config.tunnel_queue * 2 {
                return Err(TunnelError::NotReading(queued));
            }
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        now: Time,
        mut frame: Frame<R::Start, R::End>,
    ) -> Result<(), TunnelError> {
        if self.phase == Phase::Handshake {
            return Err(TunnelError::Handshake(
                "a call's frame before the registration".into(),
            ));
        }
        let Some(key) = R::find(self, now, &mut frame)? else {
            return Ok(());
        };
        let over = self.calls.get(key).map_or(Over::ByUs, |call| call.over);
        let only_credit = frame.start.is_none()
            && frame.end.is_none()
            && frame.reset.is_none()
            && frame.data.is_empty();
        match over {
            Over::ByUs => return self.ignore_late(now, frame.id, frame.data.len()),
            Over::ByPeer if only_credit => return Ok(()),
            Over::ByPeer => {
                let fault = CallFault::Breach(Breach::AfterEnd);
                self.abort(key, fault);
                return self.faults.breach(now);
            }
            Over::No => {}
        }
        match self.apply(key, frame) {
            Ok(()) => Ok(()),
            Err(CallFault::Reset(_)) if R::RESPONDS && sabotage::is(Sabotage::KeptAfterReset) => {
                Ok(())
            }
            Err(fault @ CallFault::Reset(_)) => {
                self.fail(key, fault);
                self.finish(key, Over::ByPeer);
                Ok(())
            }
            Err(fault) => {
                let breach = matches!(fault, CallFault::Breach(_));
                self.abort(key, fault);
                if breach {
                    self.faults.breach(now)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Takes a frame into its call, in the order in which a frame's parts mean something.
    fn apply(&mut self, key: Key, frame: Frame<R::Start, R::End>) -> Result<(), CallFault> {
        let Some(call) = self.calls.get_mut(key) else {
            return Ok(());
        };
        if let Some(mut reset) = frame.reset {
            // Who has begun to answer was dispatched, whatever it says.
            reset.refused &=
                !R::RESPONDS && frame.start.is_none() && call.recv.state == RecvState::Idle;
            return Err(CallFault::Reset(reset));
        }
        let readable = frame.start.is_some() || !frame.data.is_empty() || frame.end.is_some();
        if let Some(start) = frame.start {
            call.recv.on_start(Some(start)).map_err(CallFault::Breach)?;
        }
        if !frame.data.is_empty() {
            let len = frame.data.len();
            call.recv.on_data(frame.seq, frame.data)?;
            if sabotage::is(Sabotage::CreditOnReceipt) && call.recv.window.consume(len) {
                call.recv.grant_due = true;
                push(&mut self.grants, key);
            }
        }
        let ends = frame.end.is_some();
        if let Some(end) = frame.end {
            if sabotage::is(Sabotage::FailureTruncated)
                && !format!("{end:?}").contains("status: 0,")
            {
                call.recv.drop_waiting();
            }
            if R::RESPONDS || !sabotage::is(Sabotage::EndUntold) {
                call.recv.on_end(end).map_err(CallFault::Breach)?;
            }
        }
        if frame.window > 0 {
            let granted = call.send.window.grant(frame.window);
            granted.map_err(|e| CallFault::Breach(e.into()))?;
            self.enlist(key);
        }
        if readable {
            self.tell_readable(key);
        }
        if ends && !R::RESPONDS {
            self.finish(key, Over::ByPeer);
        }
        Ok(())
    }

    /// A frame decoded but holds what is not allowed: the call that it is for ends, if there is one.
    fn on_bad_content(&mut self, now: Time, id: u64, breach: Breach) -> Result<(), TunnelError> {
        if self.phase == Phase::Handshake {
            return Err(TunnelError::Handshake(
                "a call's frame before the registration".into(),
            ));
        }
        let key = if R::RESPONDS {
            self.ids.get(&id).copied()
        } else {
            self.find_call(now, id, 0)?
        };
        match key {
            Some(key) if self.calls.get(key).is_some_and(|call| call.over.is_open()) => {
                self.abort(key, CallFault::Breach(breach));
            }
            Some(_) => {}
            // An OPEN that cannot be served: its caller must not wait for an answer.
            None if R::RESPONDS => {
                self.write_reset(id, super::reset_code::PROTOCOL_ERROR, false);
                self.grace.add(id, self.config.call_window);
            }
            None => return Ok(()),
        }
        self.faults.breach(now)
    }

    /// The gateway's call with this id; none for one that just ended.
    pub(super) fn find_call(
        &mut self,
        now: Time,
        id: u64,
        data: usize,
    ) -> Result<Option<Key>, TunnelError> {
        use crate::table::Tenancy;
        let key = Key::from_bits(id);
        match self.calls.tenancy(key) {
            Tenancy::Present => Ok(Some(key)),
            Tenancy::Never => Err(TunnelError::UnknownCall(id)),
            Tenancy::Past => self.ignore_late(now, id, data).map(|()| None),
        }
    }

    /// A frame, with this much data, for a call that is over: expected while it may have been under way,
    /// a breach after.
    pub(super) fn ignore_late(
        &mut self,
        now: Time,
        id: u64,
        data: usize,
    ) -> Result<(), TunnelError> {
        if self.grace.bears(id, data) {
            Ok(())
        } else {
            self.faults.breach(now)
        }
    }
}
