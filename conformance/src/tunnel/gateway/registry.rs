//! Which instances there are, and which gets a call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grpcrouter_proto::v1::Epoch;

use super::peer::Peer;
use super::settings::Settings;

/// The instances of a naive gateway.
#[derive(Debug)]
pub(super) struct Registry {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<String, Arc<Peer>>,
    /// Whose turn it is, of each service.
    turns: BTreeMap<String, usize>,
}

/// Why no instance gets a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoPeer {
    /// None is there, or none that is healthy.
    NoInstance,
    /// Some are there, and none has declared the service.
    UnknownService,
    /// The only ones drain.
    Draining,
}

/// What became of a registration.
pub(super) enum Entered {
    First,
    /// It replaces this one.
    Replaces(Arc<Peer>),
    /// One with the same or a higher epoch is here.
    Stale,
}

impl Registry {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn len(&self) -> usize {
        self.lock().peers.len()
    }

    pub(super) fn calls_open(&self) -> usize {
        self.lock()
            .peers
            .values()
            .map(|peer| peer.calls_open())
            .sum()
    }

    pub(super) fn by_id(&self, id: &str) -> Option<Arc<Peer>> {
        self.lock().peers.get(id).cloned()
    }

    pub(super) fn enter(&self, peer: &Arc<Peer>) -> Entered {
        let mut state = self.lock();
        let id = &peer.info.instance_id;
        if let Some(old) = state.peers.get(id)
            && age(peer.info.epoch) <= age(old.info.epoch)
        {
            return Entered::Stale;
        }
        match state.peers.insert(id.clone(), peer.clone()) {
            Some(old) => Entered::Replaces(old),
            None => Entered::First,
        }
    }

    /// A tunnel is over. Its id may belong to another one already.
    pub(super) fn leave(&self, peer: &Arc<Peer>) {
        let mut state = self.lock();
        let id = &peer.info.instance_id;
        if state
            .peers
            .get(id)
            .is_some_and(|own| Arc::ptr_eq(own, peer))
        {
            state.peers.remove(id);
        }
    }

    /// Who gets a call of this service: the instance that was asked for, or who is next; not `but`.
    pub(super) fn pick(
        &self,
        service: &str,
        id: Option<&str>,
        but: Option<&Arc<Peer>>,
    ) -> Result<Arc<Peer>, NoPeer> {
        let mut state = self.lock();
        let asked = |peer: &&Arc<Peer>| id.is_none_or(|id| peer.info.instance_id == id);
        let of = |name: &str| -> Vec<Arc<Peer>> {
            let peers = state.peers.values().filter(asked);
            peers.filter(|peer| peer.declares(name)).cloned().collect()
        };
        let mut all = of(service);
        if all.is_empty() {
            all = of("*");
        }
        if all.is_empty() {
            let declared = id.is_none() && state.peers.values().any(|peer| !peer.declares("*"));
            return Err(match declared {
                true => NoPeer::UnknownService,
                false => NoPeer::NoInstance,
            });
        }
        let healthy = |peer: &&Arc<Peer>| peer.is_healthy(service);
        let usable: Vec<_> = all.iter().filter(healthy).collect();
        let takes = |peer: &&Arc<Peer>| {
            !peer.is_draining() && but.is_none_or(|but| !Arc::ptr_eq(but, peer))
        };
        let open: Vec<_> = usable.iter().copied().filter(takes).collect();
        if open.is_empty() {
            return Err(match usable.iter().any(|peer| peer.is_draining()) {
                true => NoPeer::Draining,
                false => NoPeer::NoInstance,
            });
        }
        let turn = state.turns.entry(service.to_owned()).or_default();
        if but.is_none() {
            *turn = turn.wrapping_add(1);
        }
        Ok(open[*turn % open.len()].clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn age(epoch: Option<Epoch>) -> (u64, u64) {
    let epoch = epoch.unwrap_or_default();
    (epoch.started_us, epoch.attempt)
}
