//! The client's end: it makes the calls that it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use h2::Ping;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::exchange::{self, Reports};
use super::{End, Lines, Open, Report};
use crate::client::Client;
use crate::clock;

/// Reports that wait to be written; calls wait where they are more.
const REPORTS: usize = 1_024;
/// A call may learn of its connection's end before the connection does, by no more than this.
const DYING: Duration = Duration::from_secs(1);

/// Makes calls at `gateway` as `suite` says, until the suite closes the connection. The gateway is pinged every
/// `keepalive`, and has as long to answer; then the connection is given up, and the next call opens another.
///
/// # Errors
/// Where the suite cannot be reached, or says what no suite says.
pub async fn obey(gateway: SocketAddr, suite: SocketAddr, keepalive: Duration) -> Result<()> {
    let socket = TcpStream::connect(suite).await;
    let socket = socket.with_context(|| format!("cannot reach the suite at {suite}"))?;
    socket.set_nodelay(true)?;
    let (read, write) = socket.into_split();
    let (reports, waiting) = mpsc::channel(REPORTS);
    reports.send(Report::Hello).await?;
    let mut caller = Caller {
        gateway,
        keepalive,
        reports,
        connection: None,
        calls: JoinSet::new(),
    };
    tokio::select! {
        biased;
        ended = caller.orders(read) => ended,
        written = write_reports(write, waiting) => written,
    }
}

/// A connection, and whether it was given up.
#[derive(Clone)]
struct Connection {
    client: Arc<Client>,
    lost: watch::Receiver<bool>,
}

struct Caller {
    gateway: SocketAddr,
    keepalive: Duration,
    reports: Reports,
    connection: Option<Connection>,
    calls: JoinSet<()>,
}

impl Caller {
    async fn orders(&mut self, read: OwnedReadHalf) -> Result<()> {
        let mut lines = Lines::new(read);
        while let Some(open) = lines.next().await? {
            while self.calls.try_join_next().is_some() {}
            self.open(open).await;
        }
        Ok(())
    }

    async fn open(&mut self, open: Open) {
        let begun = clock::now();
        let connected = self.connected().await;
        let reports = self.reports.clone();
        self.calls.spawn(async move {
            let end = match connected {
                Ok(connection) => call(connection, &open, &reports).await,
                Err(error) => End::Lost(format!("{error:#}")),
            };
            let after_ms = begun.elapsed().as_millis() as u64;
            let call = open.call;
            let ended = Report::Ended {
                call,
                end,
                after_ms,
            };
            // Nobody reads it where the suite is gone.
            let _ = reports.send(ended).await;
        });
    }

    /// The connection, or another one where it has ended.
    async fn connected(&mut self) -> Result<Connection> {
        if let Some(connection) = &self.connection
            && connection.client.is_alive()
            && !*connection.lost.borrow()
        {
            return Ok(connection.clone());
        }
        let mut client = Client::connect(self.gateway).await?;
        let mut pings = client.pings().context("no pings")?;
        let (tell, lost) = watch::channel(false);
        let keepalive = self.keepalive;
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(keepalive);
            loop {
                beat.tick().await;
                match tokio::time::timeout(keepalive, pings.ping(Ping::opaque())).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            tell.send_replace(true);
        });
        let client = Arc::new(client);
        let connection = Connection { client, lost };
        Ok(self.connection.insert(connection).clone())
    }
}

async fn call(connection: Connection, open: &Open, reports: &Reports) -> End {
    let Connection { client, mut lost } = connection;
    let given_up = async {
        let _ = lost.wait_for(|lost| *lost).await;
    };
    tokio::select! {
        biased;
        end = exchange::run(&client, open, reports) => match end {
            Ok(end) => end,
            Err(error) => match tokio::time::timeout(DYING, client.ended()).await {
                Ok(Ok(_)) => End::Lost(format!("{error:#}")),
                Ok(Err(_)) | Err(_) => End::Wrong(format!("{error:#}")),
            },
        },
        () = given_up => End::Lost("no answer to a ping".to_owned()),
    }
}

async fn write_reports(
    mut socket: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Report>,
) -> Result<()> {
    while let Some(report) = waiting.recv().await {
        let mut line = serde_json::to_vec(&report)?;
        line.push(b'\n');
        socket.write_all(&line).await?;
    }
    Ok(())
}
