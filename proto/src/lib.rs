//! The messages of the tunnel protocol, generated from `proto/grpcrouter/v1/router.proto`, and the routing
//! options of services, `options.proto` beside it.
//!
//! The comments of the former are the specification of the protocol. With the feature `service` the
//! crate also holds tonic's client and server for `grpcrouter.v1.Router`.

/// Package `grpcrouter.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/grpcrouter.v1.rs"));
}

/// The text of `grpcrouter/v1/options.proto`, which files with routing options import.
pub const OPTIONS_PROTO: &str = include_str!("../grpcrouter/v1/options.proto");
