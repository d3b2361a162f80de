//! The suite's end: it says which calls the client makes, and knows what the client saw.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{End, Lines, Open, Report};
use crate::clock;
use crate::probe::side::Amount;
use crate::wait::within;

/// How long any wait takes at most.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for one client.
#[derive(Debug)]
pub struct Awaited(TcpListener);

/// A client that obeys.
#[derive(Debug)]
pub struct Remote {
    orders: OwnedWriteHalf,
    board: Arc<Board>,
    reading: JoinHandle<()>,
}

/// A call as the client sees it.
#[derive(Debug, Clone)]
pub struct RemoteCall {
    name: String,
    state: watch::Receiver<Seen>,
}

/// What a client saw of a call so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Bytes of DATA that had window, prefixes included.
    pub sent: u64,
    /// Whole messages, in order and undamaged.
    pub received: Amount,
    /// How it ended, how long after it was opened by the client's clock, and when the suite heard of it.
    pub ended: Option<(End, Duration, Instant)>,
}

#[derive(Debug, Default)]
struct Board(Mutex<BTreeMap<String, watch::Sender<Seen>>>);

impl Awaited {
    /// Listens at this address of the suite's, on a free port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn at(addr: IpAddr) -> io::Result<Self> {
        Ok(Self(TcpListener::bind((addr, 0)).await?))
    }

    /// Where the client dials.
    ///
    /// # Errors
    /// As the socket's.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for the client.
    ///
    /// # Errors
    /// Where it does not come.
    pub async fn client(self) -> Result<Remote> {
        let (socket, _) = within("client", LIMIT, self.0.accept()).await??;
        socket.set_nodelay(true)?;
        let (read, orders) = socket.into_split();
        let board = Arc::new(Board::default());
        let known = board.clone();
        let reading = tokio::spawn(async move {
            if let Err(error) = read_reports(read, &known).await {
                // Whoever waits for a call of it is told no more, and sees how far it came.
                eprintln!("the client's reports end: {error:#}");
            }
        });
        Ok(Remote {
            orders,
            board,
            reading,
        })
    }
}

impl Remote {
    /// Has a call made.
    ///
    /// # Errors
    /// Where the client is gone.
    pub async fn open(&mut self, open: Open) -> Result<RemoteCall> {
        let name = open.call.clone();
        let state = self.board.call(&name).subscribe();
        let mut line = serde_json::to_vec(&open)?;
        line.push(b'\n');
        let written = self.orders.write_all(&line).await;
        written.context("the client takes no orders")?;
        Ok(RemoteCall { name, state })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl RemoteCall {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.state.borrow().clone()
    }

    /// Waits for its end: how, how long after it was opened, and when the suite heard of it.
    ///
    /// # Errors
    /// What was seen instead, after 30 s.
    pub async fn ended(&self) -> Result<(End, Duration, Instant)> {
        self.ended_within(LIMIT).await
    }

    /// The same within another limit.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn ended_within(&self, limit: Duration) -> Result<(End, Duration, Instant)> {
        let mut state = self.state.clone();
        let waited = state.wait_for(|seen| seen.ended.is_some());
        match within("end", limit, waited).await {
            Ok(Ok(seen)) => seen.ended.clone().context("it was waited for"),
            _ => bail!("call {}: no end; seen: {:?}", self.name, self.seen()),
        }
    }
}

impl Board {
    fn call(&self, name: &str) -> watch::Sender<Seen> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(name.to_owned()).or_default().clone()
    }

    fn take(&self, report: Report) {
        match report {
            Report::Hello => {}
            Report::Sent { call, bytes } => self.call(&call).send_modify(|seen| seen.sent = bytes),
            Report::Received { call, amount } => {
                self.call(&call).send_modify(|seen| seen.received = amount);
            }
            Report::Ended {
                call,
                end,
                after_ms,
            } => {
                let after = Duration::from_millis(after_ms);
                let ended = Some((end, after, clock::now()));
                self.call(&call).send_modify(|seen| seen.ended = ended);
            }
        }
    }
}

async fn read_reports(read: OwnedReadHalf, board: &Board) -> Result<()> {
    let mut lines = Lines::new(read);
    while let Some(report) = lines.next().await? {
        board.take(report);
    }
    Ok(())
}
