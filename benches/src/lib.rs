//! What measures gateways and instances: `cargo xtask bench` runs it, and benches/README.md says how.
//!
//! - [`service`]: what is called, the same behind every path. [`windows`]: the settings that every path has in common.
//! - [`load`]: the client side: its workloads, what they count, and the processor time that others use meanwhile.
//! - [`layers`]: the layers of a call one by one. [`in_memory`]: all of them in one process, without the kernel.

pub mod in_memory;
pub mod layers;
pub mod load;
pub mod service;
pub mod windows;

/// Package `bench.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    tonic::include_proto!("bench.v1");
}
