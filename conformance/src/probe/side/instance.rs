//! The instance's end over TCP: one connection for the life of a process.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::reporter::{Reporter, Sink, lock};
use super::{Do, Event, LINE_MAX};

/// Events that wait to be written. Counts of one run take one place, so only a suite that reads nothing
/// fills it.
const QUEUE_MAX: usize = 1 << 16;
/// Events written at a time.
const BATCH: usize = 1_024;
/// How long the last lines may take to be written.
const GOODBYE: Duration = Duration::from_secs(5);

/// The process's side of the connection.
#[derive(Debug)]
pub struct Channel {
    queue: Arc<Queue>,
    state: watch::Receiver<State>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug, Default)]
struct State {
    drain: bool,
    /// Why there is no channel any more.
    over: Option<String>,
}

/// Connects, and says hello as this instance.
///
/// # Errors
/// Where the suite cannot be reached.
pub async fn connect(suite: SocketAddr, instance: &str) -> io::Result<(Reporter, Channel)> {
    let socket = TcpStream::connect(suite).await?;
    socket.set_nodelay(true)?;
    let (read, write) = socket.into_split();
    let queue = Arc::new(Queue::default());
    let reporter = Reporter::new(Box::new(queue.clone()));
    let instance = instance.to_owned();
    queue.push(Event::Hello { instance });
    let state = watch::Sender::new(State::default());
    let received = state.subscribe();
    let over = |state: &watch::Sender<State>, why: String| {
        state.send_modify(|state| {
            state.over.get_or_insert(why);
        });
    };
    let reading = tokio::spawn({
        let (reporter, state) = (reporter.clone(), state.clone());
        async move {
            let why = read_lines(read, &reporter, &state).await;
            over(&state, why);
        }
    });
    let writing = tokio::spawn({
        let queue = queue.clone();
        async move {
            if let Err(error) = write_lines(write, &queue).await {
                over(&state, error.to_string());
            }
        }
    });
    let channel = Channel {
        queue,
        state: received,
        tasks: [reading.abort_handle(), writing.abort_handle()],
    };
    Ok((reporter, channel))
}

impl Channel {
    /// Waits until the suite asks for a drain.
    ///
    /// # Errors
    /// Where the channel ends instead, which is the end of the process: why.
    pub async fn asked_to_drain(&mut self) -> Result<(), String> {
        let asked = self
            .state
            .wait_for(|state| state.drain || state.over.is_some());
        match asked.await {
            Ok(state) if state.drain => Ok(()),
            Ok(state) => Err(state.over.clone().unwrap_or_default()),
            Err(_) => Err("the side channel's tasks are gone".to_owned()),
        }
    }

    /// Waits for the end of the channel.
    pub async fn over(&mut self) -> String {
        match self.state.wait_for(|state| state.over.is_some()).await {
            Ok(state) => state.over.clone().unwrap_or_default(),
            Err(_) => "the side channel's tasks are gone".to_owned(),
        }
    }

    /// Says that the instance drains.
    pub fn draining(&self) {
        self.queue.push(Event::Draining);
    }

    /// Says that the process ends with this code, and waits until all is written, within a limit.
    pub async fn end(self, code: i32) {
        self.queue.push(Event::Ended { code });
        let _ = tokio::time::timeout(GOODBYE, self.queue.written()).await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Events on their way to the suite.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    /// There is something to write.
    filled: Notify,
    /// All was written.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// The number of the first of them.
    first: u64,
    /// Events taken out and not written yet.
    writing: bool,
    overflowed: bool,
}

impl Sink for Arc<Queue> {
    fn push(&self, event: Event) -> u64 {
        let number = {
            let mut state = lock(&self.state);
            if state.events.len() < QUEUE_MAX {
                state.events.push_back(event);
            } else {
                state.overflowed = true;
            }
            state.first + state.events.len() as u64 - 1
        };
        self.filled.notify_one();
        number
    }

    fn replace(&self, number: u64, event: Event) -> Option<Event> {
        let mut state = lock(&self.state);
        let at = number.checked_sub(state.first);
        match at.and_then(|at| state.events.get_mut(at as usize)) {
            Some(place) => *place = event,
            None => return Some(event),
        }
        None
    }
}

impl Queue {
    /// The next events; none where they became too many.
    async fn take(&self) -> Option<Vec<Event>> {
        loop {
            {
                let mut state = lock(&self.state);
                if state.overflowed {
                    return None;
                }
                state.writing = !state.events.is_empty();
                if state.writing {
                    let n = state.events.len().min(BATCH);
                    state.first += n as u64;
                    return Some(state.events.drain(..n).collect());
                }
            }
            self.empty.notify_waiters();
            self.filled.notified().await;
        }
    }

    async fn written(&self) {
        loop {
            let empty = self.empty.notified();
            {
                let state = lock(&self.state);
                if state.events.is_empty() && !state.writing {
                    return;
                }
            }
            empty.await;
        }
    }
}

async fn write_lines(mut socket: OwnedWriteHalf, queue: &Queue) -> io::Result<()> {
    let mut lines = Vec::new();
    while let Some(events) = queue.take().await {
        lines.clear();
        for event in events {
            serde_json::to_writer(&mut lines, &event)?;
            lines.push(b'\n');
        }
        socket.write_all(&lines).await?;
    }
    Err(io::Error::other("the suite does not read its side channel"))
}

/// Does what the suite says, until the connection ends: why it did.
async fn read_lines(
    socket: OwnedReadHalf,
    reporter: &Reporter,
    state: &watch::Sender<State>,
) -> String {
    let mut lines = BufReader::new(socket);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut lines).take(LINE_MAX as u64);
        match limited.read_until(b'\n', &mut line).await {
            Err(error) => return error.to_string(),
            Ok(0) => return "the suite closed it".to_owned(),
            Ok(_) => {}
        }
        match serde_json::from_slice(&line) {
            Ok(Do::Release { call, gate }) => reporter.release(&call, &gate),
            Ok(Do::Drain) => state.send_modify(|state| state.drain = true),
            Err(error) => return format!("the suite sent no line of the protocol: {error}"),
        }
    }
}
