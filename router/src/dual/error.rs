//! Why an implementation is not served, or not any longer.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::instance::InstanceError;
use crate::net::Target;

/// Why an implementation is not served, or not any longer. Displays as one line.
///
/// `Debug` prints the same, so that a `main` that returns it reads well.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It cannot listen there.
    #[error("cannot listen at {addr}: {error}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The registration has ended for good, or a gateway refuses it and would again.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// None of the gateways has taken the registration in time, and nobody can call it otherwise.
    #[error("not registered within {limit:?}: {}", List(.gateways))]
    NotRegistered {
        /// The gateways, and how the latest dial of each ended.
        gateways: Vec<(Target, String)>,
        /// How long it dialled.
        limit: Duration,
    },
    /// Direct calls were still running when the time for draining ended. They end with the process.
    #[error("direct calls did not finish within {0:?}")]
    DrainTimeout(Duration),
    /// The server of the listening socket failed.
    #[error("the server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Gateways in a line, each with what is wrong.
pub(super) struct List<'a>(pub(super) &'a [(Target, String)]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (gateway, why)) in self.0.iter().enumerate() {
            let then = if index == 0 { "" } else { "; " };
            write!(f, "{then}gateway {gateway}: {why}")?;
        }
        Ok(())
    }
}
