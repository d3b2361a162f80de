//! What tunnels have counted: those that are there, and those that were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grpcrouter_core::tunnel::Meters;

use super::Metrics;
use crate::gateway::directory::TunnelLink;

/// The tunnels of a gateway. Its lock is taken before a tunnel's, when one comes, when one goes, and to add up.
#[derive(Debug, Default)]
pub(in crate::gateway) struct TunnelLedger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    open: BTreeMap<u64, TunnelLink>,
    /// Tunnels that there have been.
    opened: u64,
    /// What those counted that are gone.
    gone: Meters,
    registrations: u64,
    reconnects: u64,
    /// By reasons of our own, of which there are few.
    refused: BTreeMap<&'static str, u64>,
}

/// A tunnel that is asked for its figures until this is dropped.
#[derive(Debug)]
pub(in crate::gateway) struct Entered {
    ledger: Arc<TunnelLedger>,
    number: u64,
}

impl TunnelLedger {
    /// A tunnel begins.
    pub(in crate::gateway) fn enter(self: &Arc<Self>, link: &TunnelLink) -> Entered {
        let mut entries = self.lock();
        let number = entries.opened;
        entries.opened += 1;
        entries.open.insert(number, link.clone());
        Entered {
            ledger: self.clone(),
            number,
        }
    }

    /// An instance registered: at its process's first attempt, or at a later one.
    pub(in crate::gateway) fn registered(&self, again: bool) {
        let mut entries = self.lock();
        if again {
            entries.reconnects += 1;
        } else {
            entries.registrations += 1;
        }
    }

    /// A registration was refused.
    pub(in crate::gateway) fn refused(&self, reason: &'static str) {
        *self.lock().refused.entry(reason).or_default() += 1;
    }

    pub(super) fn add_to(&self, metrics: &mut Metrics) {
        // Held throughout: a tunnel that went meanwhile would be counted twice, or not at all.
        let entries = self.lock();
        let mut sum = entries.gone.clone();
        for link in entries.open.values() {
            let (meters, (to_send, to_take)) =
                link.with(|tunnel, _| (tunnel.meters().clone(), tunnel.waiting_bytes()));
            sum += &meters;
            metrics.request_queue_bytes += to_send;
            metrics.response_queue_bytes += to_take;
        }
        metrics.set_meters(&sum);
        metrics.registrations = entries.registrations;
        metrics.reconnects = entries.reconnects;
        metrics.refused_registrations.clone_from(&entries.refused);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut entries = self.ledger.lock();
        if let Some(link) = entries.open.remove(&self.number) {
            let meters = link.with(|tunnel, _| tunnel.meters().clone());
            entries.gone += &meters;
        }
    }
}
