//! Call any gRPC server behind a firewall: it dials out, clients call the gateway.
//!
//! An **instance** dials out to a **gateway** and holds one tunnel to it. **Clients** call the gateway
//! with their ordinary stubs; the gateway picks an instance and carries the call over the tunnel, all
//! four kinds, with nothing buffered beyond a [declared bound](Bound).
//!
//! - [`Gateway`]: listens for clients and for tunnels, or mounts in another server.
//! - [`Instance`]: serves any tower service of HTTP requests, such as tonic's `Routes`, through gateways.
//! - [`Upstream`]: a service that calls a local gRPC server, in any language; with it an instance is an
//!   **agent**.
//! - [`ServiceInstance`]: one implementation, served directly, through gateways or both, as a [`Mode`] says.
//! - [`ServiceRouter`]: how the calls of a service are [routed](routing); generated code writes them.
//! - [`GatewayChannel`]: calls of code inside the gateway's process.
//!
//! Listener, dialer, clock and random seed are parameters, so that all of it also runs on a simulated
//! network.

mod agent;
mod clock;
mod dual;
mod flag;
mod gateway;
mod h2_service;
mod hop;
mod instance;
mod net;
mod outflow;
mod status;
mod tunnel;

pub use agent::{Agent, AgentConfig, AgentError, Upstream, UpstreamBody};
pub use clock::{Clock, first_epoch};
pub use dual::{Mode, ModeError, ServeError, ServiceInstance, Serving};
pub use gateway::{
    Bound, CLIENT_WINDOW_MIN, CallCounts, Counted, Gateway, GatewayBody, GatewayChannel,
    GatewayConfig, GatewayService, Gauge, Gauges, Metrics, RouterService, ServiceRouter,
};
pub use grpcrouter_core::Config as TunnelConfig;
pub use grpcrouter_core::descriptors::DescriptorLimits;
pub use grpcrouter_core::registry::RegistryLimits;
pub use grpcrouter_core::routing;
pub use grpcrouter_proto as proto;
pub use instance::{Backoff, Instance, InstanceConfig, InstanceError, InstanceHandle, RequestBody};
pub use net::{
    BoxFuture, BoxIo, Dialer, InvalidTarget, Io, Listener, Target, TcpDialer, TcpListener,
};
pub use status::{Code, GatewayStatus, INSTANCE, REASON, Reason, WAIT_FOR_READY};

/// The README's examples are compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
