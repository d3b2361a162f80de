//! What a file or a line says of a service's routes, checked in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grpcrouter::routing::{
    Balance, FieldKind, KEY_MAX, KeySource, MissingKey, Route, Routes, ServiceRoutes,
};

use crate::args::is_service_name;

/// Services that have routes, by their full names.
#[derive(Debug, Default)]
pub(super) struct Services(pub(super) BTreeMap<String, Service>);

/// A service's own route, and what is different for its methods.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) place: String,
    pub(super) prefix: Option<Said<String>>,
    pub(super) methods_only: bool,
    pub(super) spec: Spec,
    pub(super) methods: BTreeMap<String, Spec>,
}

/// What is said of a route; what is not said is as for the service, or the default.
#[derive(Debug, Default, Clone)]
pub(super) struct Spec {
    pub(super) strategy: Option<Said<Strategy>>,
    pub(super) key: Option<Said<Key>>,
    pub(super) balance: Option<Said<Balance>>,
    pub(super) missing: Option<Said<MissingKey>>,
    pub(super) keys: Option<Said<Vec<String>>>,
    pub(super) idempotent: Option<bool>,
    pub(super) key_timeout: Option<Said<Duration>>,
}

/// Something, and where it is said.
#[derive(Debug, Clone)]
pub(super) struct Said<T> {
    pub(super) what: T,
    pub(super) place: String,
    /// Whether it is said of something else that this is laid over. Where it does not apply, it is not
    /// meant.
    inherited: bool,
}

impl<T> Said<T> {
    pub(super) fn new(place: &str, what: T) -> Self {
        Self {
            what,
            place: place.to_owned(),
            inherited: false,
        }
    }

    fn inherit(self) -> Self {
        Self {
            inherited: true,
            ..self
        }
    }

    /// A mistake in this.
    fn wrong(&self, say: impl Into<String>) -> Wrong {
        Wrong::new(&self.place, say)
    }

    /// None where this is not meant; an error where it is, and does not apply.
    fn applies(&self, applies: bool, say: &str) -> Result<Option<&T>, Wrong> {
        match applies {
            true => Ok(Some(&self.what)),
            false if self.inherited => Ok(None),
            false => Err(self.wrong(say)),
        }
    }
}

/// A mistake: where it is, and what is wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    place: String,
    say: String,
}

impl Wrong {
    pub(super) fn new(place: &str, say: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            say: say.into(),
        }
    }

    /// The line for people, about a service or a method.
    pub(super) fn about(&self, name: &str) -> String {
        format!("{}: {name}: {}", self.place, self.say)
    }
}

/// In what the key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    Metadata,
    Header,
    Path,
    Field,
}

/// Where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// A header, or else `service` or `method`.
    Name(String),
    Field(u32, FieldKind),
    /// In the path, after its prefix: said by a line, which says all of it.
    Segment,
}

/// Services that the gateway answers itself.
const OWN: [&str; 3] = ["grpcrouter.v1.", "grpc.health.", "grpc.reflection."];

impl Services {
    pub(super) fn into_routes(self) -> Result<Routes, String> {
        let mut routes = Routes::new();
        for (name, service) in self.0 {
            routes.insert(service.into_routes(&name)?);
        }
        Ok(routes)
    }
}

impl Service {
    fn into_routes(self, name: &str) -> Result<ServiceRoutes, String> {
        let wrong = |say| Wrong::new(&self.place, say).about(name);
        if OWN.iter().any(|own| name.starts_with(own)) {
            return Err(wrong(
                "the gateway answers this service itself; it has no routes",
            ));
        }
        if !is_service_name(name) {
            return Err(wrong(
                "expected the full name of a service, such as pkg.Service",
            ));
        }
        let mut routes = ServiceRoutes::new(name);
        if let Some(prefix) = &self.prefix {
            routes = routes
                .try_path_prefix(&prefix.what)
                .map_err(|error| prefix.wrong(error.to_string()).about(name))?;
        }
        let has_prefix = self.prefix.is_some();
        let route = self.spec.to_route(has_prefix);
        routes = routes.default_route(route.map_err(|wrong| wrong.about(name))?);
        for (method, own) in self.methods {
            let route = own.over(&self.spec).to_route(has_prefix);
            let route = route.map_err(|wrong| wrong.about(&format!("{name}/{method}")))?;
            routes = routes.method(&method, route);
        }
        if self.methods_only {
            routes = routes.only_these_methods();
        }
        Ok(routes)
    }
}

