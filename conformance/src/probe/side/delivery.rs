//! What the suite knows of instances and their calls, kept for whoever waits for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::reporter::{Reporter, Sink, lock};
use super::watched::CallState;
use super::{Do, Event};

/// The most calls by name: more than a whole run of the suite makes.
const CALLS_MAX: usize = 1 << 20;
/// The most instances by id: T8 has a thousand.
const INSTANCES_MAX: usize = 1 << 14;
/// The most faults that are kept.
const FAULTS_MAX: usize = 100;

/// All of it.
#[derive(Default)]
pub(super) struct Board {
    calls: Mutex<BTreeMap<String, watch::Sender<CallState>>>,
    pub(super) instances: watch::Sender<BTreeMap<String, InstanceState>>,
    faults: watch::Sender<Vec<String>>,
    /// Of each process that is connected, by its number, with the id of its instance.
    connected: Mutex<BTreeMap<u64, (String, To)>>,
    processes: AtomicU64,
}

/// What is known of an instance: of the process that said hello last under its id.
#[derive(Debug, Default)]
pub(super) struct InstanceState {
    /// How many processes said hello under this id.
    pub(super) hellos: usize,
    /// The last of them.
    process: u64,
    pub(super) draining: bool,
    pub(super) ended: Option<i32>,
    pub(super) is_closed: bool,
}

/// Where events come from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) instance: String,
    /// Tells processes of the same id apart.
    pub(super) process: u64,
}

/// Where an instance is told what to do.
pub(super) enum To {
    Socket(mpsc::Sender<Vec<u8>>),
    Local(Reporter),
}

impl Board {
    /// What is known of a call.
    pub(super) fn call(&self, name: &str) -> watch::Sender<CallState> {
        let mut calls = lock(&self.calls);
        if calls.len() >= CALLS_MAX && !calls.contains_key(name) {
            drop(calls);
            self.fault(format!("more than {CALLS_MAX} names of calls"));
            return watch::Sender::default();
        }
        calls.entry(name.to_owned()).or_default().clone()
    }

    /// A number for a process that is about to say hello.
    pub(super) fn origin(&self, instance: &str) -> Origin {
        Origin {
            instance: instance.to_owned(),
            process: self.processes.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// A process said hello.
    pub(super) fn joined(&self, origin: &Origin, to: To) {
        let Origin { instance, process } = origin;
        let mut full = false;
        lock(&self.connected).insert(*process, (instance.clone(), to));
        self.instances.send_modify(|instances| {
            full = instances.len() >= INSTANCES_MAX && !instances.contains_key(instance);
            if !full {
                let state = instances.entry(instance.clone()).or_default();
                *state = InstanceState {
                    hellos: state.hellos + 1,
                    process: *process,
                    ..InstanceState::default()
                };
            }
        });
        if full {
            self.fault(format!("more than {INSTANCES_MAX} instances"));
        }
    }

    /// A process's channel ended.
    pub(super) fn left(&self, origin: &Origin) {
        lock(&self.connected).remove(&origin.process);
        self.change(origin, |state| state.is_closed = true);
    }

    /// An event of an instance.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn deliver(&self, origin: &Origin, event: Event) -> Result<(), String> {
        let call = match &event {
            Event::Hello { .. } => return Err("hello twice".to_owned()),
            Event::Draining => {
                self.change(origin, |state| state.draining = true);
                return Ok(());
            }
            Event::Ended { code } => {
                self.change(origin, |state| state.ended = Some(*code));
                return Ok(());
            }
            Event::Started(started) => &started.call,
            Event::Counts { call, .. }
            | Event::Waiting { call, .. }
            | Event::Cancelled { call, .. }
            | Event::Finished { call, .. } => call,
        };
        let mut taken = Ok(());
        self.call(call)
            .send_modify(|state| taken = state.take(origin, event));
        taken
    }

    /// Sends a line to an instance, or to all.
    pub(super) fn send(&self, instance: Option<&str>, order: &Do) {
        let mut line = serde_json::to_vec(order).expect("a line is JSON");
        line.push(b'\n');
        let mut stuck = Vec::new();
        for (id, to) in lock(&self.connected).values() {
            if instance.is_some_and(|instance| instance != id) {
                continue;
            }
            match (to, order) {
                (To::Local(local), Do::Release { call, gate }) => local.release(call, gate),
                (To::Local(_), Do::Drain) => {}
                (To::Socket(to), _) => {
                    // One whose channel has ended is told nothing.
                    if let Err(mpsc::error::TrySendError::Full(_)) = to.try_send(line.clone()) {
                        stuck.push(format!("side channel of instance {id}: it reads no lines"));
                    }
                }
            }
        }
        for fault in stuck {
            self.fault(fault);
        }
    }

    /// Keeps what an instance did against the protocol.
    pub(super) fn fault(&self, fault: String) {
        self.faults.send_modify(|faults| {
            if faults.len() < FAULTS_MAX {
                faults.push(fault);
            }
        });
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// Waits until something is seen, within a limit. Where it is not, or an instance breaks the protocol: the
    /// faults so far.
    pub(super) async fn until<S, T>(
        &self,
        state: &watch::Sender<S>,
        limit: Duration,
        seen: impl Fn(&S) -> Option<T>,
    ) -> Result<T, Vec<String>> {
        let mut states = state.subscribe();
        let mut found = None;
        let mut faults = self.faults.subscribe();
        let waited = async {
            tokio::select! {
                biased;
                _ = states.wait_for(|state| {
                    found = seen(state);
                    found.is_some()
                }) => {}
                _ = faults.wait_for(|faults| !faults.is_empty()) => {}
            }
        };
        let _ = tokio::time::timeout(limit, waited).await;
        found.ok_or_else(|| self.faults())
    }

    /// Changes what is known of an instance, unless a newer process has taken its place.
    fn change(&self, origin: &Origin, change: impl FnOnce(&mut InstanceState)) {
        self.instances.send_modify(|instances| {
            if let Some(state) = instances.get_mut(&origin.instance)
                && state.process == origin.process
            {
                change(state);
            }
        });
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

/// Delivers the events of handlers in this process.
pub(super) struct Local {
    pub(super) origin: Origin,
    pub(super) board: Arc<Board>,
}

impl Sink for Local {
    fn push(&self, event: Event) -> u64 {
        if let Err(wrong) = self.board.deliver(&self.origin, event) {
            let instance = &self.origin.instance;
            self.board.fault(format!("instance {instance}: {wrong}"));
        }
        0
    }

    fn replace(&self, _: u64, event: Event) -> Option<Event> {
        // What was pushed is delivered.
        Some(event)
    }
}
