//! What both edges of a call do.

use std::time::Duration;

use crate::plan::{CallPlan, Kind};

/// A call to be made. Without more said, client 0 makes it, it goes to any instance, carries one message of
/// 100 bytes each way, and its handler answers when it has read the request.
#[derive(Debug, Clone)]
pub struct Call(CallPlan);

impl Call {
    /// A call of this kind.
    pub fn new(kind: Kind) -> Self {
        Self(CallPlan {
            kind,
            pinned: None,
            ..CallPlan::small(0, 0)
        })
    }

    /// With messages of these sizes in its request.
    #[must_use]
    pub fn of(mut self, sizes: &[u32]) -> Self {
        self.0.request = sizes.into();
        self
    }

    /// With messages of these sizes in its response.
    #[must_use]
    pub fn answered(mut self, sizes: &[u32]) -> Self {
        self.0.response = sizes.into();
        self
    }

    /// The handler gives back each message as it comes.
    #[must_use]
    pub fn echoed(mut self) -> Self {
        self.0.response = self.0.request.clone();
        self.0.handler.echoes = true;
        self
    }

    /// Made by this client.
    #[must_use]
    pub fn by_client(mut self, client: usize) -> Self {
        self.0.client = client;
        self
    }

    /// For this instance, and no other.
    #[must_use]
    pub fn to_instance(mut self, instance: usize) -> Self {
        self.0.pinned = Some(instance);
        self
    }

    /// With a key in the header `x-key`.
    #[must_use]
    pub fn keyed(mut self, key: &str) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// So long between messages of the request.
    #[must_use]
    pub fn every(mut self, gap: Duration) -> Self {
        self.0.gap = gap;
        self
    }

    /// Each side sends on only when what it sent before is delivered.
    #[must_use]
    pub fn in_lock_step(mut self) -> Self {
        self.0.lock_step = true;
        self
    }

    /// It ends so long after it began, at the latest.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// The handler does nothing for so long.
    #[must_use]
    pub fn handler_stalls(mut self, stall: Duration) -> Self {
        self.0.handler.stall = stall;
        self
    }

    /// The handler pauses so long after every so many bytes.
    #[must_use]
    pub fn handler_pauses(mut self, bytes: usize, pause: Duration) -> Self {
        (self.0.handler.take, self.0.handler.pause) = (bytes, pause);
        self
    }

    /// The client reads nothing of the response for so long.
    #[must_use]
    pub fn reader_stalls(mut self, stall: Duration) -> Self {
        self.0.reader_stall = stall;
        self
    }

    pub(super) fn into_plan(self) -> CallPlan {
        self.0
    }
}