impl Spec {
    /// This, and the other where this says nothing.
    pub(super) fn over(self, other: &Self) -> Self {
        fn or<T: Clone>(own: Option<Said<T>>, other: &Option<Said<T>>) -> Option<Said<T>> {
            own.or_else(|| other.clone().map(Said::inherit))
        }
        Self {
            strategy: or(self.strategy, &other.strategy),
            key: or(self.key, &other.key),
            balance: or(self.balance, &other.balance),
            missing: or(self.missing, &other.missing),
            keys: or(self.keys, &other.keys),
            idempotent: self.idempotent.or(other.idempotent),
            key_timeout: or(self.key_timeout, &other.key_timeout),
        }
    }

    fn to_route(&self, has_prefix: bool) -> Result<Route, Wrong> {
        let mut route = self.keyed(has_prefix)?;
        let keyless = matches!(route.key, KeySource::None);
        if let Some(balance) = &self.balance {
            if keyless && matches!(balance.what, Balance::Pinned | Balance::ConsistentHash) {
                let say = "pinned and consistent-hash need a key: say where it stands";
                return Err(balance.wrong(say));
            }
            route = route.balance(balance.what);
        }
        let missing = self.missing.as_ref();
        if let Some(missing) = missing.filter(|missing| missing.what == MissingKey::Reject) {
            let say = "nothing can be missing without a key: say where it stands";
            if missing.applies(!keyless, say)?.is_some() {
                route = route.reject_missing();
            }
        }
        if let Some(keys) = self.keys.as_ref().filter(|keys| !keys.what.is_empty()) {
            let say = "keys are declared for pinned routes alone: leave them out, or keys = []";
            if let Some(declared) = keys.applies(route.balance == Balance::Pinned, say)? {
                check_keys(declared).map_err(|say| keys.wrong(say))?;
                route = route.declared_keys(declared);
            }
        }
        if self.idempotent == Some(true) {
            route = route.idempotent();
        }
        if let Some(timeout) = &self.key_timeout {
            let say = "only a key in a field is waited for: leave key_timeout out";
            if let Some(timeout) = timeout.applies(route.key.is_in_message(), say)? {
                route = route.key_timeout(*timeout);
            }
        }
        Ok(route)
    }

    /// A route with its key: by metadata, where only a key is given.
    fn keyed(&self, has_prefix: bool) -> Result<Route, Wrong> {
        let strategy = match (&self.strategy, &self.key) {
            (None, None) => return Ok(Route::new()),
            (None, Some(key)) => Said::new(&key.place, Strategy::Metadata),
            (Some(strategy), _) => strategy.clone(),
        };
        let key = self.key.as_ref();
        let key = key.filter(|key| !key.inherited || key.what.is_of(strategy.what));
        let Some(key) = key.filter(|key| key.what != Key::Segment) else {
            return match strategy.what {
                Strategy::Path if has_prefix => Ok(Route::new().path()),
                Strategy::Path => Err(strategy.wrong(
                    "a key in the path needs the service's path_prefix, or \"service\" or \"method\" as its key",
                )),
                other => Err(strategy.wrong(format!("strategy = {:?} needs a key", other.name()))),
            };
        };
        let header = |name| {
            let route = Route::new().try_header(name);
            route.map_err(|error| key.wrong(error.to_string()))
        };
        match (strategy.what, &key.what) {
            (Strategy::Metadata, Key::Name(name)) if !is_metadata(name) => Err(key.wrong(format!(
                "{name:?} is no metadata key: expected a-z, 0-9, - _ . and neither grpc- before nor -bin behind"
            ))),
            (Strategy::Metadata | Strategy::Header, Key::Name(name)) => header(name),
            (Strategy::Metadata | Strategy::Header, _) => {
                Err(key.wrong("key: expected the name of a header in quotes"))
            }
            (Strategy::Path, Key::Name(name)) if name == "service" => {
                Ok(Route::new().service_name())
            }
            (Strategy::Path, Key::Name(name)) if name == "method" => Ok(Route::new().method_name()),
            (Strategy::Path, _) => {
                Err(key
                    .wrong("key: expected \"service\" or \"method\", or none with a path_prefix"))
            }
            (Strategy::Field, Key::Field(number, kind)) => Ok(Route::new().field(*number, *kind)),
            (Strategy::Field, _) => {
                Err(key.wrong("key: expected { field = 3, type = \"string\" }"))
            }
        }
    }
}

