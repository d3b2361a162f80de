//! Connections to the upstream server.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use grpcrouter_core::sabotage::{self, Sabotage};
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, SendStream};
use http::Request;
use tokio::time::timeout;

use crate::hop::{DATA_FRAME_BUDGET, HEADER_LIST_MAX, SEND_BUFFER, UPSTREAM_WINDOW};
use crate::net::{Dialer, Target, drive, gathered};
use crate::tunnel::Payload;

/// Connections at most: as many times the server's own limit of streams may be open.
const CONNECTIONS_MAX: usize = 4;
/// Streams that the connection's window has room for, all stalled.
const STREAMS: u32 = 16 * 1024;

/// Why the server could not be called: one line.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PoolError {
    #[error("cannot connect: {0}")]
    Connect(Arc<std::io::Error>),
    #[error("does not speak HTTP/2: {0}")]
    Http2(String),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("the server's limit of streams is reached on {CONNECTIONS_MAX} connections")]
    Exhausted,
    #[error("the server closes its connections as soon as they are made")]
    Closing,
}

/// The connections that there are.
pub(super) struct Pool {
    pub(super) target: Target,
    dialer: Arc<dyn Dialer>,
    dial_timeout: Duration,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// One dial at a time: those who wait for it then use what it brought, a connection or an error.
    dialling: tokio::sync::Mutex<Option<PoolError>>,
    /// Dials that failed so far; the last one's error is in `dialling`.
    failures: AtomicUsize,
}

struct Connection {
    requests: SendRequest<Payload>,
    /// Calls that have a place.
    open: AtomicUsize,
    /// Cleared when the connection ends or takes no more calls.
    alive: Arc<AtomicBool>,
}

/// A place for one call on a connection.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Arc<Connection>,
}

/// A stream whose request is on its way.
pub(super) struct Opened {
    pub(super) lease: Lease,
    pub(super) response: ResponseFuture,
    pub(super) send: SendStream<Payload>,
}

impl Pool {
    pub(super) fn new(target: Target, dialer: Arc<dyn Dialer>, dial_timeout: Duration) -> Self {
        let connections = Mutex::new(Vec::new());
        Self {
            target,
            dialer,
            dial_timeout,
            connections,
            dialling: tokio::sync::Mutex::new(None),
            failures: AtomicUsize::new(0),
        }
    }

    /// Sends the head of a request. Connections that have died, or are about to, are found out here: as
    /// none of them saw the request, it costs nothing to go on to the next.
    pub(super) async fn open(&self, request: &Request<()>) -> Result<Opened, PoolError> {
        for _ in 0..=CONNECTIONS_MAX {
            let lease = self.lease().await?;
            let mut requests = lease.connection.requests.clone();
            let ready = poll_fn(|cx| requests.poll_ready(cx)).await;
            match ready.and_then(|()| requests.send_request(request.clone(), false)) {
                Ok((response, send)) => {
                    return Ok(Opened {
                        lease,
                        response,
                        send,
                    });
                }
                Err(_) => lease.retire(),
            }
        }
        Err(PoolError::Closing)
    }

    /// A place for a call, on a connection with room or on a new one. Never waits for room.
    async fn lease(&self) -> Result<Lease, PoolError> {
        if let Some(lease) = self.find() {
            return Ok(lease);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_error = self.dialling.lock().await;
        if let Some(lease) = self.find() {
            return Ok(lease);
        }
        // Who waited through a dial that failed does not wait through another.
        if failures != self.failures.load(Ordering::Acquire)
            && let Some(error) = &*last_error
        {
            return Err(error.clone());
        }
        if self.lock().len() >= CONNECTIONS_MAX {
            return Err(PoolError::Exhausted);
        }
        let limit = self.dial_timeout;
        let connected = timeout(limit, self.connect()).await;
        let connected = connected.unwrap_or(Err(PoolError::Timeout(limit)));
        let connection = Arc::new(connected.inspect_err(|error| {
            *last_error = Some(error.clone());
            self.failures.fetch_add(1, Ordering::AcqRel);
        })?);
        self.lock().push(connection.clone());
        Ok(Lease::new(connection))
    }

    fn find(&self) -> Option<Lease> {
        let mut connections = self.lock();
        let dead_too = sabotage::is(Sabotage::DeadConnectionKept);
        connections.retain(|connection| dead_too || connection.alive.load(Ordering::Acquire));
        let free = connections.iter().find(|connection| {
            let max = connection.requests.current_max_send_streams();
            connection.open.load(Ordering::Acquire) < max
        });
        free.cloned().map(Lease::new)
    }

    async fn connect(&self) -> Result<Connection, PoolError> {
        let dialled = self.dialer.dial(&self.target).await;
        let io = dialled.map_err(|error| PoolError::Connect(Arc::new(error)))?;
        let (io, outlet) = gathered(io, BytesMut::new());
        let (requests, mut driver) = client::Builder::new()
            .initial_window_size(UPSTREAM_WINDOW)
            .initial_connection_window_size(UPSTREAM_WINDOW * STREAMS)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEADER_LIST_MAX)
            .data_frame_budget(DATA_FRAME_BUDGET)
            .enable_push(false)
            .handshake(io)
            .await
            .map_err(|error| PoolError::Http2(error.to_string()))?;
        let pings = driver.ping_pong();
        let task = tokio::spawn(drive(driver, outlet));
        // The answer comes after the server's settings: until then its limit of streams is not known. And
        // a server that speaks something else gives none.
        if let Some(mut pings) = pings {
            let pong = pings.ping(Ping::opaque()).await;
            pong.map_err(|error| PoolError::Http2(error.to_string()))?;
        }
        let alive = Arc::new(AtomicBool::new(true));
        let connection = Connection {
            requests,
            open: AtomicUsize::new(0),
            alive: alive.clone(),
        };
        tokio::spawn(async move {
            if let Ok(Err(error)) = task.await {
                tracing::debug!("connection to the upstream ended: {error}");
            }
            alive.store(false, Ordering::Release);
        });
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn new(connection: Arc<Connection>) -> Self {
        connection.open.fetch_add(1, Ordering::AcqRel);
        Self { connection }
    }

    /// A call ended with this: unless it concerns that call alone, the next one gets another connection.
    pub(super) fn retire_after(&self, error: &h2::Error) {
        if !error.is_reset() {
            self.retire();
        }
    }

    /// The connection takes no more calls: the next one gets another.
    pub(super) fn retire(&self) {
        self.connection.alive.store(false, Ordering::Release);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let connections = self.lock().len();
        f.debug_struct("Pool")
            .field("target", &self.target)
            .field("connections", &connections)
            .finish()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
