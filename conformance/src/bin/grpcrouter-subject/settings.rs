//! From the request's settings to the library's. What is 0 stays as the library has it.

use std::time::Duration;

use grpcrouter::{GatewayConfig, InstanceConfig, InstanceError, Target, TunnelConfig};
use grpcrouter_conformance::pb::{SubjectInstance, SubjectSettings};
use grpcrouter_conformance::probe::SERVICE;

use crate::{Refused, routes};

/// Fields that a gateway has.
pub(crate) const OF_GATEWAY: &[&str] = &[
    "client_window",
    "call_window",
    "call_window_max",
    "heartbeat_ms",
    "message_max",
    "max_metadata",
    "max_calls",
    "max_streams",
    "drain_timeout_ms",
    "handshake_timeout_ms",
    "preface_timeout_ms",
    "client_keepalive_ms",
    "routes",
    "max_connections",
];

/// Fields that an instance has.
pub(crate) const OF_INSTANCE: &[&str] = &[
    "call_window",
    "call_window_max",
    "message_max",
    "max_metadata",
    "max_calls",
    "drain_timeout_ms",
    "handshake_timeout_ms",
    "backoff_ms",
    "backoff_max_ms",
    "id",
    "gateways",
    "side",
    "services",
    "keys",
    "labels",
    "weight",
    "epoch_us",
];

pub(crate) fn gateway(settings: &SubjectSettings) -> Result<GatewayConfig, Refused> {
    let mut config = GatewayConfig::default();
    tunnel(&mut config.tunnel, settings)?;
    set(&mut config.client_window, settings.client_window);
    set(&mut config.max_streams, settings.max_streams);
    set(
        &mut config.max_connections,
        settings.max_connections as usize,
    );
    set_ms(&mut config.drain_timeout, settings.drain_timeout_ms);
    set_ms(&mut config.preface_timeout, settings.preface_timeout_ms);
    set_ms(&mut config.client_keepalive, settings.client_keepalive_ms);
    config.routes = routes::of(&settings.routes)?;
    Ok(config)
}

pub(crate) fn instance(
    asked: &SubjectInstance,
    settings: &SubjectSettings,
) -> Result<InstanceConfig, Refused> {
    let mut services = asked.services.clone();
    if services.is_empty() {
        services.push(SERVICE.to_owned());
    }
    let mut config = InstanceConfig::new(&asked.id, services);
    let targets = asked.gateways.iter().map(|addr| target(addr));
    config.gateways = targets.collect::<Result<_, _>>()?;
    if config.gateways.is_empty() {
        return Err("an instance needs a gateway".to_owned());
    }
    tunnel(&mut config.tunnel, settings)?;
    config.keys.clone_from(&asked.keys);
    config.labels.clone_from(&asked.labels);
    set(&mut config.weight, asked.weight);
    set(&mut config.epoch.started_us, asked.epoch_us);
    set_ms(&mut config.drain_timeout, settings.drain_timeout_ms);
    set_ms(&mut config.backoff.first, settings.backoff_ms);
    set_ms(&mut config.backoff.cap, settings.backoff_max_ms);
    env!("CARGO_PKG_VERSION").clone_into(&mut config.version);
    Ok(config)
}

/// A port on this machine.
pub(crate) fn target(addr: &str) -> Result<Target, Refused> {
    let target = format!("http://{addr}").parse();
    target.map_err(|error| format!("{addr:?}: {error}"))
}

/// The exit code for the end of an instance, as the command line's.
pub(crate) fn exit_code(error: &InstanceError) -> i32 {
    match error {
        InstanceError::Superseded { .. } => 3,
        InstanceError::Refused { .. } => 4,
        InstanceError::NoGateway | InstanceError::GatewayTwice(_) => 2,
        InstanceError::DrainTimeout(_) => crate::life::CUT_OFF,
    }
}

fn tunnel(config: &mut TunnelConfig, settings: &SubjectSettings) -> Result<(), Refused> {
    set(&mut config.call_window, settings.call_window);
    // A window that was asked for is not smaller than what it grows to.
    config.call_window_max = config.call_window_max.max(config.call_window);
    set(&mut config.call_window_max, settings.call_window_max);
    set(&mut config.max_metadata, settings.max_metadata as usize);
    set(&mut config.max_calls, settings.max_calls);
    set_ms(&mut config.heartbeat_interval, settings.heartbeat_ms);
    set_ms(&mut config.handshake_timeout, settings.handshake_timeout_ms);
    if settings.message_max > 0 {
        config.message_max = Some(settings.message_max);
    }
    if config.call_window_max < config.call_window {
        return Err("call_window_max is smaller than call_window".to_owned());
    }
    config.check()
}

fn set<T: PartialEq + Default>(to: &mut T, asked: T) {
    if asked != T::default() {
        *to = asked;
    }
}

fn set_ms(to: &mut Duration, asked: u32) {
    if asked > 0 {
        *to = Duration::from_millis(asked.into());
    }
}
