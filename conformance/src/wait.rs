//! Waits that end: every event that the suite waits for has a limit, and a name for when it does not come.

use std::future::Future;
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

/// Waits for an event.
///
/// # Errors
/// "no WHAT within 10 s" where it does not come.
pub async fn within<T>(what: &str, limit: Duration, event: impl Future<Output = T>) -> Result<T> {
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
