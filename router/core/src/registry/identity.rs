//! Who registers: the instance's id, the epoch of its attempt, and the identity of its connection.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use grpcrouter_proto::v1;

/// The name under which an instance registers: 1 to 128 characters of `[A-Za-z0-9._:-]`.
///
/// Cheap to clone. Made by [`Registration::parse`](super::Registration::parse).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub(super) Arc<str>);

impl InstanceId {
    /// The longest id, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Whether a text can be an instance's id.
    #[must_use]
    pub fn is_valid(id: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        !id.is_empty() && id.len() <= Self::LEN_MAX && id.bytes().all(allowed)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for InstanceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registration attempt: of two attempts under one id the higher epoch owns it.
///
/// Ordered by the start of the process, then by the attempt, so that every reconnect of a process
/// is higher than the one before, and a restarted process is higher than its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Start of the process, in microseconds since the Unix epoch by its own clock.
    pub started_us: u64,
    /// Counts the registration attempts of that process.
    pub attempt: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.started_us, self.attempt)
    }
}

impl From<v1::Epoch> for Epoch {
    fn from(epoch: v1::Epoch) -> Self {
        Self {
            started_us: epoch.started_us,
            attempt: epoch.attempt,
        }
    }
}

impl From<Epoch> for v1::Epoch {
    fn from(epoch: Epoch) -> Self {
        Self {
            started_us: epoch.started_us,
            attempt: epoch.attempt,
        }
    }
}

/// Who the connection of a tunnel is, as its transport proved it.
///
/// Handed to every registration, so that an id which one identity holds is never taken by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The identity of a connection that proved nothing. All such connections are one identity.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::from(""))
    }

    /// The identity with this name. The empty name is [`Identity::anonymous`].
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Arc::from(name))
    }
}
