//! Waits that end: every event that the suite waits for has a limit, and a name for when it does not come.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// The most that any single event of the suite's own roles may take. Only a failure uses it up.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How often [`until`] looks.
const LOOK: Duration = Duration::from_millis(2);

/// The one place where the suite reads the clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// How many times as early the suite gives up on what must come.
static HURRY: AtomicU32 = AtomicU32::new(1);

/// From now on all waits of this process but [`exactly`] give up so many times as early: for subjects that are
/// broken on purpose, whose cases wait for what never comes.
pub fn hurry(times: u32) {
    HURRY.store(times.max(1), Ordering::Relaxed);
}

/// How often a case does what it does so many times: a tenth of that in a hurry, which is enough for what is
/// wrong in kind and not in number.
pub fn rounds(many: u32) -> u32 {
    match HURRY.load(Ordering::Relaxed) {
        1 => many,
        _ => many / 10,
    }
}

/// What is left of a limit of time in a hurry.
pub fn hurried(limit: Duration) -> Duration {
    limit / HURRY.load(Ordering::Relaxed)
}

/// Waits for an event.
///
/// # Errors
/// "no WHAT within 10 s" where it does not come.
pub async fn within<T>(what: &str, limit: Duration, event: impl Future<Output = T>) -> Result<T> {
    exactly(what, hurried(limit), event).await
}

/// The same for an event that has an exact time, in a hurry or not.
///
/// # Errors
/// As [`within`].
pub async fn exactly<T>(what: &str, limit: Duration, event: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(limit, event).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("no {what} within {} s", limit.as_secs_f64()),
    }
}

/// Looks again and again until something holds, for what has no event of its own.
///
/// # Errors
/// As [`within`].
pub async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    within(what, limit, async {
        let mut looks = tokio::time::interval(LOOK);
        while !holds() {
            looks.tick().await;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_named() {
        let error = within("answer", LIMIT, std::future::pending::<()>()).await;
        assert_eq!(error.unwrap_err().to_string(), "no answer within 10 s");
        let mut looks = 0;
        let third = || {
            looks += 1;
            looks == 3
        };
        until("third look", LIMIT, third).await.unwrap();
    }
}
