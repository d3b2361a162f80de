//! One call at a well-behaved end: what came for it, and credit both ways.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// A call's state, shared by who reads the tunnel and who runs the call. `I` comes in order and is held back by
/// credit; `E` is how it ends.
#[derive(Debug)]
pub(super) struct Flow<I, E> {
    state: Mutex<State<I, E>>,
    changed: Notify,
    over: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State<I, E> {
    queue: VecDeque<I>,
    /// Comes behind the queue.
    end: Option<E>,
    /// Comes at once.
    cut: Option<E>,
    /// What may be sent, in bytes of data.
    credit: u64,
    /// What the peer may still send.
    allowance: i64,
    /// What was taken and not granted again.
    taken: u64,
    reader: Option<Waker>,
}

impl<I, E: Clone> Flow<I, E> {
    /// With the credit that the peer gives, and that the peer is given.
    pub(super) fn new(credit: u32, allowance: u32) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                end: None,
                cut: None,
                credit: credit.into(),
                allowance: allowance.into(),
                taken: 0,
                reader: None,
            }),
            changed: Notify::new(),
            over: Arc::default(),
        }
    }

    /// Set once the peer has ended the call: nothing more is sent for it.
    pub(super) fn over(&self) -> &Arc<AtomicBool> {
        &self.over
    }

    pub(super) fn push(&self, item: I) {
        self.change(|state| state.queue.push_back(item));
    }

    /// The peer spends credit: whether it had so much.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        state.allowance -= i64::try_from(bytes).unwrap_or(i64::MAX);
        state.allowance >= 0
    }

    /// Nothing comes behind what has come.
    pub(super) fn end(&self, end: E) {
        self.change(|state| state.end = Some(end));
    }

    /// The call ends at once; what waits is dropped.
    pub(super) fn cut(&self, end: E) {
        self.change(|state| {
            state.queue.clear();
            state.cut.get_or_insert(end);
        });
    }

    /// The peer has ended the call: frames of it that wait for the transport are dropped.
    pub(super) fn silence(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn grant(&self, bytes: u32) {
        self.change(|state| state.credit += u64::from(bytes));
    }

    /// Waits for credit, and takes at most so much of it.
    pub(super) async fn credit(&self, most: usize) -> usize {
        self.when(|state| {
            let some = state.credit.min(most as u64);
            state.credit -= some;
            (some > 0).then_some(some as usize)
        })
        .await
    }

    /// Bytes have left for the next hop.
    pub(super) fn took(&self, bytes: usize) {
        self.change(|state| state.taken += bytes as u64);
    }

    /// Waits until a grant is due, at half of the window, and makes it.
    pub(super) async fn due(&self, window: u32) -> u32 {
        self.when(|state| {
            let due = state.taken >= u64::from((window / 2).max(1));
            let grant = u32::try_from(state.taken).unwrap_or(u32::MAX);
            due.then(|| {
                state.taken -= u64::from(grant);
                state.allowance += i64::from(grant);
                grant
            })
        })
        .await
    }

    /// The next item, or how it ended.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<I, E>> {
        let mut state = self.lock();
        if let Some(cut) = &state.cut {
            return Poll::Ready(Err(cut.clone()));
        }
        if let Some(item) = state.queue.pop_front() {
            return Poll::Ready(Ok(item));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.clone()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nothing waits, and nothing comes.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.cut.is_none() && state.queue.is_empty() && state.end.is_some()
    }

    /// Waits until the call is cut: by what.
    pub(super) async fn when_cut(&self) -> E {
        self.when(|state| state.cut.clone()).await
    }

    async fn when<T>(&self, mut look: impl FnMut(&mut State<I, E>) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State<I, E>)) {
        let mut state = self.lock();
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State<I, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
