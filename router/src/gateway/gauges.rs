//! What is open now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of what a gateway has open. They return to zero when nobody uses it.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Calls of clients.
    pub calls: Gauge,
    /// Tunnels of instances, registered or about to be.
    pub tunnels: Gauge,
    /// Connections on all ports.
    pub connections: Gauge,
}

/// A count of what is open.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Gauge {
    /// The count.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.0.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
