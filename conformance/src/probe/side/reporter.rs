//! What handlers report through, wherever it goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Counts, Event, Started};

/// The most names of calls, and of gates, that one process knows: ten times what the largest case has.
const NAMES_MAX: usize = 1 << 17;

/// Where reports go.
pub(super) trait Sink: Send + Sync {
    /// Takes an event in; its number.
    fn push(&self, event: Event) -> u64;

    /// Puts an event in the place of that one, if it still waits to be written; else gives it back.
    fn replace(&self, number: u64, event: Event) -> Option<Event>;
}

/// The handlers' end of a side channel. Clones are the same end.
#[derive(Clone)]
pub struct Reporter(Arc<Shared>);

struct Shared {
    sink: Box<dyn Sink>,
    runs: Mutex<BTreeMap<String, u64>>,
    gates: Gates,
}

/// The names of calls in this process are more than there can be.
#[derive(Debug, thiserror::Error)]
#[error("this process had calls of {NAMES_MAX} names")]
pub struct TooMany;

impl Reporter {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self(Arc::new(Shared {
            sink,
            runs: Mutex::default(),
            gates: Gates::default(),
        }))
    }

    /// Begins a run for the call of this name, and says so: the function gets name and number.
    ///
    /// # Errors
    /// Where the process has had too many names.
    pub fn begin(
        &self,
        call: &str,
        started: impl FnOnce(String, u64) -> Started,
    ) -> Result<Arc<Run>, TooMany> {
        let run = {
            let mut runs = lock(&self.0.runs);
            if runs.len() >= NAMES_MAX && !runs.contains_key(call) {
                return Err(TooMany);
            }
            let run = runs.entry(call.to_owned()).or_default();
            *run += 1;
            *run
        };
        let started = started(call.to_owned(), run);
        self.0.sink.push(Event::Started(started));
        Ok(Arc::new(Run {
            reporter: self.clone(),
            call: call.to_owned(),
            run,
            state: Mutex::default(),
        }))
    }

    /// Opens a gate.
    pub(super) fn release(&self, call: &str, gate: &str) {
        if let Some(gate) = self.0.gates.of(call, gate) {
            gate.send_replace(true);
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// One run of a handler. After its end it reports nothing more.
#[derive(Debug)]
pub struct Run {
    reporter: Reporter,
    call: String,
    run: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    ended: bool,
    /// The number of the last event, where it was of counts: newer counts may take its place.
    last: Option<u64>,
}

impl Run {
    /// Changes the counters, and reports where they did change.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut state = lock(&self.state);
        let before = state.counts;
        change(&mut state.counts);
        if state.ended || state.counts == before {
            return;
        }
        let event = Event::Counts {
            call: self.call.clone(),
            run: self.run,
            counts: state.counts,
        };
        let sink = &self.reporter.0.sink;
        let rest = match state.last {
            Some(number) => sink.replace(number, event),
            None => Some(event),
        };
        if let Some(event) = rest {
            state.last = Some(sink.push(event));
        }
    }

    /// Waits at a gate.
    pub async fn wait(&self, gate: &str) {
        self.tell(|call, run| {
            let gate = gate.to_owned();
            Event::Waiting { call, run, gate }
        });
        match self.reporter.0.gates.of(&self.call, gate) {
            Some(gate) => {
                let mut open = gate.subscribe();
                let _ = open.wait_for(|open| *open).await;
            }
            // A gate that nobody can open.
            None => std::future::pending().await,
        }
    }

    /// Nobody waits for the handler any more. Nothing, where the run is over.
    pub fn cancelled(&self) {
        self.end(|call, run| Event::Cancelled { call, run });
    }

    /// The status was handed to the transport.
    pub fn finished(&self, code: u32) {
        self.end(|call, run| Event::Finished { call, run, code });
    }

    /// The run is over in a way that has no event.
    pub fn close(&self) {
        lock(&self.state).ended = true;
    }

    fn tell(&self, event: impl FnOnce(String, u64) -> Event) {
        self.say(event, false);
    }

    /// The last that is said: nothing comes after it, whoever else speaks at the same time.
    fn end(&self, event: impl FnOnce(String, u64) -> Event) {
        self.say(event, true);
    }

    fn say(&self, event: impl FnOnce(String, u64) -> Event, last: bool) {
        let mut state = lock(&self.state);
        if !state.ended {
            state.ended = last;
            state.last = None;
            let sink = &self.reporter.0.sink;
            sink.push(event(self.call.clone(), self.run));
        }
    }
}

/// Gates that were opened or are waited at.
#[derive(Default)]
struct Gates(Mutex<BTreeMap<(String, String), watch::Sender<bool>>>);

impl Gates {
    fn of(&self, call: &str, gate: &str) -> Option<watch::Sender<bool>> {
        let mut gates = lock(&self.0);
        let key = (call.to_owned(), gate.to_owned());
        if gates.len() >= NAMES_MAX && !gates.contains_key(&key) {
            return None;
        }
        Some(gates.entry(key).or_default().clone())
    }
}

/// What a handler that panicked left behind is still true.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