impl Strategy {
    /// A strategy by its name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let all = [Self::Metadata, Self::Header, Self::Path, Self::Field];
        all.into_iter().find(|strategy| strategy.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Header => "header",
            Self::Path => "path",
            Self::Field => "field",
        }
    }
}

impl Key {
    /// Whether such a key stands in this.
    fn is_of(&self, strategy: Strategy) -> bool {
        match (strategy, self) {
            (Strategy::Metadata | Strategy::Header, Self::Name(_))
            | (Strategy::Field, Self::Field(..))
            | (Strategy::Path, Self::Segment) => true,
            (Strategy::Path, Self::Name(name)) => name == "service" || name == "method",
            _ => false,
        }
    }
}

/// Declared keys are keys, each once. The generator has the same check.
fn check_keys(keys: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(format!("keys has {key:?}; expected 1 to {KEY_MAX} bytes"));
        }
        if !seen.insert(key) {
            return Err(format!("keys has {key:?} twice; expected it once"));
        }
    }
    Ok(())
}

/// The name of a method, as it stands behind its service in a path: with anything else no call has the route.
pub(super) fn check_method(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"%/\\?#".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a method: expected it alone, such as Get"
    ))
}

/// gRPC's own names are fewer than HTTP's. The generator has the same check.
fn is_metadata(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    !name.is_empty()
        && name.bytes().all(plain)
        && !name.starts_with("grpc-")
        && !name.ends_with("-bin")
}

/// A balancer by its name.
pub(super) fn balance(name: &str) -> Option<Balance> {
    Some(match name {
        "pinned" => Balance::Pinned,
        "consistent-hash" => Balance::ConsistentHash,
        "round-robin" => Balance::RoundRobin,
        "least-loaded" => Balance::LeastLoaded,
        _ => return None,
    })
}

/// The names of [`balance`].
pub(super) const BALANCES: &str = "pinned, consistent-hash, round-robin or least-loaded";

/// The type of a field by its name in protobuf.
pub(super) fn field_kind(name: &str) -> Result<FieldKind, String> {
    Ok(match name {
        "string" => FieldKind::String,
        "bytes" => FieldKind::Bytes,
        "bool" => FieldKind::Bool,
        "enum" => FieldKind::Enum,
        "int32" => FieldKind::Int32,
        "int64" => FieldKind::Int64,
        "uint32" => FieldKind::Uint32,
        "uint64" => FieldKind::Uint64,
        "sint32" => FieldKind::Sint32,
        "sint64" => FieldKind::Sint64,
        "fixed32" => FieldKind::Fixed32,
        "fixed64" => FieldKind::Fixed64,
        "sfixed32" => FieldKind::Sfixed32,
        "sfixed64" => FieldKind::Sfixed64,
        "float" => FieldKind::Float,
        "double" => FieldKind::Double,
        _ => {
            return Err(format!(
                "{name:?} is no type of a key: expected one of protobuf's scalars, such as string or int32"
            ));
        }
    })
}

/// The number of a field.
pub(super) fn field_number(number: i64) -> Result<u32, String> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..1 << 29).contains(number))
        .ok_or_else(|| format!("{number} is no field number: expected 1 to 536870911"))
}
