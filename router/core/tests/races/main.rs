//! Cancels that race with ends, frame by frame.

use bytes::{Buf, Bytes};
use grpcrouter_core::tunnel::{
    CallRequest, Event, GatewayEvent, InstanceEvent, ResponseHead, reset_code,
};
use grpcrouter_core::{CallFault, Config, Gateway, Instance, Key, Received, Time, Tunnel};
use grpcrouter_proto::v1::InstanceInfo;
use http::{HeaderMap, HeaderValue};

/// Calls open at once at most: so few that slots are used again all the time.
const SLOTS: u32 = 4;
const CALLS: usize = 10_000;

/// Both ends, and what is under way between them.
struct Pair {
    gateway: Tunnel<Gateway>,
    instance: Tunnel<Instance>,
    to_instance: Vec<Bytes>,
    to_gateway: Vec<Bytes>,
    /// At the instance, calls that came and were not released.
    handlers: Vec<Key>,
}

impl Pair {
    fn new() -> Self {
        let config = Config {
            max_calls: SLOTS,
            ..Config::default()
        };
        let info = InstanceInfo {
            instance_id: "a".to_owned(),
            ..InstanceInfo::default()
        };
        let mut pair = Self {
            gateway: Tunnel::<Gateway>::new(Time::ZERO, config.clone()),
            instance: Tunnel::<Instance>::new(Time::ZERO, config, info),
            to_instance: Vec::new(),
            to_gateway: Vec::new(),
            handlers: Vec::new(),
        };
        pair.settle();
        pair
    }

    /// Puts under way what each side has to say.
    fn transmit(&mut self) {
        while let Some(mut batch) = self.gateway.poll_transmit(Time::ZERO) {
            self.to_instance
                .push(batch.copy_to_bytes(batch.remaining()));
        }
        while let Some(mut batch) = self.instance.poll_transmit(Time::ZERO) {
            self.to_gateway.push(batch.copy_to_bytes(batch.remaining()));
        }
    }

    fn deliver_to_instance(&mut self) {
        self.transmit();
        for bytes in std::mem::take(&mut self.to_instance) {
            self.instance.handle_bytes(Time::ZERO, bytes);
        }
        while let Some(event) = self.instance.poll_event() {
            match event {
                Event::Role(InstanceEvent::Incoming(key, _)) => self.handlers.push(key),
                Event::Closed(error) => panic!("the tunnel ended: {error}"),
                _ => {}
            }
        }
    }

    fn deliver_to_gateway(&mut self) {
        self.transmit();
        for bytes in std::mem::take(&mut self.to_gateway) {
            self.gateway.handle_bytes(Time::ZERO, bytes);
        }
        while let Some(event) = self.gateway.poll_event() {
            match event {
                Event::Role(GatewayEvent::Registering(_)) => {
                    self.gateway.accept(Time::ZERO, "gw".to_owned(), Vec::new());
                }
                Event::Closed(error) => panic!("the tunnel ended: {error}"),
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            self.deliver_to_instance();
            self.deliver_to_gateway();
        }
    }

    fn open(&mut self, headers: &HeaderMap) -> Key {
        let request = CallRequest {
            method: "/test.Probe/Race",
            authority: "",
            timeout: None,
            content_type: None,
            headers,
        };
        let data = Bytes::from_static(b"\0\0\0\0\x01q");
        let opened = self.gateway.open(Time::ZERO, request, data, true);
        opened.expect("a slot is free")
    }

    /// All that the gateway's reader gets of a call.
    fn outcome(&mut self, key: Key) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            match self.gateway.recv(key, usize::MAX) {
                Received::Start(_) | Received::Data(_) => {}
                Received::End(trailers) => {
                    outcomes.push(Outcome::Ended(trailers.status));
                    return outcomes;
                }
                Received::Failed(fault) => {
                    outcomes.push(Outcome::Failed(fault));
                    return outcomes;
                }
                Received::Pending => return outcomes,
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Ended(u32),
    Failed(CallFault),
}

/// What is done to one call, in an order that a seed decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    ClientCancels,
    HandlerAnswers,
    HandlerEnds,
    ToInstance,
    ToGateway,
}

/// Proves: R14
#[test]
fn however_a_cancel_and_an_end_interleave_there_is_one_outcome_and_no_leak() {
    let mut random = Random(14);
    let mut pair = Pair::new();
    let headers = HeaderMap::new();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let (mut ended, mut cancelled, mut unseen) = (0, 0, 0);
    for call in 0..CALLS {
        let key = pair.open(&headers);
        let mut steps = [
            Step::ClientCancels,
            Step::HandlerAnswers,
            Step::HandlerEnds,
            Step::ToInstance,
            Step::ToInstance,
            Step::ToGateway,
            Step::ToGateway,
        ];
        random.shuffle(&mut steps);
        let mut answered = false;
        let mut outcomes = Vec::new();
        let mut cancels = false;
        for step in steps {
            match step {
                Step::ClientCancels => {
                    outcomes = pair.outcome(key);
                    pair.gateway.reset(key, reset_code::CANCEL);
                    pair.gateway.release(key);
                    cancels = true;
                }
                Step::HandlerAnswers | Step::HandlerEnds => {
                    let Some(&handler) = pair.handlers.first() else {
                        continue;
                    };
                    let head = ResponseHead {
                        content_type: None,
                        headers: &headers,
                    };
                    let head = (!std::mem::replace(&mut answered, true)).then_some(head);
                    let end = (step == Step::HandlerEnds).then_some(&trailers);
                    let data = Bytes::from_static(b"\0\0\0\0\x01a");
                    let sent = pair.instance.respond(handler, head, data, end);
                    sent.expect("it fits");
                    if end.is_some() {
                        pair.handlers.clear();
                        // The handler is done: it goes once its end was sent, or nobody wants it.
                        pair.transmit();
                        assert!(pair.instance.is_flushed(handler), "call {call}: {steps:?}");
                        pair.instance.release(handler);
                    }
                }
                Step::ToInstance => pair.deliver_to_instance(),
                Step::ToGateway => pair.deliver_to_gateway(),
            }
        }
        assert!(cancels);
        match outcomes[..] {
            [Outcome::Ended(0)] => ended += 1,
            [] => cancelled += 1,
            ref other => panic!("call {call}: {steps:?}: {other:?}"),
        }
        pair.settle();
        // A handler that is still there has heard of the cancel.
        for handler in std::mem::take(&mut pair.handlers) {
            let fault = pair.instance.fault(handler).cloned();
            assert!(
                matches!(fault, Some(CallFault::Reset(_))),
                "call {call}: {steps:?}: {fault:?}"
            );
            pair.instance.release(handler);
            unseen += 1;
        }
        pair.settle();
        assert_eq!(pair.gateway.open_calls(), 0, "call {call}: {steps:?}");
        assert_eq!(pair.instance.open_calls(), 0, "call {call}: {steps:?}");
    }
    assert!(
        ended > 100 && cancelled > 100 && unseen > 100,
        "{ended} {cancelled} {unseen}: a race"
    );
    // Every slot can be used again, all at once.
    let keys: Vec<Key> = (0..SLOTS).map(|_| pair.open(&headers)).collect();
    pair.settle();
    assert_eq!(pair.handlers.len(), keys.len());
}

/// A small generator, so that a seed gives one run: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
