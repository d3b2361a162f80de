//! Both ends of a tunnel, and nothing between them: what one writes the other reads at once. Time stands still.

use bytes::Bytes;
use grpcrouter_core::tunnel::{CallRequest, Event, GatewayEvent, InstanceEvent, ResponseHead};
use grpcrouter_core::{Config, Gateway, Instance, Key, Received, Time, Tunnel};
use grpcrouter_proto::v1;
use http::HeaderMap;

use super::{message, ok_trailers, request_headers};

/// A registered tunnel. Its calls panic where the tunnel does not do what it must: that is a bug, not a result.
pub struct Pair {
    now: Time,
    gateway: Tunnel<Gateway>,
    instance: Tunnel<Instance>,
    headers: HeaderMap,
    nothing: HeaderMap,
    trailers: HeaderMap,
    small: Bytes,
    /// Calls that came in at the instance.
    incoming: Vec<Key>,
}

impl Default for Pair {
    fn default() -> Self {
        let now = Time::from_micros(1_000_000);
        let info = v1::InstanceInfo {
            instance_id: "bench".to_owned(),
            ..v1::InstanceInfo::default()
        };
        let mut pair = Self {
            now,
            gateway: Tunnel::<Gateway>::new(now, Config::default()),
            instance: Tunnel::<Instance>::new(now, Config::default(), info),
            headers: request_headers(),
            nothing: HeaderMap::new(),
            trailers: ok_trailers(),
            small: message(100),
            incoming: Vec::new(),
        };
        pair.settle();
        pair
    }
}

impl Pair {
    /// One unary call of 100 bytes each way.
    pub fn unary(&mut self) {
        self.calls(1);
    }

    /// So many of them at once: each way they leave in one batch, through the first lane.
    pub fn calls(&mut self, at_once: usize) {
        let small = self.small.clone();
        let opened: Vec<Key> = (0..at_once)
            .map(|_| self.open(small.clone(), true))
            .collect();
        self.settle();
        let came = std::mem::take(&mut self.incoming);
        assert_eq!(came.len(), at_once, "calls came in");
        for key in &came {
            assert_eq!(self.take_at_instance(*key), small.len(), "a request");
            self.respond(*key, true, small.clone(), true);
        }
        self.settle();
        for key in opened {
            let (bytes, ended) = self.take_at_gateway(key);
            assert!(ended && bytes == small.len(), "a response of {bytes} bytes");
            self.gateway.release(key);
        }
        for key in came {
            self.instance.release(key);
        }
        self.incoming.clear();
    }

    /// So many calls at once with a response of so many bytes each. They take turns in the second lane and wait
    /// for credit: what is taken at the gateway is granted again.
    pub fn bulk(&mut self, at_once: usize, bytes: usize) {
        let opened: Vec<Key> = (0..at_once)
            .map(|_| self.open(self.small.clone(), true))
            .collect();
        self.settle();
        let came = std::mem::take(&mut self.incoming);
        for key in &came {
            assert_eq!(self.take_at_instance(*key), self.small.len(), "a request");
            self.respond(*key, true, message(bytes), true);
        }
        let mut left: Vec<(Key, usize)> = opened.iter().map(|key| (*key, bytes + 5)).collect();
        while !left.is_empty() {
            self.settle();
            left.retain_mut(|(key, left)| {
                let (taken, ended) = self.take_at_gateway(*key);
                *left -= taken;
                assert!(taken > 0 || ended, "the call goes on");
                assert_eq!(ended, *left == 0, "it ends after its last byte");
                !ended
            });
        }
        for key in opened {
            self.gateway.release(key);
        }
        for key in came {
            self.instance.release(key);
        }
        self.settle();
    }

    fn open(&mut self, data: Bytes, half_close: bool) -> Key {
        let request = CallRequest {
            method: "/bench.v1.Bench/Unary",
            authority: "127.0.0.1:50051",
            timeout: None,
            content_type: None,
            headers: &self.headers,
        };
        let opened = self.gateway.open(self.now, request, data, half_close);
        opened.expect("a live tunnel with room")
    }

    fn respond(&mut self, key: Key, head: bool, data: Bytes, end: bool) {
        let head = head.then_some(ResponseHead {
            content_type: None,
            headers: &self.nothing,
        });
        let trailers = end.then_some(&self.trailers);
        let done = self.instance.respond(key, head, data, trailers);
        done.expect("small metadata fits a frame");
    }

    /// Bytes that could be taken of a request.
    fn take_at_instance(&mut self, key: Key) -> usize {
        let mut bytes = 0;
        loop {
            match self.instance.recv(key, usize::MAX) {
                Received::Data(data) => bytes += data.len(),
                Received::Pending => return bytes,
                Received::Start(_) | Received::End(()) => {}
                Received::Failed(fault) => panic!("{fault}"),
            }
        }
    }

    /// Bytes that could be taken of a response, and whether it ended.
    fn take_at_gateway(&mut self, key: Key) -> (usize, bool) {
        let mut bytes = 0;
        loop {
            match self.gateway.recv(key, usize::MAX) {
                Received::Data(data) => bytes += data.len(),
                Received::End(_) => return (bytes, true),
                Received::Pending => return (bytes, false),
                Received::Start(_) => {}
                Received::Failed(fault) => panic!("{fault}"),
            }
        }
    }

    /// Events and bytes both ways, until there is nothing.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(event) = self.gateway.poll_event() {
                match event {
                    Event::Role(GatewayEvent::Registering(_)) => {
                        self.gateway
                            .accept(self.now, "bench".to_owned(), Vec::new());
                    }
                    Event::Closed(error) => panic!("the gateway's end closed: {error}"),
                    _ => {}
                }
            }
            while let Some(event) = self.instance.poll_event() {
                match event {
                    Event::Role(InstanceEvent::Incoming(key, _)) => self.incoming.push(key),
                    Event::Closed(error) => panic!("the instance's end closed: {error}"),
                    _ => {}
                }
            }
            while let Some(mut batch) = self.gateway.poll_transmit(self.now) {
                while let Some(segment) = batch.pop() {
                    self.instance.handle_bytes(self.now, segment);
                }
                moved = true;
            }
            while let Some(mut batch) = self.instance.poll_transmit(self.now) {
                while let Some(segment) = batch.pop() {
                    self.gateway.handle_bytes(self.now, segment);
                }
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }
}
