//! A tunnel: one `Register` stream with its state, seen from either end.

mod batch;
mod descriptors;
mod faults;
mod gateway;
mod grace;
mod instance;
mod keepalive;
mod lanes;
mod meters;
mod places;
mod receive;
mod role;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use crate::call::{Call, Over, Received, RecvState, SendState};
use crate::config::Config;
use crate::error::{CallFault, TunnelError};
use crate::frame::{Deframer, Reset};
use crate::sabotage::{self, Sabotage};
use crate::table::{Key, Table};
use crate::time::Time;
use crate::window::Growth;

pub use batch::Batch;
pub use gateway::{CallRequest, GatewayEvent};
pub use instance::{InstanceEvent, ResponseHead};
pub use meters::{Meters, RTT_BOUNDS, Rtts};
pub use role::{Gateway, Instance, Role};

use descriptors::Handover;
use faults::Faults;
use grace::Grace;
use keepalive::Keepalive;
use lanes::Lanes;
use places::push;

/// Codes of a reset, those of HTTP/2's RST_STREAM.
pub mod reset_code {
    /// The peer broke the call's rules.
    pub const PROTOCOL_ERROR: u32 = 0x1;
    /// More was sent, or granted, than a window holds.
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    /// Nothing was done for the call.
    pub const REFUSED_STREAM: u32 = 0x7;
    /// Nobody waits for the call any more.
    pub const CANCEL: u32 = 0x8;
    /// A message was too long.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// The state machine of one end of a tunnel. It does no I/O, reads no clock and takes no lock: frames and
/// the time go in, bytes and events come out.
///
/// # To drive it
///
/// Its methods are of four kinds.
///
/// - **Getters** change nothing: [`phase`](Self::phase), [`open_calls`](Self::open_calls),
///   [`rtt`](Self::rtt), [`fault`](Self::fault), [`queued`](Self::queued), [`meters`](Self::meters).
/// - **`handle_*`** say that something happened outside: [`handle_bytes`](Self::handle_bytes) for what the
///   transport read, or [`handle_some`](Self::handle_some) where that is to be taken in by and by, [`handle_timeout`](Self::handle_timeout) when the time of `poll_timeout` has come,
///   [`handle_end`](Self::handle_end) when the transport ended.
/// - **Commands** say what this side wants: `open`, `send` at a gateway, `respond` at an instance, and
///   for both [`recv`](Self::recv), [`reset`](Self::reset), [`release`](Self::release).
/// - **`poll_*`** say what the caller must now do. After any of the above, in this order: take all of
///   [`poll_event`](Self::poll_event) and wake who waits; write what
///   [`poll_transmit`](Self::poll_transmit) gives, as often as the transport has room; set the timer to
///   [`poll_timeout`](Self::poll_timeout).
///
/// A call's [`Key`] is valid from `open` or `Incoming` until `release`, also after the call or the tunnel
/// ended, so that what was received can still be taken. A gateway goes on with `handle_timeout` for as long
/// as `poll_timeout` gives a time: a tunnel that ended still holds to their deadlines those calls whose whole
/// answer had come, and has not been taken yet.
#[derive(Debug)]
pub struct Tunnel<R: Role> {
    config: Config,
    peer: Peer,
    phase: Phase,
    handshake_until: Time,
    calls: Table<Call<R::Start, R::End>>,
    /// The instance's keys by the gateway's ids, which are opaque to it. Empty at a gateway.
    ids: BTreeMap<u64, Key>,
    lanes: Lanes,
    /// Calls to which credit is due.
    grants: VecDeque<Key>,
    deadlines: BTreeSet<(Time, Key)>,
    keepalive: Keepalive,
    meters: Meters,
    faults: Faults,
    grace: Grace,
    events: VecDeque<Event<R>>,
    /// What an instance reported of its services, by name, for the one event that waits. Empty at an
    /// instance.
    health: BTreeMap<String, i32>,
    /// Whether the peer has asked to drain, and answered, so that each is told once.
    drains: [bool; 2],
    /// Descriptors on their way.
    handover: Handover,
    deframer: Deframer,
    /// Encoded fields of the frame under construction.
    fields: BytesMut,
}

/// Where a tunnel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first frames have not been exchanged.
    Handshake,
    /// Calls can be opened.
    Live,
    /// No new calls; the running ones finish.
    Draining,
    /// It ended.
    Closed,
}

