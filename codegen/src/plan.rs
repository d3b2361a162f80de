//! The route of each method: the options of service, method and message together, checked.
//!
//! What is nearer to the method wins, field by field: its own options, then a mark on a field of its
//! request message, then the options of the service. What contradicts itself is refused.

use grpcrouter_core::routing::{KEY_MAX, Route, ServiceRoutes};
use grpcrouter_proto::v1::{Balancing, MissingKey, RoutingOptions, RoutingStrategy};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use crate::error::Faults;
use crate::field::{self, KeyField};
use crate::schema::{Schema, place_of};

/// How the calls of a service are routed.
pub(crate) struct ServicePlan {
    pub(crate) path_prefix: Option<String>,
    /// In the order of the file.
    pub(crate) methods: Vec<MethodPlan>,
}

/// How the calls of a method are routed.
#[derive(Default)]
pub(crate) struct MethodPlan {
    pub(crate) key: Key,
    pub(crate) balancing: Balancing,
    /// Whether the file says it: then code that changes the key alone does not change it.
    pub(crate) balancing_said: bool,
    /// Whether a call without its key is refused.
    pub(crate) reject: bool,
    /// The keys that there are; empty: any.
    pub(crate) keys: Vec<String>,
    pub(crate) key_timeout_ms: Option<u32>,
}

/// Where the key stands.
#[derive(Default)]
pub(crate) enum Key {
    #[default]
    None,
    Metadata(String),
    Header(String),
    Path,
    Service,
    Method,
    Field(KeyField),
}

/// Reads and checks what is said of a service's calls. Where that adds a fault, the plan is of no use.
pub(crate) fn read(
    schema: &Schema,
    service: &ServiceDescriptor,
    faults: &mut Faults,
) -> ServicePlan {
    let said = schema.service_options(service);
    // What depends on options that nobody can read is not looked at.
    let unread = said.is_err();
    let (options, mut wrong) = match said {
        Ok(options) => (options, Vec::new()),
        Err(wrong) => (RoutingOptions::default(), wrong),
    };
    wrong.extend(check_name(&options, service));
    if let Some(prefix) = &options.path_prefix {
        let checked = ServiceRoutes::new(service.full_name()).try_path_prefix(prefix);
        wrong.extend(checked.err().map(|error| error.to_string()));
    }
    for what in wrong {
        let (place, name) = (place_of(service), service.full_name());
        faults.add(format!("{place}: {name}: {what}"));
    }
    let methods = service.methods().map(|method| {
        let (own, nothing) = (schema.method_options(&method), RoutingOptions::default());
        let mut reader = Reader {
            service: &options,
            own: own.as_ref().unwrap_or(&nothing),
            schema,
            method: &method,
            faults,
        };
        for what in own.as_ref().err().into_iter().flatten() {
            reader.fault_of_method(what);
        }
        if unread || own.is_err() {
            return MethodPlan::default();
        }
        reader.read()
    });
    ServicePlan {
        methods: methods.collect(),
        path_prefix: options.path_prefix.clone(),
    }
}

fn check_name(options: &RoutingOptions, service: &ServiceDescriptor) -> Option<String> {
    let said = options.service.as_ref()?;
    let (name, full) = (service.name(), service.full_name());
    let wrong = said != name && said != full;
    wrong.then(|| format!("service is {said:?}; expected {name:?}, or nothing"))
}

