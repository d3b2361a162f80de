//! Whether what happens now is measured.

use std::sync::atomic::{AtomicU8, Ordering};

/// Opened and shut by the one who measures, looked at by every worker. All are on one thread.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

const MEASURED: u8 = 1;
const OVER: u8 = 2;

impl Gate {
    /// From now on what ends is counted.
    pub(super) fn measure(&self) {
        self.0.store(MEASURED, Ordering::Relaxed);
    }

    /// From now on nothing is counted or begun.
    pub(super) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURED
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }
}
