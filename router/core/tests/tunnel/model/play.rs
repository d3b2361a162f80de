//! Plays steps on a pair, and judges after each.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::tunnel::{CallRequest, Phase, Role, reset_code};
use grpcrouter_core::{CallFault, OpenError};
use grpcrouter_core::{Key, call::Received};
use http::HeaderMap;

use super::wires::Watch;
use super::{Settings, Step};
use crate::pair::{End, Pair, request, respond};

pub(super) struct World {
    settings: Settings,
    pair: Pair,
    calls: Vec<Call>,
    requests: Watch,
    answers: Watch,
    unregistered: bool,
    /// The instance held as many keys as it may, so that it may have refused a call.
    crowded: bool,
}

/// A call as the model knows it.
#[derive(Debug, Default)]
struct Call {
    number: usize,
    id: u64,
    gateway: Side,
    instance: Side,
    /// Bytes that were given to send, and whether the end was.
    request: Flow,
    answer: Flow,
    head_given: bool,
    refused: bool,
    arrived: bool,
    /// Somebody broke it off, or time may do so.
    may_fail: bool,
}

#[derive(Debug, Default)]
struct Flow {
    given: usize,
    ended: bool,
}

/// What one end's reader has seen.
#[derive(Debug, Default)]
struct Side {
    key: Option<Key>,
    got: usize,
    ends: u32,
    fault: Option<CallFault>,
    /// The reader stopped although there may be more.
    looks: bool,
}

