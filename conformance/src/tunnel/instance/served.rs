//! An instance that serves by itself, and what a case can do to it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use grpcrouter_proto::v1::{InstanceInfo, RegistrationAck, ServiceInfo};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service;

use super::Tunnel;
use super::body::IncomingBody;
use super::calls::Calls;
use super::driver::{Drain, Driver};
use crate::tunnel::lane::lane;
use crate::tunnel::stream::{StreamEnd, abort};
use crate::tunnel::tap::Tap;
use crate::wait::{LIMIT, within};

/// Breaches that are kept. The first ones tell.
const BREACHES: usize = 1_024;

/// How long the end of a stream may take to reach the transport.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Orders that wait.
const ORDERS: usize = 16;

/// Registers at a gateway and serves until the tunnel ends. It does not dial again: a case does, with its next
/// epoch.
///
/// A response's trailers carry `grpc-status`, `grpc-message` and `grpc-status-details-bin`; a response whose body is
/// empty and whose headers carry `grpc-status` is a trailers-only answer. An error of the service or of its body
/// resets the call, and so does a panic.
///
/// # Errors
/// Where it is not registered.
pub async fn serve<S, B>(addr: SocketAddr, info: InstanceInfo, service: S) -> Result<ServedInstance>
where
    S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Display + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display + Send,
{
    let mut tunnel = Tunnel::dial(addr).await?;
    let ack = tunnel.register(info.clone()).await?;
    let connection = tunnel.connection.clone();
    let (orders, received) = mpsc::channel(ORDERS);
    let (ended, end) = watch::channel(None);
    let shared = Arc::new(Shared {
        tap: tunnel.tap.clone(),
        calls_open: watch::Sender::new(0),
        breaches: Mutex::default(),
    });
    let (lane, writer) = lane(tunnel.outbound, shared.tap.clone());
    let driver = Driver {
        inbound: tunnel.inbound,
        lane,
        service,
        info: info.clone(),
        ack: ack.clone(),
        orders: received,
        shared: shared.clone(),
        calls: Calls::default(),
        tasks: JoinSet::new(),
        drain: Drain::No,
    };
    let socket = connection.clone();
    let driver = tokio::spawn(async move {
        let writer = tokio::spawn(writer);
        ended.send_replace(Some(driver.run().await));
        // The last words go out; a gateway that does not take them is left.
        if tokio::time::timeout(LAST_WORDS, writer).await.is_err() {
            socket.abort();
        }
    });
    Ok(ServedInstance {
        id: info.instance_id,
        ack,
        tap: shared.tap.clone(),
        shared,
        orders,
        end,
        connection,
        driver: driver.abort_handle(),
    })
}

/// An instance that serves. Dropping it ends its tunnel and its calls.
#[derive(Debug)]
pub struct ServedInstance {
    /// Its instance id.
    pub id: String,
    /// What the gateway answered to its registration.
    pub ack: RegistrationAck,
    /// What it said and heard.
    pub tap: Tap,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    end: watch::Receiver<Option<StreamEnd>>,
    connection: AbortHandle,
    driver: AbortHandle,
}

/// What a driver shares with its handle.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tap: Tap,
    calls_open: watch::Sender<usize>,
    breaches: Mutex<Vec<&'static str>>,
}

/// What a case wants of an instance.
#[derive(Debug)]
pub(super) enum Order {
    Drain,
    Health(Vec<ServiceInfo>),
}

impl ServedInstance {
    /// Begins to drain: it unregisters, finishes its calls and half-closes the tunnel.
    ///
    /// # Errors
    /// Where the tunnel is over.
    pub async fn drain(&self) -> Result<()> {
        let order = self.orders.send(Order::Drain).await;
        order.ok().context("the tunnel is over")
    }

    /// Reports health that has changed.
    ///
    /// # Errors
    /// Where the tunnel is over.
    pub async fn health(&self, services: Vec<ServiceInfo>) -> Result<()> {
        let order = self.orders.send(Order::Health(services)).await;
        order.ok().context("the tunnel is over")
    }

    /// Drops its connection without a word, and its handlers with it, as a process that is killed.
    ///
    /// # Errors
    /// Where the connection does not go.
    pub async fn kill(self) -> Result<()> {
        abort(&self.connection).await?;
        self.driver.abort();
        Ok(())
    }

    /// Calls that run.
    pub fn calls_open(&self) -> usize {
        *self.shared.calls_open.borrow()
    }

    /// Waits until so many calls run.
    ///
    /// # Errors
    /// Where that does not happen.
    pub async fn calls(&self, count: usize) -> Result<()> {
        let mut open = self.shared.calls_open.subscribe();
        let what = format!("{count} open calls at {}", self.id);
        within(&what, LIMIT, open.wait_for(|open| *open == count)).await??;
        Ok(())
    }

    /// Rules of a call's that the gateway has broken, in words.
    pub fn breaches(&self) -> Vec<&'static str> {
        let breaches = self.shared.breaches.lock();
        breaches.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the tunnel has ended: how.
    ///
    /// # Errors
    /// Where it lives on.
    pub async fn ended(&self) -> Result<StreamEnd> {
        let mut end = self.end.clone();
        let ended = within("end of the tunnel", LIMIT, end.wait_for(Option::is_some)).await?;
        ended?.clone().context("the end was waited for")
    }
}

impl Drop for ServedInstance {
    fn drop(&mut self) {
        self.connection.abort();
        self.driver.abort();
    }
}

impl Shared {
    pub(super) fn open(&self, calls: usize) {
        self.calls_open.send_replace(calls);
    }

    pub(super) fn breach(&self, what: &'static str) {
        let mut breaches = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        if breaches.len() < BREACHES {
            breaches.push(what);
        }
    }
}
