//! The Docker daemon: whether it is there, and what every test shares of it.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use testcontainers::bollard::Docker;
use testcontainers::core::client::docker_client_instance;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

/// Set where a daemon is known to be there: a test that cannot reach it fails. Its value names everything that is
/// made, so that whoever set it can find what a killed run left behind.
const RUN: &str = "GRPCROUTER_CONTAINERS";
/// The label of everything that is made.
pub(crate) const LABEL: &str = "grpcrouter.containers";
/// A test that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// One for all tests: they share the connections to the daemon, which end with the runtime that opened them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let built = Builder::new_multi_thread().enable_all().build();
    built.expect("a runtime")
});

/// Runs a test; prints why where it cannot be run here.
///
/// # Panics
/// Where it fails. All that it started is gone by then.
pub(crate) fn run(test: impl Future<Output = Result<()>>) {
    RUNTIME.block_on(async {
        match (answers().await, std::env::var_os(RUN)) {
            (Ok(()), _) => {}
            (Err(error), None) => {
                println!("skipped: no Docker daemon answers: {error:#}");
                return;
            }
            (Err(error), Some(_)) => panic!("no Docker daemon answers: {error:#}"),
        }
        match tokio::time::timeout(LIMIT, test).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{error:#}"),
            Err(_) => panic!("still running after {LIMIT:?}"),
        }
    });
}

/// A client of the daemon. It is asked for once: testcontainers makes another one whenever no container is left, under a
/// lock that a destructor could wait for in vain.
pub(crate) async fn docker() -> Result<Docker> {
    static DOCKER: OnceCell<Docker> = OnceCell::const_new();
    let made = || async { Ok(docker_client_instance().await?) };
    DOCKER.get_or_try_init(made).await.cloned()
}

async fn answers() -> Result<()> {
    docker().await?.ping().await.context("ping")?;
    Ok(())
}

/// What names everything of this run: no other process has the same.
pub(crate) fn run_name() -> String {
    let given = std::env::var(RUN).ok().filter(|given| !given.is_empty());
    given.unwrap_or_else(|| std::process::id().to_string())
}

/// A name that nothing else has, on this daemon or in this run.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("grpcrouter-{}-{n}-{what}", run_name())
}

/// Undoes something in a destructor, also while a test's panic unwinds.
pub(crate) fn undo(what: &str, undo: impl Future<Output = Result<()>>) {
    // On a thread of the runtime's or one that it blocks: `run` has no other.
    let undone = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(undo));
    if let Err(error) = undone {
        eprintln!("{what} is left behind: {error:#}");
    }
}