/// What the caller is told.
#[derive(Debug)]
pub enum Event<R: Role> {
    /// Something that only one role meets.
    Role(R::Event),
    /// [`Tunnel::recv`] on this call has something to give.
    Readable(Key),
    /// Queued data of this call moved on, or the call ended.
    Writable(Key),
    /// No call is left on a tunnel that takes no new ones.
    Drained,
    /// The tunnel ended, with all its calls. Nothing follows but `Readable` and `Writable` of calls whose
    /// deadline passes before their answer, which had come, was taken.
    Closed(TunnelError),
}

/// What the peer said of itself in the handshake.
#[derive(Debug, Clone, Copy)]
struct Peer {
    call_window: u32,
    max_frame: u32,
    max_calls: u32,
    max_metadata: usize,
    /// The one that both sides speak.
    revision: u32,
}

/// Events that an idle tunnel has at once, at most: it was accepted, and it ended.
const EVENTS: usize = 4;

impl<R: Role> Tunnel<R> {
    fn with_config(now: Time, config: Config) -> Self {
        if let Err(wrong) = config.check() {
            panic!("a tunnel's settings are out of range: {wrong}");
        }
        // Clients may cancel and call again several times within one round trip.
        let grace = (config.max_calls as usize).saturating_mul(4).max(1_024);
        Self {
            peer: Peer {
                call_window: 0,
                max_frame: config.max_frame,
                max_calls: 0,
                max_metadata: 0,
                revision: 0,
            },
            phase: Phase::Handshake,
            handshake_until: now + config.handshake_timeout,
            calls: Table::new(
                config
                    .max_calls
                    .saturating_mul(if R::RESPONDS { 2 } else { 1 }),
            ),
            ids: BTreeMap::new(),
            lanes: Lanes::new(),
            grants: VecDeque::new(),
            deadlines: BTreeSet::new(),
            keepalive: Keepalive::new(now, config.heartbeat_interval, R::YIELDS),
            meters: Meters::since(now),
            faults: Faults::default(),
            grace: Grace::new(grace),
            events: VecDeque::with_capacity(EVENTS),
            health: BTreeMap::new(),
            drains: [false; 2],
            handover: Handover::default(),
            deframer: Deframer::new(config.max_frame as usize),
            fields: BytesMut::new(),
            config,
        }
    }

    /// The tunnel stands, and its interval is known.
    fn begin_beating(&mut self, now: Time) {
        self.keepalive = Keepalive::new(now, self.config.heartbeat_interval, R::YIELDS);
    }

    /// Where the tunnel is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Calls whose keys are valid.
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// The smallest round trip of the last minute's heartbeats.
    pub fn rtt(&self, now: Time) -> Option<Duration> {
        self.keepalive.rtt(now)
    }

    /// Bytes of a call that wait for credit or for their turn.
    pub fn queued(&self, key: Key) -> usize {
        self.calls.get(key).map_or(0, |call| call.send.queue.len())
    }

    /// Bytes of a call that [`Tunnel::recv`] could give now.
    pub fn readable(&self, key: Key) -> usize {
        self.calls.get(key).map_or(0, |call| call.recv.queued())
    }

    /// Whether a call is over: nothing more is sent on it.
    pub fn is_over(&self, key: Key) -> bool {
        self.calls.get(key).is_none_or(|call| !call.over.is_open())
    }

    /// Whether all that was to be sent on a call, its end included, was sent.
    pub fn is_flushed(&self, key: Key) -> bool {
        self.calls
            .get(key)
            .is_none_or(|call| call.send.state == SendState::Ended)
    }

