//! From a request to how its instance is chosen: its key, and what its route does with it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::registry::Choice;
use grpcrouter_core::routing::field::{Digits, FieldKey, Search, Skipped, find, find_in_message};
use grpcrouter_core::routing::{
    Balance, Destination, KEY_MAX, KeySource, MissingKey, Route, RoutingKey,
};
use http::request::Parts;

use crate::status::{Code, GatewayStatus, Reason};

/// How the instance of a call is chosen.
#[derive(Debug)]
pub(super) struct Routing<'a> {
    route: Option<&'a Route>,
    balance: Balance,
    key: Option<CallKey<'a>>,
    /// What of the request was searched for its key and is done with.
    skipped: Skipped,
}

/// A call's key, where it stands: nothing of it is copied but a number's digits.
#[derive(Debug)]
pub(super) enum CallKey<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
    Digits(Digits),
    Owned(RoutingKey),
}

impl CallKey<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(key) => key,
            Self::Shared(key) => key,
            Self::Digits(digits) => digits.as_bytes(),
            Self::Owned(key) => key.as_bytes(),
        }
    }
}

impl<'a> Routing<'a> {
    /// What the head of a request says.
    pub(super) fn of(to: Destination<'a>, parts: &'a Parts) -> Self {
        let route = to.route;
        let mut routing = Self {
            route,
            balance: route.map_or(Balance::RoundRobin, |route| route.balance),
            key: route.and_then(|route| head_key(&route.key, to, parts)),
            skipped: Skipped::default(),
        };
        // Set by this process alone, for its own calls.
        if let Some(key) = parts.extensions.get::<RoutingKey>() {
            routing.key = Some(CallKey::Borrowed(key.as_bytes()));
            if routing.balance != Balance::ConsistentHash {
                routing.balance = Balance::Pinned;
            }
        }
        routing
    }

    /// Whether the request has to begin before the instance can be chosen. Not for a key that decides
    /// nothing: its client may wait for the head before it says a word.
    pub(super) fn waits(&self) -> bool {
        self.key.is_none()
            && self.route.is_some_and(|route| {
                let chooses = matches!(self.balance, Balance::Pinned | Balance::ConsistentHash);
                let refuses = route.missing == MissingKey::Reject || !route.declared.is_empty();
                route.key.is_in_message() && (chooses || refuses)
            })
    }

    /// Whether a second run of the call does no harm.
    pub(super) fn is_idempotent(&self) -> bool {
        self.route.is_some_and(|route| route.idempotent)
    }

    /// How long a call may take to send the message with its key.
    pub(super) fn key_timeout(&self) -> Duration {
        let set = self.route.and_then(|route| route.key_timeout);
        set.unwrap_or(Route::KEY_TIMEOUT)
    }

    /// Looks for the key in what is here of the request. `false`: more of it has to come.
    pub(super) fn search(&mut self, request: &Bytes, ended: bool) -> bool {
        let found = match self.route.map(|route| &route.key) {
            Some(KeySource::Field(field)) => {
                match find(request, ended, *field, &mut self.skipped) {
                    Search::Found(FieldKey::Bytes(key)) => {
                        Search::Found(CallKey::Shared(request.slice_ref(key)))
                    }
                    Search::Found(FieldKey::Digits(digits)) => {
                        Search::Found(CallKey::Digits(digits))
                    }
                    Search::Missing => Search::Missing,
                    Search::More => Search::More,
                }
            }
            Some(KeySource::Message(key)) => match find_in_message(request, ended, key) {
                Search::Found(key) => Search::Found(CallKey::Owned(key)),
                Search::Missing => Search::Missing,
                Search::More => Search::More,
            },
            _ => Search::Missing,
        };
        match found {
            Search::Found(key) => self.key = Some(key),
            Search::Missing => {}
            Search::More => return false,
        }
        true
    }

    /// How the instance is chosen, now that the key is known, or known to be missing.
    pub(super) fn choice(&self) -> Result<Choice<'_>, GatewayStatus> {
        let key = self.key.as_ref().map(CallKey::as_bytes);
        let key = key.filter(|key| !key.is_empty());
        if let Some(route) = self.route {
            check(route, key)?;
        }
        Ok(match (self.balance, key) {
            (Balance::Pinned, Some(key)) => Choice::Key(key),
            (Balance::ConsistentHash, Some(key)) => Choice::Hash(key),
            (Balance::LeastLoaded, _) => Choice::LeastLoaded(0),
            (Balance::RoundRobin, _) | (Balance::Pinned | Balance::ConsistentHash, None) => {
                Choice::Turn
            }
        })
    }
}

/// The key, where the head of a request has it.
fn head_key<'a>(
    source: &'a KeySource,
    to: Destination<'a>,
    parts: &'a Parts,
) -> Option<CallKey<'a>> {
    let key = match source {
        KeySource::Header(name) => parts.headers.get(name)?.as_bytes(),
        KeySource::Authority => parts.uri.authority()?.as_str().as_bytes(),
        KeySource::Path => {
            return Some(match to.key? {
                Cow::Borrowed(key) => CallKey::Borrowed(key.as_bytes()),
                Cow::Owned(key) => CallKey::Owned(key.into()),
            });
        }
        KeySource::Service => to.service.as_bytes(),
        KeySource::Method => to.method.as_bytes(),
        KeySource::None | KeySource::Field(_) | KeySource::Message(_) => return None,
    };
    Some(CallKey::Borrowed(key))
}

/// Whether a call may have this key, or none.
fn check(route: &Route, key: Option<&[u8]>) -> Result<(), GatewayStatus> {
    let Some(key) = key else {
        if route.missing == MissingKey::Reject {
            let message = format!("this call needs a routing key: {}", place(&route.key));
            let code = Code::InvalidArgument;
            return Err(GatewayStatus::new(code, Reason::BadKey, message));
        }
        return Ok(());
    };
    if key.len() > KEY_MAX {
        let message = format!("the routing key is longer than {KEY_MAX} bytes");
        let code = Code::InvalidArgument;
        return Err(GatewayStatus::new(code, Reason::BadKey, message));
    }
    if !route.knows(key) {
        let message = "the routing key is not one that this service declares";
        return Err(GatewayStatus::new(
            Code::NotFound,
            Reason::UnknownKey,
            message,
        ));
    }
    Ok(())
}

/// Where a client has to put the key.
fn place(source: &KeySource) -> String {
    match source {
        KeySource::Header(name) => format!("in the metadata `{name}`"),
        KeySource::Authority => "in :authority".to_owned(),
        KeySource::Path => "in the path, after its prefix".to_owned(),
        KeySource::Field(field) => format!(
            "in field {} of its first message, uncompressed and within the first 16 KiB",
            field.number
        ),
        KeySource::Message(_) => {
            "in its first message, uncompressed and whole within the first 16 KiB".to_owned()
        }
        KeySource::None | KeySource::Service | KeySource::Method => "one of its own".to_owned(),
    }
}
