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
use tokio::runtime::RuntimeMetrics;
use tokio::sync::Notify;

use crate::determinism::machine_delay;
use crate::oracle::{Direction, Ledger};
use crate::plan::{CallPlan, Options};

use super::link::Links;
use super::lossy::Air;
use super::touch::Touches;

/// How long a step of the simulation is.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// How often an edge that waits for the other one looks again.
const MOMENT: Duration = Duration::from_millis(1);
/// Where epochs begin: a day, so that clocks can be hours behind.
const FIRST_EPOCH_US: u64 = 86_400 * 1_000_000;

/// A run, as its hosts see it.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    /// The network, where it is one that loses packets.
    pub(super) air: Option<Air>,
    /// How many calls the plan has; those after them are the driver's.
    pub(crate) planned: usize,
    /// The beginning of the present step, in microseconds.
    step_us: AtomicU64,
    /// Whether a host runs, rather than the driver.
    stepping: AtomicBool,
    state: Mutex<State>,
}

/// What changes.
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) touches: Touches,
    pub(crate) links: Links,
    pub(crate) gateways: Vec<GatewayHost>,
    /// The instances, and after them their rivals.
    pub(crate) instances: Vec<InstanceHost>,
    /// Handlers that run, by instance.
    pub(crate) handlers: Vec<BTreeMap<u32, u32>>,
    /// While a process is being ended: the calls of its handlers, and whether they had given a status.
    pub(crate) killed: Option<Vec<(u32, bool)>>,
    /// Until when the handler of a call does nothing, and until when its client reads nothing.
    pub(crate) handler_stalls: BTreeMap<u32, Time>,
    pub(crate) client_stalls: BTreeMap<u32, Time>,
    /// Wakes clients that are to give their calls up.
    pub(crate) cancels: BTreeMap<u32, Arc<Notify>>,
    /// Calls that the driver asked a client for, after the plan's.
    pub(crate) wanted: Vec<Wanted>,
    /// Which rivals run: with a later epoch than their instance, or an earlier one.
    pub(crate) rivals: Vec<Option<bool>>,
    /// How far the wall clock of each instance's host is off, in microseconds: processes take their epochs
    /// from it.
    pub(crate) clocks_us: Vec<i64>,
    /// Registrations' epochs so far.
    epochs: u64,
    /// Seeds that hosts took so far.
    seeds: u64,
    /// Whether the next dial takes as long as a clock of this machine says.
    pub(super) late: bool,
}

/// A call that a client is to make.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) client: usize,
    pub(crate) call: u32,
}

/// A gateway's host, as the driver sees it.
#[derive(Default)]
pub(crate) struct GatewayHost {
    /// The tasks of the latest process.
    pub(crate) tasks: Option<RuntimeMetrics>,
    /// The process, while it runs.
    pub(crate) gateway: Option<Gateway>,
    /// It was said of it that it has instances without tunnels.
    pub(crate) told: bool,
    /// Asks it to drain.
    pub(crate) drain: Arc<Notify>,
    /// It drained, and stands still since then.
    pub(crate) ended: Option<Time>,
}

/// An instance's host, as the driver sees it.
#[derive(Default)]
pub(crate) struct InstanceHost {
    /// The tasks of the latest process.
    pub(crate) tasks: Option<RuntimeMetrics>,
    /// Of the latest process.
    pub(crate) handle: Option<InstanceHandle>,
    /// It drained or was refused, and stands still since then.
    pub(crate) ended: Option<Time>,
}

impl World {
    pub(super) fn new(
        seed: u64,
        options: Options,
        ledger: Ledger,
        touches: Touches,
        air: Option<Air>,
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
                clocks_us: vec![0; options.instances],
                epochs: 0,
                seeds: 0,
                late: false,
            }),
            options,
        }
    }

    /// The time: within a step that of the host that runs, between steps the driver's.
    ///
    /// While a host goes down or up its own clock does not stand still, so it is not asked then.
    pub(crate) fn now(&self) -> Time {
        let own = match self.stepping.load(Ordering::Relaxed) {
            true => turmoil::sim_elapsed(),
            false => None,
        };
        let step = Time::from_micros(self.step_us.load(Ordering::Relaxed));
        own.map_or(step, |own| Time::ZERO + own)
    }

    /// Steps the simulation, with the clock that belongs to it.
    pub(crate) fn step(&self, step: impl FnOnce()) {
        self.stepping.store(true, Ordering::Relaxed);
        step();
        self.stepping.store(false, Ordering::Relaxed);
        let us = TICK.as_micros() as u64;
        self.step_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Reads or changes what is shared, at the time that it is now.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        f(
            &mut self.state.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }

    /// Ends when the receiving edge of a call has been given so many bytes.
    pub(crate) async fn delivered(&self, call: u32, direction: Direction, bytes: u64) {
        while self.with(|state, _| state.ledger.record(call).delivered(direction)) < bytes {
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// A seed of its own for a process that starts.
    pub(crate) fn next_seed(&self) -> u64 {
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
    pub(crate) fn dial_delay(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.late).then(machine_delay)
    }

    /// Asks a client for a call, as soon as it can. Gives the call's number.
    pub(crate) fn want(&mut self, plan: CallPlan) -> u32 {
        let (client, pinned) = (plan.client, plan.pinned);
        let call = self.ledger.add(Arc::new(plan));
        self.touches.add(client, pinned);
        self.wanted.push(Wanted { client, call });
        call
    }

    /// The epoch of a process of this instance that starts: later than those before it, as far as its host's
    /// clock is right.
    pub(crate) fn next_epoch(&mut self, instance: usize) -> u64 {
        self.epochs += 1;
        (FIRST_EPOCH_US + self.epochs).saturating_add_signed(self.clocks_us[instance])
    }

    /// Handlers that run, at all instances.
    pub(crate) fn running(&self) -> usize {
        self.handlers.iter().map(BTreeMap::len).sum()
    }
}
