//! What changed in the registry, in order, for those who watch it.

use std::collections::VecDeque;
use std::sync::Arc;

use grpcrouter_proto::v1::{Instance, InstanceEvent, instance_event};

/// One change of the registry. Each has the revision after the one before, without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The instance as it now is; for [`ChangeKind::Removed`], as it last was.
    ///
    /// Shared, since each watcher gets the change, and few of them need its content.
    pub instance: Arc<Instance>,
    /// The registry's revision after this change.
    pub revision: u64,
}

/// What happened to an instance.
///
/// A replacement by a higher epoch is a removal and then an addition, for the successor may offer
/// other services; an update never changes which services are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It registered.
    Added,
    /// Its health changed or it began to drain.
    Updated,
    /// It is gone.
    Removed,
}

impl From<Change> for InstanceEvent {
    fn from(change: Change) -> Self {
        let kind = match change.kind {
            ChangeKind::Added => instance_event::Kind::Added,
            ChangeKind::Updated => instance_event::Kind::Updated,
            ChangeKind::Removed => instance_event::Kind::Removed,
        };
        Self {
            kind: kind.into(),
            instance: Some(Arc::unwrap_or_clone(change.instance)),
            revision: change.revision,
        }
    }
}

/// The revision, and the changes that nobody fetched yet.
#[derive(Debug)]
pub(super) struct ChangeLog {
    revision: u64,
    pending: VecDeque<Change>,
    limit: usize,
}

impl ChangeLog {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            revision: 0,
            pending: VecDeque::new(),
            limit,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn push(&mut self, kind: ChangeKind, instance: Instance) {
        self.revision += 1;
        if self.pending.len() >= self.limit {
            self.pending.pop_front();
        }
        self.pending.push_back(Change {
            kind,
            instance: Arc::new(instance),
            revision: self.revision,
        });
    }

    pub(super) fn poll(&mut self) -> Option<Change> {
        self.pending.pop_front()
    }
}
