//! One end of the pair: a tunnel, what it told, and its link to the peer.

use std::collections::BTreeSet;
use std::time::Duration;

use grpcrouter_core::tunnel::{Event, Role, Tunnel};
use grpcrouter_core::{CallFault, Time, TunnelError};
use grpcrouter_core::{Key, call::Received};

use super::link::Link;
use super::wire::Peek;

pub(crate) struct End<R: Role> {
    pub(crate) tunnel: Tunnel<R>,
    /// What this end sends.
    pub(crate) link: Link,
    /// The role's own events, oldest first.
    pub(crate) roles: Vec<R::Event>,
    /// Calls that were told to be readable, or writable, and not looked at since.
    pub(crate) readable: BTreeSet<Key>,
    pub(crate) writable: BTreeSet<Key>,
    /// Why the tunnel ended, when it told.
    pub(crate) closed: Option<TunnelError>,
    /// No call is left on a tunnel that takes no new ones.
    pub(crate) drained: bool,
}

/// All that one end has received of a call.
#[derive(Debug)]
pub(crate) struct Outcome<S, E> {
    pub(crate) start: Option<S>,
    pub(crate) data: Vec<u8>,
    pub(crate) end: Option<Result<E, CallFault>>,
}

impl<S, E> Outcome<S, E> {
    /// The fault, where the call failed.
    pub(crate) fn fault(&self) -> Option<&CallFault> {
        self.end.as_ref()?.as_ref().err()
    }

    /// Whether the peer's end came.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.end, Some(Ok(_)))
    }
}

impl<R: Role + Peek + std::fmt::Debug> End<R> {
    pub(crate) fn new(tunnel: Tunnel<R>) -> Self {
        Self {
            tunnel,
            link: Link::default(),
            roles: Vec::new(),
            readable: BTreeSet::new(),
            writable: BTreeSet::new(),
            closed: None,
            drained: false,
        }
    }

    /// Timers that are due, and events. Whether anything happened.
    pub(crate) fn step(&mut self, now: Time) -> bool {
        let mut moved = false;
        while self.tunnel.poll_timeout().is_some_and(|at| at <= now) {
            self.tunnel.handle_timeout(now);
            moved = true;
        }
        while let Some(event) = self.tunnel.poll_event() {
            let of_call = matches!(event, Event::Readable(_) | Event::Writable(_));
            assert!(
                self.closed.is_none() || of_call,
                "{event:?} after the tunnel ended"
            );
            moved = true;
            match event {
                Event::Role(event) => self.roles.push(event),
                Event::Readable(key) => drop(self.readable.insert(key)),
                Event::Writable(key) => drop(self.writable.insert(key)),
                Event::Drained => self.drained = true,
                Event::Closed(error) => self.closed = Some(error),
            }
        }
        moved
    }

    /// Gives the transport what it has room for. Whether it took anything.
    pub(crate) fn transmit(&mut self, now: Time, latency: Duration) -> bool {
        let mut moved = false;
        while self.link.room > 0 && self.tunnel.has_transmit() {
            let Some(batch) = self.tunnel.poll_transmit(now) else {
                break;
            };
            self.link.take::<R>(now, now + latency, batch);
            moved = true;
        }
        moved
    }

    /// All that can be read of a call now.
    pub(crate) fn read(&mut self, key: Key) -> Outcome<R::Start, R::End> {
        self.readable.remove(&key);
        let mut outcome = Outcome {
            start: None,
            data: Vec::new(),
            end: None,
        };
        loop {
            match self.tunnel.recv(key, usize::MAX) {
                Received::Start(start) => outcome.start = Some(start),
                Received::Data(data) => outcome.data.extend_from_slice(&data),
                Received::End(end) => {
                    assert!(outcome.end.is_none(), "one end");
                    outcome.end = Some(Ok(end));
                }
                Received::Failed(fault) => {
                    assert!(outcome.end.is_none(), "one end");
                    outcome.end = Some(Err(fault));
                }
                Received::Pending => return outcome,
            }
        }
    }

    /// Takes `bytes` of data off a call, which must be there.
    pub(crate) fn take(&mut self, key: Key, mut bytes: usize) {
        while bytes > 0 {
            match self.tunnel.recv(key, bytes) {
                Received::Data(data) => bytes -= data.len(),
                other => panic!("{bytes} more bytes were to be there: {other:?}"),
            }
        }
    }
}
