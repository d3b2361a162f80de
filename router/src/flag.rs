//! A flag that is raised once.

use tokio::sync::watch;

/// Waits until the flag is raised. A flag that nobody can raise any more stays down.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|raised| *raised).await.is_err() {
        std::future::pending::<()>().await;
    }
}
