//! The probe: the measuring device, as `proto/probe.proto` specifies it.
//!
//! - [`Script`] builds what a handler is to do; [`payload`] makes the messages that it sends.
//! - [`Probe`] is the service that obeys scripts, as a tower service on the level of HTTP: its bytes are raw.
//! - [`side`] is the channel over which it reports, both ends.

mod action;
mod deframe;
mod handler;
mod inbound;
mod metadata;
mod outbound;
pub mod payload;
mod run;
mod script;
pub mod side;

pub use handler::{Lie, Probe};
pub use outbound::ProbeBody;
pub use script::Script;

/// The full name of the service.
pub const SERVICE: &str = "grpcrouter.conformance.v1.Probe";
/// The metadata key that names a call.
pub const CALL: &str = "probe-call";
/// The metadata key of the script.
pub const SCRIPT: &str = "probe-script-bin";
/// The longest message that a handler takes, in bytes: four times the longest of any case.
pub const MESSAGE_MAX: usize = 64 << 20;

/// The path of a method of the service.
pub fn path(method: &str) -> String {
    format!("/{SERVICE}/{method}")
}
