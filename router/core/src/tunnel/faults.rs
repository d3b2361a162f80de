//! How much of a peer's misbehaviour a tunnel bears.

use std::time::Duration;

use crate::error::TunnelError;
use crate::time::Time;

/// Breaches within a minute that end the tunnel.
const BREACHES_MAX: u32 = 64;
const PERIOD: Duration = Duration::from_secs(60);

/// Counts breaches of calls' rules, frames long after a call's end among them.
#[derive(Debug, Default)]
pub(super) struct Faults {
    since: Time,
    breaches: u32,
}

impl Faults {
    /// The peer broke a rule of a call.
    pub(super) fn breach(&mut self, now: Time) -> Result<(), TunnelError> {
        if now - self.since >= PERIOD {
            *self = Self {
                since: now,
                breaches: 0,
            };
        }
        self.breaches += 1;
        if self.breaches >= BREACHES_MAX {
            return Err(TunnelError::TooManyBreaches(self.breaches));
        }
        Ok(())
    }
}
