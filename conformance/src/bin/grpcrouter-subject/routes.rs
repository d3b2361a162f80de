//! From the request's routes to the library's.

use std::collections::BTreeMap;

use grpcrouter::routing::{Balance, FieldKind, Route, Routes, ServiceRoutes};
use grpcrouter_conformance::pb::{KeySource, Strategy, SubjectRoute};

use crate::Refused;

pub(crate) fn of(asked: &[SubjectRoute]) -> Result<Routes, Refused> {
    let mut services: BTreeMap<&str, ServiceRoutes> = BTreeMap::new();
    for entry in asked {
        let service = entry.service.as_str();
        let wrong = |what: String| format!("routes of {service}: {what}");
        let routes = services.remove(service);
        let mut routes = match routes {
            Some(routes) => routes,
            None => new(entry).map_err(wrong)?,
        };
        let route = route(entry).map_err(wrong)?;
        routes = match entry.method.as_str() {
            "" => routes.default_route(route),
            method => routes.method(method, route),
        };
        services.insert(service, routes);
    }
    let all = Routes::new();
    Ok(services.into_values().fold(all, Routes::with))
}

fn new(entry: &SubjectRoute) -> Result<ServiceRoutes, Refused> {
    let mut routes = ServiceRoutes::new(&entry.service);
    if !entry.path_prefix.is_empty() {
        let prefixed = routes.try_path_prefix(&entry.path_prefix);
        routes = prefixed.map_err(|error| error.to_string())?;
    }
    if entry.only_these_methods {
        routes = routes.only_these_methods();
    }
    Ok(routes)
}

fn route(entry: &SubjectRoute) -> Result<Route, Refused> {
    let route = Route::new();
    let mut route = match entry.key() {
        KeySource::None => route,
        KeySource::Header => {
            let header = route.try_header(&entry.key_name);
            header.map_err(|error| error.to_string())?
        }
        KeySource::Path => route.path(),
        KeySource::Field => {
            let number = entry.key_name.parse();
            let number = number.map_err(|_| format!("{:?} is no number", entry.key_name))?;
            route.field(number, FieldKind::String)
        }
        KeySource::ServiceName => route.service_name(),
        KeySource::MethodName => route.method_name(),
    };
    route = match entry.strategy() {
        Strategy::Default => route,
        Strategy::Pinned => route.balance(Balance::Pinned),
        Strategy::ConsistentHash => route.balance(Balance::ConsistentHash),
        Strategy::RoundRobin => route.balance(Balance::RoundRobin),
        Strategy::LeastLoaded => route.balance(Balance::LeastLoaded),
    };
    if entry.reject_missing {
        route = route.reject_missing();
    }
    if !entry.declared_keys.is_empty() {
        route = route.declared_keys(&entry.declared_keys);
    }
    if entry.idempotent {
        route = route.idempotent();
    }
    Ok(route)
}