    /// Why a call failed, whether or not [`Tunnel::recv`] gave it out.
    pub fn fault(&self, key: Key) -> Option<&CallFault> {
        self.calls.get(key)?.recv.fault()
    }

    /// Takes what came next on a call, of data at most `max` bytes. What is taken counts as gone to the
    /// next hop: take no more than that hop takes now.
    pub fn recv(&mut self, key: Key, max: usize) -> Received<R::Start, R::End> {
        let Some(call) = self.calls.get_mut(key) else {
            return Received::Pending;
        };
        let received = call.recv.take(max);
        if let Received::Data(data) = &received
            && call.takes_credit()
            && !sabotage::is(Sabotage::CreditOnReceipt)
            && call.recv.window.consume(data.len())
            && !call.recv.grant_due
        {
            call.recv.grant_due = true;
            push(&mut self.grants, key);
        }
        received
    }

    /// Bytes of a call that got credit and left its queue since this was last asked: the room that may
    /// be given back to their sender.
    pub fn take_passed(&mut self, key: Key) -> usize {
        self.calls
            .get_mut(key)
            .map_or(0, |call| std::mem::take(&mut call.send.passed))
    }

    /// Ends a call at once, both ways; nothing is sent or received on it any more.
    pub fn reset(&mut self, key: Key, code: u32) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        if call.over.is_open() {
            let id = call.id;
            // A gateway's call of which nothing was sent is unknown to the instance.
            if R::RESPONDS || call.send.state != SendState::Idle {
                self.write_reset(id, code, false);
            }
            self.finish(key, Over::ByUs);
        }
    }

    /// Gives a call's key back. A call that has not ended is reset.
    pub fn release(&mut self, key: Key) {
        self.reset(key, reset_code::CANCEL);
        if sabotage::is(Sabotage::SlotLeaked) {
            return;
        }
        if let Some(at) = self.calls.get(key).and_then(|call| call.deadline) {
            self.deadlines.remove(&(at, key));
        }
        self.calls.discard(key);
        self.tell_drained();
    }

    /// The next thing that the caller must know.
    pub fn poll_event(&mut self) -> Option<Event<R>> {
        let mut event = self.events.pop_front()?;
        if let Event::Role(event) = &mut event {
            R::complete_event(self, event);
        }
        if let Event::Readable(key) | Event::Writable(key) = event
            && let Some(call) = self.calls.get_mut(key)
        {
            match event {
                Event::Readable(_) => call.readable_told = false,
                _ => call.writable_told = false,
            }
        }
        Some(event)
    }

    /// When [`Tunnel::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let next = match self.phase {
            Phase::Handshake => self.handshake_until,
            Phase::Live | Phase::Draining => self.keepalive.timeout(),
            Phase::Closed => return deadline,
        };
        let others = deadline.into_iter().chain(self.handover.timeout());
        Some(others.fold(next, Time::min))
    }

    /// Time passed: ends what is overdue.
    pub fn handle_timeout(&mut self, now: Time) {
        self.expire_calls(now);
        if self.phase == Phase::Closed {
            return;
        }
        R::give_up_descriptors(self, now);
        if self.phase != Phase::Handshake {
            if let Err(silence) = self.keepalive.on_timeout(now) {
                self.close(TunnelError::Silent(silence.as_millis()));
            }
        } else if now >= self.handshake_until {
            let limit = self.config.handshake_timeout.as_millis();
            self.close(TunnelError::HandshakeTimeout(limit));
        }
    }

    /// The transport ended, or is given up. All calls end with it, once all that came has been taken in.
    pub fn handle_end(&mut self, now: Time, why: &str) {
        self.handle_rest(now, usize::MAX);
        self.close(TunnelError::Transport(why.to_owned()));
    }

    fn set_deadline(&mut self, key: Key, at: Time) {
        self.deadlines.insert((at, key));
        if let Some(call) = self.calls.get_mut(key) {
            call.deadline = Some(at);
        }
    }

    fn expire_calls(&mut self, now: Time) {
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            if sabotage::is(Sabotage::DeadlineIgnored) {
                continue;
            }
            self.expire(key);
        }
    }

    fn expire(&mut self, key: Key) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.deadline = None;
        let (id, open) = (call.id, call.over.is_open());
        self.fail(key, CallFault::Deadline);
        if open {
            R::expire(self, id);
            self.finish(key, Over::ByUs);
        }
    }

    /// Gives the reader this fault for an outcome, unless it has taken one.
    fn fail(&mut self, key: Key, fault: CallFault) {
        if let Some(call) = self.calls.get_mut(key)
            && call.awaits_outcome()
        {
            call.recv.fail(fault);
            self.tell(key);
        }
    }

    /// The two sides have nothing more to say to each other about this call.
    fn finish(&mut self, key: Key, over: Over) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.over = over;
        call.send.stop();
        self.meters.look_at(&mut call.send);
        let (id, credit) = (call.id, call.recv.window.left());
        // A reader that is still there learns that nothing more will come.
        let cut = over == Over::ByUs && call.recv.state != RecvState::Ended;
        if cut {
            let code = reset_code::CANCEL;
            call.recv.fail(CallFault::Reset(Reset {
                code,
                refused: false,
            }));
        }
        if cut {
            self.tell_readable(key);
        }
        self.tell_writable(key);
        if R::RESPONDS {
            self.ids.remove(&id);
        }
        if over == Over::ByUs {
            self.grace.add(id, credit);
        }
    }

    /// Ends the tunnel and every call on it.
    fn close(&mut self, error: TunnelError) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        let keys: Vec<Key> = self.calls.keys().collect();
        for key in keys {
            let Some(call) = self.calls.get(key) else {
                continue;
            };
            if call.over.is_open() {
                let sent = R::RESPONDS || self.lanes.was_taken(call.opened_at);
                self.fail(key, CallFault::Lost { sent });
                self.finish(key, Over::ByPeer);
            }
        }
        // What was not sent never is: its calls may have been sent elsewhere by then.
        if !sabotage::is(Sabotage::SentAfterClose) {
            self.lanes.clear();
        }
        self.grants.clear();
        // An answer that had come whole may still be taken, until its deadline.
        let calls = &self.calls;
        let taken_later = |key| calls.get(key).is_some_and(Call::awaits_outcome);
        self.deadlines
            .retain(|(_, key)| !R::RESPONDS && taken_later(*key));
        self.handover.clear();
        self.deframer.clear();
        R::farewell(self, &error);
        push(&mut self.events, Event::Closed(error));
    }

    /// Wakes both the reader and the writer of a call.
    fn tell(&mut self, key: Key) {
        self.tell_readable(key);
        self.tell_writable(key);
    }

    /// Whether the peer's wish to drain, or its answer to ours, comes for the first time.
    fn is_first_drain(&mut self, answer: bool) -> bool {
        !std::mem::replace(&mut self.drains[usize::from(answer)], true)
    }

    fn tell_drained(&mut self) {
        if self.phase == Phase::Draining && self.calls.is_empty() {
            push(&mut self.events, Event::Drained);
        }
    }

    fn tell_readable(&mut self, key: Key) {
        if let Some(call) = self.calls.get_mut(key)
            && !std::mem::replace(&mut call.readable_told, true)
        {
            push(&mut self.events, Event::Readable(key));
        }
    }

    fn tell_writable(&mut self, key: Key) {
        if let Some(call) = self.calls.get_mut(key)
            && !std::mem::replace(&mut call.writable_told, true)
        {
            push(&mut self.events, Event::Writable(key));
        }
    }

    fn growth(&self, now: Time) -> Growth {
        Growth {
            max: self.config.call_window_max,
            rtt: self.keepalive.rtt(now),
        }
    }
}
