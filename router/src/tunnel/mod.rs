//! A tunnel in a runtime: the core's state machine behind a short lock, and who waits for what.
//!
//! [`Link`] is what producers and consumers of calls share. [`Driver`] alone moves its bytes. [`Call`] is
//! one call's handle, and [`Transport`] what the bytes run over.

mod call;
mod driver;
mod payload;
mod transport;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::{Event, Role};
use grpcrouter_core::{CallFault, Key, Time, Tunnel, TunnelError};

use crate::Clock;

pub(crate) use call::{Call, Taken};
pub(crate) use driver::Driver;
pub(crate) use payload::Payload;
pub(crate) use transport::{BodyTransport, H2Transport, Transport, TransportEnd};

/// A tunnel that is shared by its driver and its calls.
#[derive(Debug)]
pub(crate) struct Link<R: Role> {
    state: Mutex<State<R>>,
    /// Wakes the driver: there is something to write, or a timer changed. After the tunnel's end, who keeps
    /// the deadlines.
    driver: AtomicWaker,
    clock: Clock,
}

#[derive(Debug)]
struct State<R: Role> {
    tunnel: Tunnel<R>,
    /// By the slot of a call's key.
    waiting: Vec<Waiting>,
    /// What the driver's owner has not taken yet.
    notices: VecDeque<Notice<R>>,
}

/// Who waits on a call.
#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Places that are kept while no call is open. What is allocated among many calls must not stay when they
/// are gone: it would keep the allocator from giving back what they had.
const WAITING_KEPT: usize = 64;

/// What the owner of a tunnel must know.
#[derive(Debug)]
pub(crate) enum Notice<R: Role> {
    Role(R::Event),
    /// No call is left on a tunnel that takes no new ones.
    Drained,
    Closed(TunnelError),
}

impl<R: Role> Link<R> {
    pub(crate) fn new(tunnel: Tunnel<R>, clock: Clock) -> Self {
        let state = State {
            tunnel,
            waiting: Vec::new(),
            notices: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            driver: AtomicWaker::new(),
            clock,
        }
    }

    /// Runs a command on the tunnel, then wakes whom it concerns.
    pub(crate) fn with<T>(&self, command: impl FnOnce(&mut Tunnel<R>, Time) -> T) -> T {
        self.act(|state, now| command(&mut state.tunnel, now))
    }

    /// Gives a call's key back, and with it the place of those who waited on it.
    fn release(&self, key: Key, code: u32) {
        self.act(|state, _| {
            // First, in the same step: the slot may be another call's as soon as it is free.
            *state.waiting(key) = Waiting::default();
            state.tunnel.reset(key, code);
            state.tunnel.release(key);
            if state.waiting.capacity() > WAITING_KEPT && state.tunnel.open_calls() == 0 {
                state.waiting = Vec::new();
            }
        });
    }

    fn act<T>(&self, command: impl FnOnce(&mut State<R>, Time) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        state.tunnel.advance(now);
        let timeout = state.tunnel.poll_timeout();
        let result = command(&mut state, now);
        state.deliver();
        let wake = !state.notices.is_empty()
            || state.tunnel.has_transmit()
            || state.tunnel.poll_timeout() < timeout;
        drop(state);
        if wake {
            self.driver.wake();
        }
        result
    }

    /// As [`Link::with`], for the driver, which need not be woken.
    fn drive<T>(&self, step: impl FnOnce(&mut Tunnel<R>, Time) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        state.tunnel.advance(now);
        let result = step(&mut state.tunnel, now);
        state.deliver();
        result
    }

    /// After the tunnel's end: holds to their deadlines the calls that still give out what had come before.
    /// Returns when none is left, which mostly is at once.
    pub(crate) async fn keep_deadlines(&self) {
        while let Some(at) = self.next_timeout() {
            let changed = poll_fn(|cx| {
                self.driver.register(cx.waker());
                match self.next_timeout() == Some(at) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            });
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(self.clock.instant(at)) => {
                    self.drive(Tunnel::handle_timeout);
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Time> {
        self.lock().tunnel.poll_timeout()
    }

    fn has_notice(&self) -> bool {
        !self.lock().notices.is_empty()
    }

    /// What the driver's owner has not taken yet.
    pub(crate) fn take_notice(&self) -> Option<Notice<R>> {
        self.lock().notices.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // A panic under the lock is our own bug; the tunnel's state is as the last whole step left it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Role> State<R> {
    /// Turns the tunnel's events into wake-ups and notices.
    fn deliver(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            let waker = match event {
                Event::Readable(key) | Event::Writable(key)
                    if sabotage::is(Sabotage::LostUntold)
                        && matches!(self.tunnel.fault(key), Some(CallFault::Lost { .. })) =>
                {
                    None
                }
                Event::Readable(key) => self.waits(key).and_then(|waits| waits.reader.take()),
                Event::Writable(key) => self.waits(key).and_then(|waits| waits.writer.take()),
                Event::Role(event) => {
                    self.notices.push_back(Notice::Role(event));
                    None
                }
                Event::Drained => {
                    self.notices.push_back(Notice::Drained);
                    None
                }
                Event::Closed(error) => {
                    self.notices.push_back(Notice::Closed(error));
                    None
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn waits(&mut self, key: Key) -> Option<&mut Waiting> {
        self.waiting.get_mut(key.slot as usize)
    }

    fn waiting(&mut self, key: Key) -> &mut Waiting {
        let slot = key.slot as usize;
        if self.waiting.len() <= slot {
            self.waiting.resize_with(slot + 1, Waiting::default);
        }
        &mut self.waiting[slot]
    }
}
