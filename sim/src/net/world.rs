//! What all hosts of a run share with the driver: the ledger, the time, and who is up.
//!
//! All of it runs on one thread, one host after another, so that the lock is never waited for. Nothing may
//! be dropped under it that takes it again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grpcrouter::{Gateway, InstanceHandle};
use grpcrouter_core::Time;
use tokio::sync::Notify;

use crate::determinism::machine_delay;
use crate::oracle::Ledger;
use crate::plan::Options;

use super::link::Links;
use super::lossy::Air;
use super::touch::Touches;

/// How long a step of the simulation is.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// A run, as its hosts see it.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) options: Options,
    /// The network, where it is one that loses packets.
    pub(super) air: Option<Air>,
    /// How many calls the plan has; those after them are the driver's.
    pub(super) planned: usize,
    /// The beginning of the present step, in microseconds.
    step_us: AtomicU64,
    /// Whether a host runs, rather than the driver.
    stepping: AtomicBool,
    state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) touches: Touches,
    pub(super) links: Links,
    pub(super) gateways: Vec<GatewayHost>,
    /// The instances, and after them their rivals.
    pub(super) instances: Vec<InstanceHost>,
    /// Handlers that run, by instance.
    pub(super) handlers: Vec<BTreeMap<u32, u32>>,
    /// While a process is being ended: the calls of its handlers, and whether they had given a status.
    pub(super) killed: Option<Vec<(u32, bool)>>,
    /// Until when the handler of a call does nothing, and until when its client reads nothing.
    pub(super) handler_stalls: BTreeMap<u32, Time>,
    pub(super) client_stalls: BTreeMap<u32, Time>,
    /// Wakes clients that are to give their calls up.
    pub(super) cancels: BTreeMap<u32, Arc<Notify>>,
    /// Calls that the driver asked a client for, after the plan's.
    pub(super) wanted: Vec<Wanted>,
    /// Which rivals run: with a later epoch than their instance, or an earlier one.
    pub(super) rivals: Vec<Option<bool>>,
    /// Registrations' epochs so far.
    epochs: u64,
    /// Seeds that hosts took so far.
    seeds: u64,
    /// Whether the next dial takes as long as a clock of this machine says.
    late: bool,
}

/// A probe that a client is to make.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) client: usize,
    pub(super) call: u32,
}

/// A gateway's host, as the driver sees it.
#[derive(Default)]
pub(super) struct GatewayHost {
    /// The process, while it runs.
    pub(super) gateway: Option<Gateway>,
    /// It was said of it that it has instances without tunnels.
    pub(super) told: bool,
    /// Asks it to drain.
    pub(super) drain: Arc<Notify>,
    /// It drained, and stands still since then.
    pub(super) ended: Option<Time>,
}

/// An instance's host, as the driver sees it.
#[derive(Default)]
pub(super) struct InstanceHost {
    /// Of the latest process.
    pub(super) handle: Option<InstanceHandle>,
    /// It drained or was refused, and stands still since then.
    pub(super) ended: Option<Time>,
}

impl World {
    pub(super) fn new(
        seed: u64,
        options: Options,
        ledger: Ledger,
        touches: Touches,
        air: Option<Air>,
        late: bool,
    ) -> Self {
        let gateways = (0..options.gateways).map(|_| GatewayHost::default());
        let instances = (0..options.instances * 2).map(|_| InstanceHost::default());
        Self {
            seed,
            air,
            planned: ledger.records().len(),
            step_us: AtomicU64::new(0),
            stepping: AtomicBool::new(false),
            state: Mutex::new(State {
                ledger,
                touches,
                links: Links::default(),
                gateways: gateways.collect(),
                instances: instances.collect(),
                handlers: vec![BTreeMap::new(); options.instances],
                killed: None,
                handler_stalls: BTreeMap::new(),
                client_stalls: BTreeMap::new(),
                cancels: BTreeMap::new(),
                wanted: Vec::new(),
                rivals: vec![None; options.instances],
                epochs: 0,
                seeds: 0,
                late,
            }),
            options,
        }
    }

    /// The time: within a step that of the host that runs, between steps the driver's.
    ///
    /// While a host goes down or up its own clock does not stand still, so it is not asked then.
    pub(super) fn now(&self) -> Time {
        let own = match self.stepping.load(Ordering::Relaxed) {
            true => turmoil::sim_elapsed(),
            false => None,
        };
        let step = Time::from_micros(self.step_us.load(Ordering::Relaxed));
        own.map_or(step, |own| Time::ZERO + own)
    }

    /// Steps the simulation, with the clock that belongs to it.
    pub(super) fn step(&self, step: impl FnOnce()) {
        self.stepping.store(true, Ordering::Relaxed);
        step();
        self.stepping.store(false, Ordering::Relaxed);
        let us = TICK.as_micros() as u64;
        self.step_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Reads or changes what is shared, at the time that it is now.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        f(
            &mut self.state.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }

    /// A seed of its own for a process that starts.
    pub(super) fn next_seed(&self) -> u64 {
        let n = self.with(|state, _| {
            state.seeds += 1;
            state.seeds
        });
        self.seed
            .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl State {
    /// How long a dial takes besides: nothing, but where a clock is to be read.
    pub(super) fn dial_delay(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.late).then(machine_delay)
    }

    /// The epoch of a process that starts: later than those before it.
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.epochs += 1;
        1_000 + self.epochs
    }

    /// Handlers that run, at all instances.
    pub(super) fn running(&self) -> usize {
        self.handlers.iter().map(BTreeMap::len).sum()
    }
}
