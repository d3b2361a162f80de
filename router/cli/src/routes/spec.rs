//! What a file or a line says of a service's routes, checked in one place.

use std::collections::BTreeMap;
use std::time::Duration;

use grpcrouter::routing::{
    Balance, FieldKind, KeySource, MissingKey, Route, Routes, ServiceRoutes,
};

/// Services that have routes, by their full names.
#[derive(Debug, Default)]
pub(super) struct Services(pub(super) BTreeMap<String, Service>);

/// A service's own route, and what is different for its methods.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) place: String,
    pub(super) prefix: Option<String>,
    pub(super) methods_only: bool,
    pub(super) spec: Spec,
    pub(super) methods: BTreeMap<String, Method>,
}

#[derive(Debug, Default)]
pub(super) struct Method {
    pub(super) place: String,
    pub(super) spec: Spec,
}

/// What is said of a route; what is not said is as for the service, or the default.
#[derive(Debug, Default, Clone)]
pub(super) struct Spec {
    pub(super) key: Option<Key>,
    pub(super) balance: Option<Balance>,
    pub(super) missing: Option<MissingKey>,
    pub(super) keys: Option<Vec<String>>,
    pub(super) idempotent: Option<bool>,
    pub(super) key_timeout: Option<Duration>,
}

/// Where the key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Header(String),
    Path,
    Service,
    Method,
    Field(u32, FieldKind),
}

/// Services that the gateway answers itself.
const OWN: [&str; 3] = ["grpcrouter.v1.", "grpc.health.", "grpc.reflection."];

impl Services {
    pub(super) fn into_routes(self) -> Result<Routes, String> {
        let mut routes = Routes::new();
        for (name, service) in self.0 {
            let place = service.place.clone();
            routes.insert(
                service
                    .into_routes(&name)
                    .map_err(|say| locate(&place, &name, &say))?,
            );
        }
        Ok(routes)
    }
}

/// A line that says where, what and how to mend it. What already says where is left as it is.
fn locate(place: &str, name: &str, say: &str) -> String {
    match say.strip_prefix('\u{0}') {
        Some(located) => located.to_owned(),
        None => format!("{place}: {name}: {say}"),
    }
}

impl Service {
    fn into_routes(self, name: &str) -> Result<ServiceRoutes, String> {
        if OWN.iter().any(|own| name.starts_with(own)) {
            return Err("the gateway answers this service itself; it has no routes".to_owned());
        }
        if !is_service_name(name) {
            return Err("expected the full name of a service, such as pkg.Service".to_owned());
        }
        let mut routes = ServiceRoutes::new(name);
        if let Some(prefix) = &self.prefix {
            routes = routes
                .try_path_prefix(prefix)
                .map_err(|error| error.to_string())?;
        }
        let has_prefix = self.prefix.is_some();
        routes = routes.default_route(self.spec.to_route(has_prefix)?);
        for (method, own) in self.methods {
            let spec = own.spec.over(&self.spec);
            let route = spec
                .to_route(has_prefix)
                .map_err(|say| format!("\u{0}{}: {name}/{method}: {say}", own.place))?;
            routes = routes.method(&method, route);
        }
        if self.methods_only {
            routes = routes.only_these_methods();
        }
        Ok(routes)
    }
}

fn is_service_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.split('.').all(plain)
}

impl Spec {
    /// This, and the other where this says nothing.
    pub(super) fn over(self, other: &Self) -> Self {
        Self {
            key: self.key.or_else(|| other.key.clone()),
            balance: self.balance.or(other.balance),
            missing: self.missing.or(other.missing),
            keys: self.keys.or_else(|| other.keys.clone()),
            idempotent: self.idempotent.or(other.idempotent),
            key_timeout: self.key_timeout.or(other.key_timeout),
        }
    }

    fn to_route(&self, has_prefix: bool) -> Result<Route, String> {
        let mut route = Route::new();
        route = match &self.key {
            None => route,
            Some(Key::Header(name)) => route.try_header(name).map_err(|error| error.to_string())?,
            Some(Key::Path) if has_prefix => route.path(),
            Some(Key::Path) => {
                return Err(
                    "a key in the path needs the service's path_prefix, or \"service\" or \"method\" as its key"
                        .to_owned(),
                );
            }
            Some(Key::Service) => route.service_name(),
            Some(Key::Method) => route.method_name(),
            Some(Key::Field(number, kind)) => route.field(*number, *kind),
        };
        if let Some(balance) = self.balance {
            route = route.balance(balance);
        }
        let keyless = matches!(route.key, KeySource::None);
        if keyless && matches!(route.balance, Balance::Pinned | Balance::ConsistentHash) {
            return Err("pinned and consistent-hash need a key: say where it stands".to_owned());
        }
        if self.missing == Some(MissingKey::Reject) {
            if keyless {
                return Err("nothing can be missing without a key: say where it stands".to_owned());
            }
            route = route.reject_missing();
        }
        if let Some(keys) = self.keys.as_ref().filter(|keys| !keys.is_empty()) {
            if route.balance != Balance::Pinned {
                return Err(
                    "keys are declared for pinned routes alone: leave them out, or keys = []"
                        .to_owned(),
                );
            }
            route = route.declared_keys(keys);
        }
        if self.idempotent == Some(true) {
            route = route.idempotent();
        }
        if let Some(timeout) = self.key_timeout {
            if !route.key.is_in_message() {
                return Err("only a key in a field is waited for: leave key_timeout out".to_owned());
            }
            route = route.key_timeout(timeout);
        }
        Ok(route)
    }
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
