//! The routes of a service.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::field::FieldKind;
use super::key::RoutingKey;
use super::path::check_prefix;
use super::route::{Balance, InvalidRoute, KeySource, Route};

/// How the calls of a service are routed, method by method.
///
/// ```
/// use grpcrouter_core::routing::{Balance, Route, ServiceRoutes};
///
/// let routes = ServiceRoutes::new("pkg.Carts")
///     .default_route(Route::new().metadata("cart-id"))
///     .method("Search", Route::new().balance(Balance::LeastLoaded));
/// assert_eq!(routes.name(), "pkg.Carts");
/// ```
#[derive(Debug, Clone)]
pub struct ServiceRoutes {
    name: String,
    pub(super) prefix: Option<String>,
    default: Route,
    methods: BTreeMap<String, Route>,
    only_these: bool,
}

impl ServiceRoutes {
    /// Every method in turn, for the service of this full name.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            name: service.to_owned(),
            prefix: None,
            default: Route::new(),
            methods: BTreeMap::new(),
            only_these: false,
        }
    }

    /// The full name of the service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls may come under this path as well: `{prefix}/pkg.Service/Method`, and for routes by
    /// [`Route::path`] `{prefix}/{key}/pkg.Service/Method`. Instances see `/pkg.Service/Method`.
    ///
    /// # Panics
    /// If it is no prefix: see [`ServiceRoutes::try_path_prefix`].
    #[must_use]
    pub fn path_prefix(self, prefix: &str) -> Self {
        match self.try_path_prefix(prefix) {
            Ok(routes) => routes,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`ServiceRoutes::path_prefix`], for a prefix that nobody has checked yet.
    ///
    /// # Errors
    /// If it does not begin with `/`, ends with one, or has empty segments or characters that paths
    /// escape.
    pub fn try_path_prefix(mut self, prefix: &str) -> Result<Self, InvalidRoute> {
        check_prefix(prefix)?;
        self.prefix = Some(prefix.to_owned());
        Ok(self)
    }

    /// The route of the methods that have none of their own.
    #[must_use]
    pub fn default_route(mut self, route: Route) -> Self {
        self.default = route;
        self
    }

    /// The route of one method.
    #[must_use]
    pub fn method(mut self, name: &str, route: Route) -> Self {
        self.methods.insert(name.to_owned(), route);
        self
    }

    /// The service has no other methods than those with a route of their own: calls of others get
    /// UNIMPLEMENTED, `unknown-method`.
    #[must_use]
    pub fn only_these_methods(mut self) -> Self {
        self.only_these = true;
        self
    }

    /// Changes the route of one method, whose request type is known.
    pub fn change_method<Q: prost::Message + Default>(
        &mut self,
        name: &str,
        change: impl FnOnce(MethodRoute<Q>) -> MethodRoute<Q>,
    ) {
        let route = self.methods.get(name).unwrap_or(&self.default).clone();
        let changed = change(MethodRoute {
            route,
            request: PhantomData,
        });
        self.methods.insert(name.to_owned(), changed.route);
    }

    /// The route of a method; none where the service is known not to have it.
    #[must_use]
    pub fn find(&self, method: &str) -> Option<&Route> {
        let own = self.methods.get(method);
        own.or((!self.only_these).then_some(&self.default))
    }
}

/// The route of a method whose request message is a `Q`.
#[derive(Debug, Clone)]
pub struct MethodRoute<Q> {
    route: Route,
    request: PhantomData<fn(&Q)>,
}

impl<Q: prost::Message + Default> MethodRoute<Q> {
    /// The key is taken from the first request message by this function; `None` is no key. The message
    /// must have come whole within the first 16 KiB of the request, uncompressed; else the call has no key.
    #[must_use]
    pub fn key<K: Into<RoutingKey>>(
        self,
        of: impl Fn(&Q) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let read = move |message: &[u8]| of(&Q::decode(message).ok()?).map(Into::into);
        self.map(|route| route.keyed(KeySource::Message(Arc::new(read))))
    }

    /// As [`Route::metadata`].
    #[must_use]
    pub fn metadata(self, key: &str) -> Self {
        self.map(|route| route.metadata(key))
    }

    /// As [`Route::header`].
    #[must_use]
    pub fn header(self, name: &str) -> Self {
        self.map(|route| route.header(name))
    }

    /// As [`Route::path`].
    #[must_use]
    pub fn path(self) -> Self {
        self.map(Route::path)
    }

    /// As [`Route::field`].
    #[must_use]
    pub fn field(self, number: u32, kind: FieldKind) -> Self {
        self.map(|route| route.field(number, kind))
    }

    /// As [`Route::balance`].
    #[must_use]
    pub fn balance(self, balance: Balance) -> Self {
        self.map(|route| route.balance(balance))
    }

    /// As [`Route::reject_missing`].
    #[must_use]
    pub fn reject_missing(self) -> Self {
        self.map(Route::reject_missing)
    }

    /// As [`Route::balance_missing`].
    #[must_use]
    pub fn balance_missing(self) -> Self {
        self.map(Route::balance_missing)
    }

    /// As [`Route::declared_keys`].
    #[must_use]
    pub fn declared_keys<K: AsRef<str>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        self.map(|route| route.declared_keys(keys))
    }

    /// As [`Route::idempotent`].
    #[must_use]
    pub fn idempotent(self) -> Self {
        self.map(Route::idempotent)
    }

    /// As [`Route::key_timeout`].
    #[must_use]
    pub fn key_timeout(self, timeout: Duration) -> Self {
        self.map(|route| route.key_timeout(timeout))
    }

    fn map(mut self, change: impl FnOnce(Route) -> Route) -> Self {
        self.route = change(self.route);
        self
    }
}
