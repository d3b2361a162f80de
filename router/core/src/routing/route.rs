//! How the calls of a method are routed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::field::{Field, FieldKind};
use super::key::RoutingKey;

/// How calls find their instance: where their key stands, and what is done with it.
///
/// ```
/// use grpcrouter_core::routing::{Balance, Route};
///
/// let by_cart = Route::new().metadata("cart-id").balance(Balance::ConsistentHash);
/// assert_eq!(by_cart.balance, Balance::ConsistentHash);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Where the key stands.
    pub key: KeySource,
    /// How an instance is chosen; by default [`Balance::Pinned`] where there is a key, else in turn.
    pub balance: Balance,
    /// Whether that was said, and does not follow from the key.
    balance_said: bool,
    /// What happens to a call without a key.
    pub missing: MissingKey,
    /// The keys that there are; another one is NOT_FOUND. Empty: any. Sorted.
    pub declared: Vec<RoutingKey>,
    /// Whether a call that may have started can be sent again, because a second run does no harm.
    pub idempotent: bool,
    /// How long a call may take to send the message with its key. [`Route::KEY_TIMEOUT`].
    pub key_timeout: Option<Duration>,
}

/// Where a call's routing key stands.
#[derive(Clone, Default)]
pub enum KeySource {
    /// It has none.
    #[default]
    None,
    /// In a header; gRPC metadata are headers too.
    Header(HeaderName),
    /// In `:authority`.
    Authority,
    /// In the path, after the service's prefix.
    Path,
    /// It is the name of the service.
    Service,
    /// It is the name of the method.
    Method,
    /// In a field of the first request message.
    Field(Field),
    /// A function of the first request message.
    Message(MessageKey),
}

/// Reads a key out of an encoded message.
pub type MessageKey = Arc<dyn Fn(&[u8]) -> Option<RoutingKey> + Send + Sync>;

impl KeySource {
    /// Whether the request has to begin before the key is known.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        matches!(self, Self::Field(_) | Self::Message(_))
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Header(name) => write!(f, "Header({name})"),
            Self::Authority => f.write_str("Authority"),
            Self::Path => f.write_str("Path"),
            Self::Service => f.write_str("Service"),
            Self::Method => f.write_str("Method"),
            Self::Field(field) => write!(f, "{field:?}"),
            Self::Message(_) => f.write_str("Message"),
        }
    }
}

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// The key names an instance id, or else a key that an instance registered.
    Pinned,
    /// The same key goes to the same instance while it is there and not loaded beyond 5/4 of its share.
    ConsistentHash,
    /// In turn, by weight. The key is not used.
    #[default]
    RoundRobin,
    /// The less loaded of two distinct instances picked at random. The key is not used.
    LeastLoaded,
}

/// What happens to a call that has no key where it should have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// It goes to the instance whose turn it is.
    #[default]
    Balance,
    /// INVALID_ARGUMENT, `bad-key`.
    Reject,
}

/// A route that cannot be. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRoute(pub String);

impl Route {
    /// How long a call may take to send the message with its key, where nothing else is set. 10 s: a
    /// client that speaks first has long spoken, and nothing is open at an instance meanwhile.
    pub const KEY_TIMEOUT: Duration = Duration::from_secs(10);

    /// No key, in turn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key is the value of a gRPC metadata key, the first where there are several.
    ///
    /// # Panics
    /// If it is no lower-case header name: see [`Route::try_header`].
    #[must_use]
    pub fn metadata(self, key: &str) -> Self {
        self.header(key)
    }

    /// The key is the value of an HTTP header, the first where there are several. `:authority` is the
    /// host that the client asked for.
    ///
    /// # Panics
    /// If it is no lower-case header name: see [`Route::try_header`].
    #[must_use]
    pub fn header(self, name: &str) -> Self {
        match self.try_header(name) {
            Ok(route) => route,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Route::header`], for a name that nobody has checked yet.
    ///
    /// # Errors
    /// If it is neither a lower-case header name nor `:authority`.
    pub fn try_header(self, name: &str) -> Result<Self, InvalidRoute> {
        if name == ":authority" {
            return Ok(self.keyed(KeySource::Authority));
        }
        let parsed = HeaderName::from_lowercase(name.as_bytes());
        let invalid = |_| {
            InvalidRoute(format!(
                "{name:?} is no header: expected a lower-case name such as \"instance-id\", or \":authority\""
            ))
        };
        Ok(self.keyed(KeySource::Header(parsed.map_err(invalid)?)))
    }

    /// The key is a segment of the path: `{prefix}/{key}/pkg.Service/Method`, where the service has a
    /// [`path_prefix`](super::ServiceRoutes::path_prefix).
    #[must_use]
    pub fn path(self) -> Self {
        self.keyed(KeySource::Path)
    }

    /// The key is the full name of the service.
    #[must_use]
    pub fn service_name(self) -> Self {
        self.keyed(KeySource::Service)
    }

    /// The key is the name of the method.
    #[must_use]
    pub fn method_name(self) -> Self {
        self.keyed(KeySource::Method)
    }

    /// The key is a field of the first request message, by its number: see [`super::field`].
    #[must_use]
    pub fn field(self, number: u32, kind: FieldKind) -> Self {
        self.keyed(KeySource::Field(Field { number, kind }))
    }

    /// How an instance is chosen.
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self.balance_said = true;
        self
    }

    /// A call without a key gets INVALID_ARGUMENT, `bad-key`.
    #[must_use]
    pub fn reject_missing(mut self) -> Self {
        self.missing = MissingKey::Reject;
        self
    }

    /// A call without a key goes to the instance whose turn it is.
    #[must_use]
    pub fn balance_missing(mut self) -> Self {
        self.missing = MissingKey::Balance;
        self
    }

    /// The keys that there are: a call with another one gets NOT_FOUND, `unknown-key`.
    #[must_use]
    pub fn declared_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.declared = keys
            .into_iter()
            .map(|key| RoutingKey::from(key.as_ref()))
            .collect();
        self.declared.sort();
        self
    }

    /// A second run of a call does no harm (`idempotency_level` IDEMPOTENT or NO_SIDE_EFFECTS): one that
    /// may have started is sent again, once, where its instance is lost before it answered.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How long a call may take to send the message with its key.
    #[must_use]
    pub fn key_timeout(mut self, timeout: Duration) -> Self {
        self.key_timeout = Some(timeout);
        self
    }

    /// Sets where the key stands. A route is pinned by it, unless it says otherwise, before or later.
    #[must_use]
    pub fn keyed(mut self, key: KeySource) -> Self {
        if !self.balance_said {
            self.balance = match key {
                KeySource::None => Balance::RoundRobin,
                _ => Balance::Pinned,
            };
        }
        self.key = key;
        self
    }

    /// Whether a key is among those that are declared, where any are.
    #[must_use]
    pub fn knows(&self, key: &[u8]) -> bool {
        let declared = &self.declared;
        declared.is_empty() || declared.binary_search_by(|k| k.as_bytes().cmp(key)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Balance, Route};

    #[test]
    fn a_balance_that_was_said_stays_whatever_the_key_and_the_order() {
        assert_eq!(Route::new().metadata("k").balance, Balance::Pinned);
        for balance in [Balance::RoundRobin, Balance::LeastLoaded] {
            let before = Route::new().balance(balance).metadata("k");
            let after = Route::new().metadata("k").balance(balance);
            assert_eq!((before.balance, after.balance), (balance, balance));
        }
    }
}
