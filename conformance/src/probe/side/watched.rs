//! One call, as its handlers report it: what is seen so far, and waits for what is to come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::delivery::{Board, Origin};
use super::{Counts, Do, Event, Started};
use crate::clock;

/// From here on a log keeps of counts that follow each other only the last.
const LOG_DENSE: usize = 4_096;
/// The most entries of a log.
const LOG_MAX: usize = 1 << 16;

/// An event, and when it was received.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When the suite had it.
    pub at: Instant,
    /// Which instance sent it.
    pub instance: String,
    /// What it was.
    pub event: Event,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody waited any more.
    Cancelled,
    /// With this status.
    Finished(u32),
}

/// One run of a call's handler.
#[derive(Debug, Clone)]
pub struct RunState {
    /// Where it ran.
    pub instance: String,
    /// Which process that was, counted by the suite: an instance may be started again.
    pub process: u64,
    /// How it began.
    pub started: Started,
    /// Its counters now.
    pub counts: Counts,
    /// The gates that it has waited at, in their order.
    pub waits: Vec<String>,
    /// How it ended, and when the suite heard of it.
    pub ended: Option<(Ended, Instant)>,
}

/// Something did not come.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{of}: {what} not seen within {limit:?}; seen: {seen}{}",
    faulty(faults)
)]
pub struct Missed {
    pub(super) of: String,
    pub(super) what: String,
    pub(super) limit: Duration,
    pub(super) seen: String,
    pub(super) faults: Vec<String>,
}

fn faulty(faults: &[String]) -> String {
    match faults {
        [] => String::new(),
        [first, ..] => format!("; {first}"),
    }
}

/// A call of one name. Without a run said, the run that began last is meant.
#[derive(Debug, Clone)]
pub struct Watched {
    name: String,
    state: watch::Sender<CallState>,
    board: Arc<Board>,
    limit: Duration,
}

impl Watched {
    pub(super) fn new(name: &str, board: Arc<Board>, limit: Duration) -> Self {
        Self {
            name: name.to_owned(),
            state: board.call(name),
            board,
            limit,
        }
    }

    /// The same with another limit for its waits.
    pub fn within(&self, limit: Duration) -> Self {
        let mut same = self.clone();
        same.limit = limit;
        same
    }

    /// The call's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a gate, at every instance that is connected.
    pub fn release(&self, gate: &str) {
        let (call, gate) = (self.name.clone(), gate.to_owned());
        self.board.send(None, &Do::Release { call, gate });
    }

    /// Waits until a handler has begun.
    pub async fn started(&self) -> Result<Started, Missed> {
        let started = |run: &RunState| Some(run.started.clone());
        self.wait("a handler", started).await
    }

    /// Waits until the counters are so: those then.
    pub async fn until(&self, so: impl Fn(&Counts) -> bool) -> Result<Counts, Missed> {
        let counts = |run: &RunState| so(&run.counts).then_some(run.counts);
        self.wait("the counts", counts).await
    }

    /// Waits until the handler has come to this gate.
    pub async fn waiting(&self, gate: &str) -> Result<(), Missed> {
        let at = |run: &RunState| run.waits.iter().any(|own| own == gate).then_some(());
        self.wait(&format!("gate {gate}"), at).await
    }

    /// Waits until the handler is told that nobody waits for it: when the suite heard so.
    pub async fn cancelled(&self) -> Result<Instant, Missed> {
        let cancelled = |run: &RunState| match run.ended {
            Some((Ended::Cancelled, at)) => Some(at),
            _ => None,
        };
        self.wait("cancelled", cancelled).await
    }

    /// Waits until the handler has finished: its status.
    pub async fn finished(&self) -> Result<u32, Missed> {
        let finished = |run: &RunState| match run.ended {
            Some((Ended::Finished(code), _)) => Some(code),
            _ => None,
        };
        self.wait("finished", finished).await
    }

    /// Waits until the run is over, however: how.
    pub async fn ended(&self) -> Result<Ended, Missed> {
        let ended = |run: &RunState| Some(run.ended?.0);
        self.wait("the end", ended).await
    }

    /// The counters now; zeros where no handler has begun.
    pub fn counts(&self) -> Counts {
        let state = self.state.borrow();
        state
            .runs
            .last()
            .map_or_else(Counts::default, |run| run.counts)
    }

    /// How many handlers ran for this name, at all instances together.
    pub fn runs(&self) -> usize {
        self.state.borrow().runs.len()
    }

    /// All of them, in the order in which they began.
    pub fn all_runs(&self) -> Vec<RunState> {
        self.state.borrow().runs.clone()
    }

