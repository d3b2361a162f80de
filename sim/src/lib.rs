//! Deterministic simulation of grpcrouter: every fault, every seed, replayed from one line.
//!
//! A seed draws a [`plan`]: the options of a run, its calls and its faults. A layer runs it in virtual time
//! and tells the [`oracle`] what both edges of every call saw:
//!
//! - [`frame`]: gateways, instances and clients made of `grpcrouter-core` alone, on a network of byte
//!   streams in memory.

pub mod frame;
pub mod oracle;
pub mod plan;
pub mod report;
pub mod sweep;
