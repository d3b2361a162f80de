//! A routing key.

use std::fmt;

/// The longest routing key, in bytes; instances register keys of at most as many.
pub const KEY_MAX: usize = 256;

/// What a call is routed by: some bytes, most often a text or a number.
///
/// A number is its decimal digits, so that `42` in a request's field, in its metadata and in its path
/// are the same key.
///
/// ```
/// use grpcrouter_core::routing::RoutingKey;
///
/// assert_eq!(RoutingKey::from(42_i32), RoutingKey::from("42"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingKey(Box<[u8]>);

impl RoutingKey {
    /// A key of any bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl From<&str> for RoutingKey {
    fn from(key: &str) -> Self {
        Self::new(key.as_bytes())
    }
}

impl From<String> for RoutingKey {
    fn from(key: String) -> Self {
        Self(key.into_bytes().into())
    }
}

macro_rules! from_display {
    ($($kind:ty),*) => {$(
        impl From<$kind> for RoutingKey {
            fn from(key: $kind) -> Self {
                Self::from(key.to_string())
            }
        }
    )*};
}

from_display!(bool, i32, i64, u32, u64);