/// One method, and what is said of it.
struct Reader<'a> {
    schema: &'a Schema,
    method: &'a MethodDescriptor,
    service: &'a RoutingOptions,
    own: &'a RoutingOptions,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn read(&mut self) -> MethodPlan {
        if let Some(what) = check_name(self.own, self.method.parent_service()) {
            self.fault(&what);
        }
        if self.own.path_prefix.is_some() {
            self.fault("path_prefix is of the whole service; expected it in routes_to");
        }
        let key_timeout_ms = self.key_timeout_ms();
        let Some(key) = self.key() else {
            // Whatever needs a key would be wrong too.
            return MethodPlan::default();
        };
        let balancing = self.balancing(&key);
        let reject = self.rejects();
        if reject && matches!(key, Key::None) {
            self.fault("missing_key is REJECT and there is no key; expected a routing_key");
        }
        MethodPlan {
            reject,
            keys: self.keys(&key, balancing),
            key_timeout_ms,
            key,
            balancing,
            balancing_said: balancing_of(self.own, self.service).is_some(),
        }
    }

    /// Where the key stands. None: nowhere that could be.
    fn key(&mut self) -> Option<Key> {
        let marked = self.schema.marked(&self.method.input());
        let strategy = match strategy(self.own) {
            Some(strategy) => strategy,
            // It says that it has no key, whatever is marked and said of the others.
            None if self.own.routing_key.as_deref() == Some("") => return Some(Key::None),
            None if !marked.is_empty() => RoutingStrategy::FieldBased,
            None => strategy(self.service).unwrap_or_default(),
        };
        let routing_key = self
            .own
            .routing_key
            .as_ref()
            .or(self.service.routing_key.as_ref());
        let routing_key = routing_key.filter(|name| !name.is_empty()).cloned();
        match (strategy, routing_key) {
            (RoutingStrategy::MetadataBased, None) => Some(Key::None),
            (RoutingStrategy::MetadataBased, Some(name)) => {
                // gRPC's own names are fewer than HTTP's.
                let is_metadata = name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
                if !is_metadata || name.starts_with("grpc-") || name.ends_with("-bin") {
                    self.fault(&format!(
                        "routing_key {name:?} is no metadata key; expected a-z, 0-9, - _ . and neither \
                         grpc- before nor -bin behind"
                    ));
                    return None;
                }
                Some(Key::Metadata(name))
            }
            (RoutingStrategy::HeaderBased, None) => {
                self.fault("HEADER_BASED without a routing_key; expected the name of a header");
                None
            }
            (RoutingStrategy::HeaderBased, Some(name)) => {
                if let Err(error) = Route::new().try_header(&name) {
                    self.fault(&format!("routing_key {error}"));
                    return None;
                }
                Some(Key::Header(name))
            }
            // With a prefix the key is a segment of the path; its name is for readers.
            (RoutingStrategy::PathBased, _) if self.service.path_prefix.is_some() => {
                Some(Key::Path)
            }
            (RoutingStrategy::PathBased, name) => match name.as_deref() {
                None | Some("service") => Some(Key::Service),
                Some("method") => Some(Key::Method),
                Some(name) => {
                    self.fault(&format!(
                        "PATH_BASED by {name:?} without a path_prefix; expected a path_prefix in \
                         routes_to, or routing_key \"service\" or \"method\""
                    ));
                    None
                }
            },
            (RoutingStrategy::FieldBased, name) => {
                let own = self
                    .own
                    .routing_key
                    .as_deref()
                    .filter(|name| !name.is_empty());
                match field::find(&self.method.input(), &marked, own, name.as_deref()) {
                    Ok(field) => self.speaks_first().then_some(Key::Field(field)),
                    Err(what) => {
                        self.fault_of_method(&what);
                        None
                    }
                }
            }
        }
    }

    /// Whether a call may wait for the message with its key; where both sides stream a person has to promise
    /// that the message comes. A key that decides nothing is not waited for.
    fn speaks_first(&mut self) -> bool {
        let (own, service) = (
            self.own.client_speaks_first,
            self.service.client_speaks_first,
        );
        let both_stream = self.method.is_client_streaming() && self.method.is_server_streaming();
        let waits = both_stream && (self.chooses() || self.rejects());
        let speaks = !waits || own.or(service).unwrap_or_default();
        if !speaks {
            self.fault_of_method(
                "FIELD_BASED on a bidirectional method, whose client may wait for a message before it \
                 sends one; expected another strategy, or client_speaks_first: true",
            );
        }
        speaks
    }

    /// Whether a key, where there is one, chooses the instance.
    fn chooses(&self) -> bool {
        let said = balancing(self.own).or(balancing(self.service));
        !matches!(said, Some(Balancing::RoundRobin | Balancing::LeastLoaded))
    }

    /// Whether a call without its key is refused.
    fn rejects(&self) -> bool {
        missing_key(self.own).or(missing_key(self.service)) == Some(MissingKey::Reject)
    }

    fn balancing(&mut self, key: &Key) -> Balancing {
        let said = balancing_of(self.own, self.service);
        match (said, key) {
            (Some(it @ (Balancing::Pinned | Balancing::ConsistentHash)), Key::None) => {
                let name = it.as_str_name();
                self.fault(&format!("{name} without a key; expected a routing_key"));
                it
            }
            (Some(said), _) => said,
            (None, Key::None) => Balancing::RoundRobin,
            (None, _) => Balancing::Pinned,
        }
    }

    fn keys(&mut self, key: &Key, balancing: Balancing) -> Vec<String> {
        let pinned = balancing == Balancing::Pinned && !matches!(key, Key::None);
        let keys = match (self.own.keys.is_empty(), pinned) {
            (false, false) => {
                self.fault("keys where no call is pinned by one; expected balancing PINNED");
                return Vec::new();
            }
            // The service's keys are of its methods that are pinned.
            (true, false) if is_unpinned(self.own) => return Vec::new(),
            (true, false) if !self.service.keys.is_empty() => {
                self.fault("keys where no call is pinned by one; expected balancing PINNED");
                return Vec::new();
            }
            (false, true) => &self.own.keys,
            (true, _) => &self.service.keys,
        };
        let mut sorted = keys.clone();
        sorted.sort();
        let wrong = keys
            .iter()
            .find(|key| key.is_empty() || key.len() > KEY_MAX)
            .map(|key| format!("keys has {key:?}; expected 1 to {KEY_MAX} bytes"));
        let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
        let twice = twice.map(|pair| format!("keys has {:?} twice; expected it once", pair[0]));
        let keys = keys.clone();
        if let Some(what) = wrong.or(twice) {
            self.fault(&what);
        }
        keys
    }

    fn key_timeout_ms(&mut self) -> Option<u32> {
        let timeout = self.own.key_timeout_ms.or(self.service.key_timeout_ms);
        if timeout == Some(0) {
            self.fault("key_timeout_ms is 0; expected at least 1, or nothing for 10,000");
        }
        timeout
    }

    /// What is wrong with the options: those of the service, where the method has none of its own.
    fn fault(&mut self, what: &str) {
        if *self.own != RoutingOptions::default() {
            return self.fault_of_method(what);
        }
        let service = self.method.parent_service();
        let (place, name) = (place_of(service), service.full_name());
        self.faults.add(format!("{place}: {name}: {what}"));
    }

    /// What is wrong with the method under these options.
    fn fault_of_method(&mut self, what: &str) {
        let service = self.method.parent_service().full_name();
        let (place, name) = (place_of(self.method), self.method.name());
        self.faults
            .add(format!("{place}: {service}/{name}: {what}"));
    }
}

/// Whether a method says that its calls are not pinned by a key.
fn is_unpinned(own: &RoutingOptions) -> bool {
    balancing(own).is_some_and(|it| it != Balancing::Pinned)
        || own.routing_key.as_deref() == Some("")
}

fn strategy(options: &RoutingOptions) -> Option<RoutingStrategy> {
    options.strategy.map(|_| options.strategy())
}

fn balancing(options: &RoutingOptions) -> Option<Balancing> {
    options.balancing.map(|_| options.balancing())
}

fn balancing_of(own: &RoutingOptions, service: &RoutingOptions) -> Option<Balancing> {
    balancing(own).or(balancing(service))
}

fn missing_key(options: &RoutingOptions) -> Option<MissingKey> {
    options.missing_key.map(|_| options.missing_key())
}
