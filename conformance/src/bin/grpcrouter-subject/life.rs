//! What ends a subject.

use std::pin::pin;

use tokio::io::{AsyncReadExt, Stdin};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Exit code of a process whose calls did not finish while it drained.
pub(crate) const CUT_OFF: i32 = 5;

/// The end of the standard input, and SIGTERM.
pub(crate) struct End {
    closed: watch::Receiver<bool>,
    terminate: std::io::Result<Signal>,
}

impl End {
    /// Watches from now on.
    pub(crate) fn of(mut stdin: Stdin) -> Self {
        let (tell, closed) = watch::channel(false);
        tokio::spawn(async move {
            let mut rest = [0; 256];
            while let Ok(1..) = stdin.read(&mut rest).await {}
            tell.send_replace(true);
        });
        Self {
            closed,
            terminate: signal(SignalKind::terminate()),
        }
    }

    /// SIGTERM alone.
    pub(crate) fn of_signals() -> Self {
        Self {
            closed: watch::channel(false).1,
            terminate: signal(SignalKind::terminate()),
        }
    }

    /// Waits until the subject is to drain.
    pub(crate) async fn asked(&mut self) {
        let Self { closed, terminate } = self;
        let mut closed = pin!(async {
            if closed.wait_for(|closed| *closed).await.is_err() {
                // No standard input is watched.
                std::future::pending::<()>().await;
            }
        });
        tokio::select! {
            biased;
            () = terminated(terminate) => {}
            () = &mut closed => {}
        }
    }

    /// Waits until it is to end at once: a signal that comes while it drains.
    pub(crate) async fn forced(&mut self) {
        terminated(&mut self.terminate).await;
    }
}

async fn terminated(signal: &mut std::io::Result<Signal>) {
    match signal {
        Ok(signal) => drop(signal.recv().await),
        // Where signals cannot be had, the process is ended without draining.
        Err(_) => std::future::pending().await,
    }
}
