//! The suite's end: takes what instances report, and gives out what is seen of each call.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::delivery::{Board, InstanceState, Local, To};
use super::reporter::Reporter;
use super::watched::{Missed, Watched};
use super::{Do, Event, LINE_MAX};
use crate::wait::hurried;

/// Lines to one instance that wait to be written: more than any case releases at once.
pub(super) const COMMANDS: usize = 1 << 15;
/// How long a wait takes at most, where nothing else is said.
const LIMIT: Duration = Duration::from_secs(30);

/// The suite's end of all side channels. It ends with its value.
#[derive(Debug)]
pub struct Side {
    addr: SocketAddr,
    board: Arc<Board>,
    limit: Duration,
    task: JoinHandle<()>,
}

impl Side {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn listen() -> io::Result<Self> {
        Self::listen_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Listens on a free port of this address, which instances can reach.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn listen_at(addr: IpAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((addr, 0)).await?;
        let addr = listener.local_addr()?;
        let board = Arc::new(Board::default());
        let boarded = board.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(socket, boarded.clone()));
            }
        });
        Ok(Self {
            addr,
            board,
            limit: hurried(LIMIT),
            task,
        })
    }

    /// The same with another limit for waits; 30 s without.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Where instances dial it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The call of this name, also before anything is known of it.
    pub fn call(&self, name: &str) -> Watched {
        Watched::new(name, self.board.clone(), self.limit)
    }

    /// An end for handlers in this process, which are an instance of this id: nothing lies between.
    pub fn reporter(&self, instance: &str) -> Reporter {
        let origin = self.board.origin(instance);
        let local = Local {
            origin: origin.clone(),
            board: self.board.clone(),
        };
        let reporter = Reporter::new(Box::new(local));
        self.board.joined(&origin, To::Local(reporter.clone()));
        reporter
    }

    /// Waits until an instance of this id has said hello.
    pub async fn hello(&self, instance: &str) -> Result<(), Missed> {
        self.hellos(instance, 1).await
    }

    /// How many processes have said hello under this id so far.
    pub fn said_hello(&self, instance: &str) -> usize {
        let instances = self.board.instances.borrow();
        instances.get(instance).map_or(0, |state| state.hellos)
    }

    /// Waits until so many processes have said hello under this id.
    pub async fn hellos(&self, instance: &str, n: usize) -> Result<(), Missed> {
        let what = format!("hello {n} times");
        let said = |state: &InstanceState| (state.hellos >= n).then_some(());
        self.instance(instance, &what, said).await
    }

    /// Waits until that instance has begun to drain.
    pub async fn draining(&self, instance: &str) -> Result<(), Missed> {
        let draining = |state: &InstanceState| state.draining.then_some(());
        self.instance(instance, "draining", draining).await
    }

    /// Waits for the code that that instance is about to exit with.
    pub async fn ended(&self, instance: &str) -> Result<i32, Missed> {
        self.instance(instance, "its end", |state| state.ended)
            .await
    }

    /// Waits until that instance's channel is closed.
    pub async fn closed(&self, instance: &str) -> Result<(), Missed> {
        let closed = |state: &InstanceState| state.is_closed.then_some(());
        self.instance(instance, "its channel to close", closed)
            .await
    }

    /// Asks an instance to drain. Nothing, where there is none.
    pub fn drain(&self, instance: &str) {
        self.board.send(Some(instance), &Do::Drain);
    }

    /// What instances did against the protocol of the side channel, each with its name.
    pub fn faults(&self) -> Vec<String> {
        self.board.faults()
    }

    async fn instance<T>(
        &self,
        id: &str,
        what: &str,
        seen: impl Fn(&InstanceState) -> Option<T>,
    ) -> Result<T, Missed> {
        let of = |states: &BTreeMap<String, InstanceState>| seen(states.get(id)?);
        let found = self
            .board
            .until(&self.board.instances, self.limit, of)
            .await;
        found.map_err(|faults| Missed {
            of: format!("instance {id}"),
            what: what.to_owned(),
            limit: self.limit,
            seen: format!("{:?}", self.board.instances.borrow().get(id)),
            faults,
        })
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One instance's channel to its end.
async fn serve(socket: TcpStream, board: Arc<Board>) {
    let _ = socket.set_nodelay(true);
    let peer = socket.peer_addr();
    let (read, mut write) = socket.into_split();
    let (commands, mut orders) = mpsc::channel::<Vec<u8>>(COMMANDS);
    let mut reading = Reading {
        lines: BufReader::new(read).take(0),
        line: Vec::new(),
        name: peer.map_or_else(|_| "?".to_owned(), |peer| peer.to_string()),
    };
    let hello = match reading.event().await {
        Ok(Some(Event::Hello { instance })) => instance,
        Ok(Some(other)) => return board.fault(reading.fault(&format!("{other:?} before hello"))),
        Ok(None) => return,
        Err(fault) => return board.fault(fault),
    };
    let origin = board.origin(&hello);
    board.joined(&origin, To::Socket(commands));
    reading.name = hello;
    let read = async {
        while let Some(event) = reading.event().await? {
            let delivered = board.deliver(&origin, event);
            delivered.map_err(|wrong| reading.fault(&wrong))?;
        }
        Ok(())
    };
    let written = async {
        while let Some(line) = orders.recv().await {
            if write.write_all(&line).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(read, written);
    let ended = tokio::select! {
        biased;
        ended = &mut read => ended,
        // A channel that cannot be written to is read to its end all the same.
        () = &mut written => read.await,
    };
    if let Err(fault) = ended {
        board.fault(fault);
    }
    board.left(&origin);
}

struct Reading<R> {
    lines: tokio::io::Take<BufReader<R>>,
    line: Vec<u8>,
    /// Who it is.
    name: String,
}

impl<R: tokio::io::AsyncRead + Unpin> Reading<R> {
    /// The next event; none at the end, where a process that was killed may leave half a line.
    async fn event(&mut self) -> Result<Option<Event>, String> {
        self.line.clear();
        self.lines.set_limit(LINE_MAX as u64);
        match self.lines.read_until(b'\n', &mut self.line).await {
            Ok(n) if n == LINE_MAX && !self.line.ends_with(b"\n") => {
                Err(self.fault(&format!("a line longer than {LINE_MAX} bytes")))
            }
            Ok(_) if self.line.ends_with(b"\n") => {
                let event = serde_json::from_slice(&self.line);
                event.map(Some).map_err(|error| {
                    let line: String = String::from_utf8_lossy(&self.line)
                        .chars()
                        .take(200)
                        .collect();
                    self.fault(&format!("no line of the protocol: {error}: {line}"))
                })
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn fault(&self, what: &str) -> String {
        format!("side channel of instance {}: {what}", self.name)
    }
}
