//! How many calls run at an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The running calls of one registration, counted by all replicas of a registry that have a clone of it.
///
/// Least loaded would be wrong with less: a replica that sees its own calls alone finds an instance idle that another
/// keeps busy. Nothing else is read on the strength of the count, so its order is relaxed.
#[derive(Debug, Clone, Default)]
pub struct Running(Arc<AtomicU32>);

impl Running {
    pub(super) fn start(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed).into()
    }
}
