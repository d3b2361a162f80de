//! The latest changes of the registry, kept for those who watch it and are a little behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grpcrouter_core::registry::Change;
use grpcrouter_proto::v1::Instance;
use prost::Message;
use tokio::sync::watch;

/// Changes that are kept at most: a burst in which a watcher is not scheduled.
const CHANGES_MAX: usize = 1_024;

/// What they may take together, in bytes. 4 MiB: the largest number of instances of 4 KiB, which is more
/// than most have; of the largest that can register, about 180 KiB as counted here, 23.
const SIZE_MAX: usize = 4 << 20;

/// What a text takes beside its bytes: its `String`, and the heap's own.
const TEXT: usize = 64;

/// The latest changes. Nothing is kept while nobody watches.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    kept: Mutex<Kept>,
    /// Of the latest change, kept or not.
    revision: watch::Sender<u64>,
}

/// Changes with their sizes, one revision after the other.
#[derive(Debug, Default)]
struct Kept {
    changes: VecDeque<(Change, usize)>,
    size: usize,
    watchers: usize,
}

/// One who watches. The changes that it has not fetched are kept, up to the limits.
#[derive(Debug)]
pub(super) struct Watcher {
    backlog: Arc<Backlog>,
    /// The revision that was fetched last.
    seen: u64,
    revision: watch::Receiver<u64>,
}

/// A watcher fell this many changes behind what is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind(pub(super) u64);

impl Backlog {
    /// Adds the next change.
    pub(super) fn push(&self, change: Change) {
        let revision = change.revision;
        self.lock().push(change);
        self.revision.send_replace(revision);
    }

    /// Who wants to know that something changed, not what.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// A watcher of the changes after the latest.
    pub(super) fn watch(self: &Arc<Self>) -> Watcher {
        let revision = self.revision.subscribe();
        self.lock().watchers += 1;
        let seen = *revision.borrow();
        Watcher {
            backlog: self.clone(),
            seen,
            revision,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, change: Change) {
        if self.watchers == 0 {
            return;
        }
        let size = size(&change.instance);
        self.size += size;
        self.changes.push_back((change, size));
        // The latest stays, however large: by it a watcher knows that it is behind.
        while self.changes.len() > 1 && (self.changes.len() > CHANGES_MAX || self.size > SIZE_MAX) {
            self.size -= self.changes.pop_front().map_or(0, |(_, size)| size);
        }
    }

    /// The change after a revision, if there is one.
    fn after(&self, seen: u64) -> Result<Option<Change>, Behind> {
        let Some((first, _)) = self.changes.front() else {
            return Ok(None);
        };
        let Some(place) = (seen + 1).checked_sub(first.revision) else {
            return Err(Behind(first.revision - seen - 1));
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        Ok(self.changes.get(place).map(|(change, _)| change.clone()))
    }
}

impl Watcher {
    /// The next change, in order and without a gap. Nothing is lost when this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Change, Behind> {
        loop {
            self.revision.borrow_and_update();
            let found = self.backlog.lock().after(self.seen)?;
            if let Some(change) = found {
                self.seen = change.revision;
                return Ok(change);
            }
            let changed = self.revision.changed().await;
            changed.expect("the backlog has the sender");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut kept = self.backlog.lock();
        kept.watchers -= 1;
        if kept.watchers == 0 {
            *kept = Kept::default();
        }
    }
}

/// What an instance takes, roughly.
fn size(instance: &Instance) -> usize {
    let texts = 2 + instance.services.len() + instance.keys.len() + 2 * instance.labels.len();
    instance.encoded_len() + TEXT * texts
}

#[cfg(test)]
mod tests {
    use grpcrouter_core::registry::ChangeKind;

    use super::*;

    fn change(revision: u64, version: usize) -> Change {
        Change {
            kind: ChangeKind::Updated,
            instance: Arc::new(Instance {
                version: "v".repeat(version),
                ..Instance::default()
            }),
            revision,
        }
    }

    fn push(backlog: &Backlog, revisions: std::ops::RangeInclusive<u64>, version: usize) {
        for revision in revisions {
            backlog.push(change(revision, version));
        }
    }

    #[tokio::test]
    async fn a_watcher_gets_every_change_since_it_began_in_order() {
        let backlog = Arc::new(Backlog::default());
        push(&backlog, 1..=3, 0);
        let mut early = backlog.watch();
        push(&backlog, 4..=5, 0);
        let mut late = backlog.watch();
        push(&backlog, 6..=7, 0);
        for revision in 4..=7 {
            assert_eq!(early.next().await, Ok(change(revision, 0)));
        }
        assert_eq!(late.next().await, Ok(change(6, 0)));
        assert_eq!(late.next().await, Ok(change(7, 0)));
        let more = async { push(&backlog, 8..=8, 0) };
        let (next, ()) = tokio::join!(early.next(), more);
        assert_eq!(next, Ok(change(8, 0)));
    }

    #[tokio::test]
    async fn a_watcher_that_stands_still_is_cut_off_by_number_and_by_bytes() {
        const LARGE: usize = 64 << 10;
        let backlog = Arc::new(Backlog::default());
        let mut still = backlog.watch();
        push(&backlog, 1..=1_024, 1);
        assert_eq!(still.next().await, Ok(change(1, 1)));
        push(&backlog, 1_025..=1_030, 1);
        assert_eq!(still.next().await, Err(Behind(5)), "2 to 6 are gone");

        push(&backlog, 1_031..=2_054, LARGE);
        let kept = backlog.lock();
        let count = kept.changes.len();
        assert!((60..=64).contains(&count), "4 MiB of 64 KiB: {count}");
        assert!(kept.size <= SIZE_MAX, "{}", kept.size);
    }

    #[test]
    fn nothing_is_kept_for_those_who_watch_the_revision_alone() {
        let backlog = Arc::new(Backlog::default());
        let revisions = backlog.revisions();
        push(&backlog, 1..=9, 1);
        assert_eq!(*revisions.borrow(), 9);
        assert!(backlog.lock().changes.is_empty());
        let watcher = backlog.watch();
        push(&backlog, 10..=12, 1);
        assert_eq!(backlog.lock().changes.len(), 3);
        drop(watcher);
        assert!(backlog.lock().changes.is_empty());
    }
}
