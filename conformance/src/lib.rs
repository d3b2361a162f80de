//! Checks gateways and instances of the tunnel protocol, whoever wrote them.
//!
//! A map of the code:
//!
//! - [`catalogue`] is every case by id, [`known`] what an implementation is known to fail.
//! - [`link`] is the suite's own TCP hop: every fault of a network on loopback.
//! - [`probe`] is the measuring device, and the suite's end of its side channel.
//! - [`subject`] starts what is judged.
//!
//! It shares no code with the implementations that it judges but the messages of the `.proto` files.

pub mod catalogue;
pub mod clock;
pub mod glob;
pub mod known;
pub mod link;
pub mod probe;
pub mod subject;

/// The messages of `proto/probe.proto` and `proto/subject.proto`, whose comments are their specification.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/grpcrouter.conformance.v1.rs"));
}
