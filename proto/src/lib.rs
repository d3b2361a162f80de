//! The messages of the tunnel protocol, generated from `proto/grpcrouter/v1/router.proto`.
//!
//! The comments of that file are the specification of the protocol. With the feature `service` the
//! crate also holds tonic's client and server for `grpcrouter.v1.Router`.

/// Package `grpcrouter.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/grpcrouter.v1.rs"));
}