    /// Every event of the call, in the order in which the suite received them. Of counts that follow each other
    /// only the last may be there, in a long log.
    pub fn log(&self) -> Vec<Logged> {
        self.state.borrow().log.clone()
    }

    async fn wait<T>(
        &self,
        what: &str,
        seen: impl Fn(&RunState) -> Option<T>,
    ) -> Result<T, Missed> {
        let last = |state: &CallState| seen(state.runs.last()?);
        let found = self.board.until(&self.state, self.limit, last).await;
        found.map_err(|faults| Missed {
            of: format!("call {}", self.name),
            what: what.to_owned(),
            limit: self.limit,
            seen: self.state.borrow().brief(),
            faults,
        })
    }
}

/// What the suite has received of a call.
#[derive(Debug, Default)]
pub(super) struct CallState {
    runs: Vec<RunState>,
    log: Vec<Logged>,
}

impl CallState {
    /// Takes an event in.
    ///
    /// # Errors
    /// What is wrong with it: it comes outside of its run, or a counter falls.
    pub(super) fn take(&mut self, origin: &Origin, event: Event) -> Result<(), String> {
        let at = clock::now();
        match &event {
            Event::Started(started) => {
                let known = |run: &RunState| {
                    run.process == origin.process && run.started.run >= started.run
                };
                if self.runs.iter().any(known) {
                    let Started { call, run, .. } = started;
                    return Err(format!(
                        "run {run} of call {call} began twice, or backwards"
                    ));
                }
                self.runs.push(RunState {
                    instance: origin.instance.clone(),
                    process: origin.process,
                    started: started.clone(),
                    counts: Counts::default(),
                    waits: Vec::new(),
                    ended: None,
                });
            }
            Event::Counts { run, counts, .. } => {
                let state = self.running(origin, *run)?;
                if falls(&state.counts, counts) {
                    return Err(format!(
                        "run {run}: a counter fell: {:?}, {counts:?}",
                        state.counts
                    ));
                }
                state.counts = *counts;
            }
            Event::Waiting { run, gate, .. } => {
                self.running(origin, *run)?.waits.push(gate.clone());
            }
            Event::Cancelled { run, .. } => {
                self.running(origin, *run)?.ended = Some((Ended::Cancelled, at));
            }
            Event::Finished { run, code, .. } => {
                self.running(origin, *run)?.ended = Some((Ended::Finished(*code), at));
            }
            Event::Hello { .. } | Event::Draining | Event::Ended { .. } => {
                return Err("an event of no call".to_owned());
            }
        }
        let instance = origin.instance.clone();
        self.log(Logged {
            at,
            instance,
            event,
        })
    }

    fn running(&mut self, origin: &Origin, run: u64) -> Result<&mut RunState, String> {
        let own =
            |state: &&mut RunState| state.process == origin.process && state.started.run == run;
        let state = self.runs.iter_mut().find(own);
        let state = state.ok_or_else(|| format!("an event of run {run}, which never began"))?;
        match state.ended {
            None => Ok(state),
            Some((ended, _)) => Err(format!("an event of run {run} after its end, {ended:?}")),
        }
    }

    fn log(&mut self, entry: Logged) -> Result<(), String> {
        let dense = self.log.len() >= LOG_DENSE;
        if let Some(last) = self.log.last_mut()
            && dense
            && last.instance == entry.instance
            && let (Event::Counts { run: a, .. }, Event::Counts { run: b, .. }) =
                (&last.event, &entry.event)
            && a == b
        {
            *last = entry;
        } else if self.log.len() < LOG_MAX {
            self.log.push(entry);
        } else {
            return Err(format!("more than {LOG_MAX} events of one call"));
        }
        Ok(())
    }

    fn brief(&self) -> String {
        match &self.runs[..] {
            [] => "no handler".to_owned(),
            [.., last] => format!(
                "{} runs, the last at {} with {:?}, waits {:?}, ended {:?}",
                self.runs.len(),
                last.instance,
                last.counts,
                last.waits,
                last.ended.map(|(ended, _)| ended),
            ),
        }
    }
}

fn falls(before: &Counts, now: &Counts) -> bool {
    let pairs = [
        (before.handed, now.handed),
        (before.taken, now.taken),
        (before.sent, now.sent),
    ];
    let fell =
        |(a, b): (super::Amount, super::Amount)| b.messages < a.messages || b.bytes < a.bytes;
    pairs.into_iter().any(fell) || (before.half_closed && !now.half_closed)
}
