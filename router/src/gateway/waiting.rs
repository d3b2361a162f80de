//! Calls that wait for an instance, because their client asked for that.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use grpcrouter_core::Time;
use grpcrouter_core::registry::{PickError, Picked, Wanted};
use tokio::sync::{Semaphore, watch};

use crate::flag::raised;
use crate::status::{Code, GatewayStatus, Reason};

use super::Shared;
use super::directory::TunnelLink;
use super::inflow::{Cut, Inflow, Source};
use super::open::Failure;

/// How many calls may wait at once.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    limit: usize,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(limit),
            limit,
        }
    }

    /// How many wait now.
    pub(super) fn taken(&self) -> usize {
        self.limit - self.free.available_permits()
    }
}

/// Waits until an instance takes the call: to its deadline, and no longer than the gateway lets any wait. `error` is
/// what the call gets where it may not wait, or no longer.
///
/// What comes of the request meanwhile is read and added to `data`, as its window bounds it: frames that
/// nobody reads would count against the whole connection.
pub(super) async fn wait<S: Source>(
    shared: &Shared,
    wanted: Wanted<'_>,
    mut error: PickError,
    deadline: Option<Time>,
    request: &mut Inflow<S>,
    data: &mut Bytes,
    mut is_gone: impl FnMut(&mut Context<'_>) -> bool,
) -> Result<Result<Picked<TunnelLink>, PickError>, Failure> {
    let Ok(_place) = shared.waiting.free.try_acquire() else {
        return Ok(Err(error));
    };
    let mut drain = shared.drain.subscribe();
    let mut revisions: watch::Receiver<u64> = shared.directory.revisions();
    let limit = shared.clock.now() + shared.config.wait_timeout;
    let until = deadline.map_or(limit, |deadline| deadline.min(limit));
    let over = tokio::time::sleep_until(shared.clock.instant(until));
    let mut over = std::pin::pin!(over);
    let mut more = BytesMut::from(std::mem::take(data));
    let picked = loop {
        // The revisions are watched since before this look, so that none is missed.
        match shared.directory.pick(wanted) {
            Ok(picked) => break Ok(picked),
            Err(now) => error = now,
        }
        let client = poll_fn(|cx| poll_client(cx, request, &mut more, &mut is_gone));
        tokio::select! {
            biased;
            Cut = client => return Err(Failure::Gone),
            () = raised(&mut drain) => break Err(error),
            changed = revisions.changed() => if changed.is_err() { break Err(error) },
            () = &mut over => match Some(until) == deadline {
                true => return Err(too_late().into()),
                false => break Err(error),
            },
        }
    };
    *data = more.freeze();
    Ok(picked)
}

/// Reads what has come of the request. Ready when nobody waits for an answer any more.
fn poll_client<S: Source>(
    cx: &mut Context<'_>,
    request: &mut Inflow<S>,
    data: &mut BytesMut,
    is_gone: &mut impl FnMut(&mut Context<'_>) -> bool,
) -> Poll<Cut> {
    if is_gone(cx) {
        return Poll::Ready(Cut);
    }
    while !request.ended && data.len() < S::AHEAD_MAX {
        match request.poll_more(cx) {
            Poll::Ready(Ok(bytes)) => data.extend_from_slice(&bytes),
            Poll::Ready(Err(cut)) => return Poll::Ready(cut),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}

fn too_late() -> GatewayStatus {
    let message = "no instance took the call, which waited for one, before its deadline";
    GatewayStatus::new(Code::DeadlineExceeded, Reason::Deadline, message)
}
