//! Listeners: connections in, within limits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use crate::flag::raised;
use crate::net::Listener;

use super::{Shared, connection};

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    Clients,
    Tunnels,
    Both,
}

impl Serves {
    pub(super) fn clients(self) -> bool {
        self != Self::Tunnels
    }

    pub(super) fn tunnels(self) -> bool {
        self != Self::Clients
    }
}

/// After a failed accept, such as too many open files, the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections in until the gateway drains.
pub(super) async fn serve(shared: Arc<Shared>, mut listener: impl Listener, serves: Serves) {
    let mut drain = shared.drain.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            () = raised(&mut drain) => return,
            accepted = listener.accept() => accepted,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("cannot take a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let config = &shared.config;
        // Clients often share an address, behind a proxy; only instances are counted by it.
        let per_ip = match serves {
            Serves::Tunnels => config.max_connections_per_ip,
            Serves::Clients | Serves::Both => config.max_connections,
        };
        let seats = shared.seats.of(serves);
        let Some(seat) = seats.take(peer.ip(), config.max_connections, per_ip) else {
            debug!(%peer, "connection refused: the port has as many as it may");
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let _seat = seat;
            let _open = shared.gauges.connections.enter();
            if let Err(error) = connection::serve(&shared, io, serves).await {
                debug!(%peer, "connection ended: {error}");
            }
        });
    }
}

/// Who is connected, whatever shard or port of a kind took them in.
#[derive(Debug, Default)]
pub(super) struct Seats {
    clients: Arc<Row>,
    tunnels: Arc<Row>,
    both: Arc<Row>,
}

impl Seats {
    fn of(&self, serves: Serves) -> &Arc<Row> {
        match serves {
            Serves::Clients => &self.clients,
            Serves::Tunnels => &self.tunnels,
            Serves::Both => &self.both,
        }
    }
}

/// Who is connected to the ports of one kind, by address.
#[derive(Debug, Default)]
struct Row {
    taken: Mutex<(usize, BTreeMap<IpAddr, usize>)>,
}

#[derive(Debug)]
struct Seat {
    row: Arc<Row>,
    ip: IpAddr,
}

impl Row {
    fn take(self: &Arc<Self>, ip: IpAddr, max: usize, max_per_ip: usize) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, by_ip) = &mut *taken;
        if *total >= max || by_ip.get(&ip).is_some_and(|n| *n >= max_per_ip) {
            return None;
        }
        *total += 1;
        *by_ip.entry(ip).or_default() += 1;
        Some(Seat {
            row: self.clone(),
            ip,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self
            .row
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (total, by_ip) = &mut *taken;
        *total -= 1;
        if let Some(n) = by_ip.get_mut(&self.ip) {
            *n -= 1;
            if *n == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}
