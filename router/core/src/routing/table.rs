//! The routes of all services.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::path::{Parts, PathError, key_after};
use super::route::{KeySource, Route};
use super::service::ServiceRoutes;

/// How the calls of every service are routed. A service that is not in it is routed in turn.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    services: BTreeMap<String, ServiceRoutes>,
}

/// What a path asks for.
#[derive(Debug)]
pub struct Destination<'a> {
    /// `/pkg.Service/Method`, as the instance sees it.
    pub path: &'a str,
    /// `pkg.Service`.
    pub service: &'a str,
    /// The method's own name.
    pub method: &'a str,
    /// The route of the method; none for a service that is routed in turn.
    pub route: Option<&'a Route>,
    /// The key that stood in the path.
    pub key: Option<Cow<'a, str>>,
}

impl Routes {
    /// Everything in turn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the routes of a service, in place of any that it had.
    #[must_use]
    pub fn with(mut self, service: ServiceRoutes) -> Self {
        self.insert(service);
        self
    }

    /// Sets the routes of a service, in place of any that it had.
    pub fn insert(&mut self, service: ServiceRoutes) {
        self.services.insert(service.name().to_owned(), service);
    }

    /// The services that have routes, by their names.
    pub fn services(&self) -> impl Iterator<Item = &ServiceRoutes> {
        self.services.values()
    }

    /// The method that a path names, and how its calls are routed.
    ///
    /// # Errors
    /// Where it names none, or none that there is.
    pub fn resolve<'a>(&'a self, path: &'a str) -> Result<Destination<'a>, PathError> {
        let parts = Parts::parse(path)?;
        let Parts {
            before,
            full,
            service,
            method,
        } = parts;
        let Some(routes) = self.services.get(service) else {
            // Nothing stands before a service that is routed under no prefix.
            let plain = before.is_empty().then_some(());
            plain.ok_or(PathError::NotAMethod)?;
            return Ok(Destination {
                path: full,
                service,
                method,
                route: None,
                key: None,
            });
        };
        let route = routes.find(method).ok_or(PathError::UnknownMethod)?;
        let key = match (before, &routes.prefix, &route.key) {
            ("", ..) => None,
            (before, Some(prefix), _) if before == prefix => None,
            (before, Some(prefix), KeySource::Path) => Some(key_after(before, prefix)?),
            _ => return Err(PathError::Prefix),
        };
        Ok(Destination {
            path: full,
            service,
            method,
            route: Some(route),
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        Routes::new()
            .with(
                ServiceRoutes::new("pkg.S")
                    .path_prefix("/api/v1")
                    .default_route(Route::new().path())
                    .method("ByHeader", Route::new().header("x-site")),
            )
            .with(
                ServiceRoutes::new("pkg.T")
                    .method("Known", Route::new())
                    .only_these_methods(),
            )
    }

    fn shown(path: &str) -> String {
        let routes = routes();
        match routes.resolve(path) {
            Ok(to) => format!(
                "{} key {:?} {:?}",
                to.path,
                to.key,
                to.route.map(|r| &r.key)
            ),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn every_path_is_one_method_or_an_error() {
        let paths = [
            "/api/v1/site-7/pkg.S/M",
            "/api/v1/pkg.S/M",
            "/pkg.S/M",
            "/api/v1/pkg.S/ByHeader",
            "/api/v1/site-7/pkg.S/ByHeader",
            "/api/v2/site-7/pkg.S/M",
            "/api/v1/a%2fb/pkg.S/M",
            "/api/v1/a/b/pkg.S/M",
            "/pkg.T/Known",
            "/pkg.T/Other",
            "/api/v1/pkg.T/Known",
            "/pkg.U/M",
            "/api/v1/pkg.U/M",
        ];
        let table: Vec<_> = paths
            .iter()
            .map(|path| format!("{path:32} {}", shown(path)))
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