fn pattern(number: usize, answer: bool, from: usize, len: usize) -> Vec<u8> {
    let salt = number * 3 + usize::from(answer) * 7;
    (from..from + len)
        .map(|i| ((i / 256 * 31 + i * 7 + salt) % 256) as u8)
        .collect()
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let mut pair = Pair::with(settings.gateway.clone(), settings.instance.clone());
        pair.latency = settings.latency;
        pair.gateway.link.piece = settings.piece;
        pair.instance.link.piece = settings.piece;
        Self {
            settings,
            pair,
            calls: Vec::new(),
            requests: Watch::default(),
            answers: Watch::default(),
            unregistered: false,
            crowded: false,
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        match *step {
            Step::Open {
                len,
                half_close,
                timeout_ms,
            } => self.open(len, half_close, timeout_ms),
            Step::Send {
                call,
                len,
                half_close,
            } => self.send(call, len, half_close),
            Step::Respond { call, len, end } => self.respond(call, len, end),
            Step::Read { side, call, max } => self.read(side, call, max),
            Step::Reset { side, call } => self.stop(side, call, false),
            Step::Release { side, call } => self.stop(side, call, true),
            Step::Refuse { call } => {
                if let Some((call, key)) = self.pick(call, |call| call.instance.key) {
                    // Only who has not begun to answer may say so.
                    call.refused |= !call.head_given && !call.answer.ended;
                    call.may_fail = true;
                    self.pair.instance.tunnel.refuse_call(key);
                }
            }
            Step::Wait { us } => self.pair.drive_for(Duration::from_micros(us)),
            Step::Room { side, bytes } => {
                let room = bytes.unwrap_or(usize::MAX);
                match side {
                    true => self.pair.gateway.link.room = room,
                    false => self.pair.instance.link.room = room,
                }
            }
            Step::Hold { side: true, held } => self.pair.gateway.link.held = held,
            Step::Hold { side: false, held } => self.pair.instance.link.held = held,
            Step::Drain => self.pair.gateway.tunnel.drain("restart"),
            Step::Unregister => {
                self.unregistered |= self.pair.instance.tunnel.phase() == Phase::Live;
                self.pair.instance.tunnel.unregister("going");
            }
        }
        self.pair.drive_for(Duration::ZERO);
        self.judge();
    }

    fn pick<T>(&mut self, call: usize, is: impl Fn(&Call) -> Option<T>) -> Option<(&mut Call, T)> {
        let at = call % self.calls.len().max(1);
        let call = self.calls.get_mut(at)?;
        let found = is(call)?;
        Some((call, found))
    }

    fn open(&mut self, len: usize, half_close: bool, timeout_ms: Option<u64>) {
        let number = self.calls.len();
        let headers = HeaderMap::new();
        let timeout = timeout_ms.map(Duration::from_millis);
        let method = format!("/call/{number}");
        let request = CallRequest {
            method: &method,
            ..request(timeout, &headers)
        };
        let data = Bytes::from(pattern(number, false, 0, len));
        let tunnel = &mut self.pair.gateway.tunnel;
        match tunnel.open(self.pair.time, request, data, half_close) {
            Ok(key) => {
                let mut call = Call {
                    number,
                    id: key.to_bits(),
                    may_fail: timeout.is_some(),
                    ..Call::default()
                };
                call.gateway.begin(key);
                call.request.given = len;
                call.request.ended = half_close;
                assert!(
                    self.calls.iter().all(|other| other.id != call.id),
                    "an id came twice"
                );
                self.calls.push(call);
            }
            Err(OpenError::NotLive) => assert_ne!(tunnel.phase(), Phase::Live),
            Err(OpenError::TooManyCalls(most)) => {
                let own = self
                    .calls
                    .iter()
                    .filter(|call| call.gateway.key.is_some())
                    .count();
                assert!(own >= most as usize, "{own} calls of {most}");
            }
            Err(OpenError::QueueFull(_)) => assert_eq!(self.pair.gateway.link.room, 0),
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, call: usize, len: usize, half_close: bool) {
        let Some((call, key)) = self.pick(call, |call| call.gateway.key) else {
            return;
        };
        if call.request.ended {
            return;
        }
        let data = pattern(call.number, false, call.request.given, len);
        call.request.given += len;
        call.request.ended = half_close;
        self.pair.send(key, data, half_close);
    }

    fn respond(&mut self, call: usize, len: usize, end: bool) {
        let Some((call, key)) = self.pick(call, |call| call.instance.key) else {
            return;
        };
        if call.answer.ended {
            return;
        }
        let trailers_only = len == 0 && end;
        let head = !(call.head_given || trailers_only);
        let data = pattern(call.number, true, call.answer.given, len);
        call.answer.given += len;
        call.answer.ended = end;
        call.head_given |= head;
        respond(
            &mut self.pair.instance.tunnel,
            key,
            head,
            Bytes::from(data),
            end,
        );
    }

    /// Resets a call, or gives its key back.
    fn stop(&mut self, at_gateway: bool, call: usize, release: bool) {
        let key = |call: &Call| {
            if at_gateway {
                call.gateway.key
            } else {
                call.instance.key
            }
        };
        let Some((call, key)) = self.pick(call, key) else {
            return;
        };
        call.may_fail = true;
        match (at_gateway, release) {
            (true, false) => self.pair.gateway.tunnel.reset(key, reset_code::CANCEL),
            (false, false) => self.pair.instance.tunnel.reset(key, 2),
            (true, true) => {
                call.gateway.key = None;
                self.pair.gateway.tunnel.release(key);
            }
            (false, true) => {
                call.instance.key = None;
                self.pair.instance.tunnel.release(key);
            }
        }
    }

    fn read(&mut self, at_gateway: bool, call: usize, max: usize) {
        let at = call % self.calls.len().max(1);
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        let number = call.number;
        if at_gateway {
            call.gateway.read(
                &mut self.pair.gateway,
                |from, len| pattern(number, true, from, len),
                max,
            );
        } else {
            call.instance.read(
                &mut self.pair.instance,
                |from, len| pattern(number, false, from, len),
                max,
            );
        }
    }

    /// What must be true at every moment.
    fn judge(&mut self) {
        while let Some((key, open)) = self.pair.instance.incoming() {
            let number = open.method.strip_prefix("/call/").map(str::parse::<usize>);
            let number = number.expect("our method").expect("our number");
            let call = &mut self.calls[number];
            assert!(!call.arrived, "a call came in twice");
            call.arrived = true;
            call.instance.begin(key);
        }
        let held = self
            .calls
            .iter()
            .filter(|call| call.instance.key.is_some())
            .count();
        self.crowded |= held >= 2 * self.settings.instance.max_calls as usize;
        self.requests.follow(&self.pair.gateway.link.wires, false);
        self.answers.follow(&self.pair.instance.link.wires, true);
        let Settings {
            gateway, instance, ..
        } = &self.settings;
        for call in &self.calls {
            let under_way = self.requests.call(call.id).data - call.instance.got;
            let most = instance.call_window_max as usize;
            assert!(
                under_way <= most,
                "{under_way} under way of a window of {most}: {call:?}"
            );
            let under_way = self.answers.call(call.id).data - call.gateway.got;
            let most = gateway.call_window_max as usize;
            assert!(
                under_way <= most,
                "{under_way} under way of a window of {most}: {call:?}"
            );
            self.judge_outcome(call);
        }
    }

    fn judge_outcome(&self, call: &Call) {
        let lost = self.pair.gateway.closed.is_some() || self.pair.instance.closed.is_some();
        assert!(call.gateway.got <= call.answer.given && call.instance.got <= call.request.given);
        if call.gateway.ends == 1 && call.gateway.fault.is_none() && !call.may_fail {
            assert_eq!(
                call.gateway.got, call.answer.given,
                "an end after all data: {call:?}"
            );
            assert!(call.answer.ended, "{call:?}");
        }
        if call.instance.ends == 1 && call.instance.fault.is_none() {
            assert_eq!(
                call.instance.got, call.request.given,
                "an end after all data: {call:?}"
            );
            assert!(call.request.ended, "{call:?}");
        }
        assert!(call.gateway.ends <= 1, "{call:?}");
        if let Some(fault) = &call.gateway.fault {
            let refused = fault.never_dispatched();
            let expected = call.may_fail || lost || (refused && self.crowded);
            assert!(expected, "nobody broke it off: {call:?}");
            if refused {
                let sent = self.requests.call(call.id).started;
                assert!(
                    !sent || call.refused || self.crowded,
                    "it may be served: {call:?}"
                );
                assert!(!call.arrived || call.refused, "it is served: {call:?}");
            }
        }
        if call.instance.fault.is_some() {
            assert!(
                call.may_fail || lost || call.answer.ended,
                "nobody broke it off: {call:?}"
            );
        }
    }

    /// Heals the network, lets everything end and looks for what is left.
    pub(super) fn finish(mut self) {
        let pair = &mut self.pair;
        for link in [&mut pair.gateway.link, &mut pair.instance.link] {
            link.held = false;
            link.room = usize::MAX;
        }
        pair.drive();
        self.judge();
        self.read_what_is_told();
        for call in 0..self.calls.len() {
            self.respond(call, 10, true);
        }
        self.read_what_is_told();
        // Who lost its peer hears of it by its transport.
        if self.pair.gateway.closed.is_some() || self.pair.instance.closed.is_some() {
            self.pair
                .gateway
                .tunnel
                .handle_end(self.pair.time, "the peer went");
            self.pair
                .instance
                .tunnel
                .handle_end(self.pair.time, "the peer went");
            self.read_what_is_told();
        }
        for call in &self.calls {
            let gateway = &call.gateway;
            assert!(
                gateway.key.is_none() || gateway.ends == 1,
                "no outcome: {call:?}"
            );
            let instance = &call.instance;
            assert!(
                instance.key.is_none() || instance.ends >= 1,
                "no outcome: {call:?}"
            );
        }
        self.leaves_nothing();
    }

    /// Reads, but only where an event said so: an event that is missing shows as a call that hangs.
    fn read_what_is_told(&mut self) {
        loop {
            self.pair.drive();
            self.judge();
            let mut moved = false;
            for at in 0..self.calls.len() {
                if self.calls[at].gateway.is_told(&self.pair.gateway) {
                    self.read(true, at, usize::MAX);
                    moved = true;
                }
                if self.calls[at].instance.is_told(&self.pair.instance) {
                    self.read(false, at, usize::MAX);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn leaves_nothing(mut self) {
        for call in &mut self.calls {
            if let Some(key) = call.gateway.key.take() {
                self.pair.gateway.tunnel.release(key);
            }
            if let Some(key) = call.instance.key.take() {
                self.pair.instance.tunnel.release(key);
            }
        }
        self.pair.drive();
        self.judge();
        let drains = self.pair.instance.drains();
        assert!(
            !self.unregistered || drains.contains(&true) || self.pair.instance.closed.is_some(),
            "an unregister is answered: {drains:?}"
        );
        is_empty(&self.pair.gateway);
        is_empty(&self.pair.instance);
    }
}

impl Side {
    fn begin(&mut self, key: Key) {
        self.key = Some(key);
        self.looks = true;
    }

    fn is_told<R: Role>(&self, end: &End<R>) -> bool {
        self.key
            .is_some_and(|key| self.looks || end.readable.contains(&key))
    }

    fn read<R: Role>(
        &mut self,
        end: &mut End<R>,
        pattern: impl Fn(usize, usize) -> Vec<u8>,
        max: usize,
    ) {
        let Some(key) = self.key else {
            return;
        };
        end.readable.remove(&key);
        let mut left = max;
        self.looks = true;
        while left > 0 {
            match end.tunnel.recv(key, left) {
                Received::Start(_) => {
                    assert_eq!((self.got, self.ends), (0, 0), "the head is first");
                }
                Received::Data(data) => {
                    assert_eq!(self.ends, 0, "data after the end");
                    assert!(data.len() <= left && !data.is_empty());
                    assert!(
                        data == pattern(self.got, data.len()),
                        "other bytes at {}",
                        self.got
                    );
                    self.got += data.len();
                    left -= data.len();
                }
                Received::End(_) => {
                    assert_eq!(self.ends, 0, "a second end");
                    self.ends += 1;
                }
                Received::Failed(fault) => {
                    assert!(self.fault.is_none(), "{fault:?} after {:?}", self.fault);
                    // An instance is told that a call failed also after the request's end.
                    assert!(self.ends == 0 || R::RESPONDS, "{fault:?} after the end");
                    self.ends += 1;
                    self.fault = Some(fault);
                }
                Received::Pending => {
                    self.looks = false;
                    return;
                }
            }
        }
    }
}

/// No calls, nothing to send, no timer but the heartbeat's.
fn is_empty<R: Role + Debug>(end: &End<R>) {
    assert_eq!(end.tunnel.open_calls(), 0);
    assert!(!end.tunnel.has_transmit(), "something is left to send");
    let state = format!("{:?}", end.tunnel);
    for empty in [
        "ids: {}",
        "grants: []",
        "deadlines: {}",
        "second: []",
        "events: []",
        "len: 0",
    ] {
        assert!(state.contains(empty), "{empty} was to be seen in {state}");
    }
}
