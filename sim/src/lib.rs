//! Deterministic simulation of grpcrouter: every fault, every seed, replayed from one line.
//!
//! A seed draws a [`plan`]: the options of a run, its calls and its faults. A layer runs it in virtual time
//! and tells the [`oracle`] what both edges of every call saw:
//!
//! - [`frame`]: gateways, instances and clients made of `grpcrouter-core` alone, on a network of byte
//!   streams in memory.
//! - [`net`]: the real libraries, with real HTTP/2, on hosts and links of turmoil.
//!
//! A [`story`] is a run of that second layer in which a test, not a seed, says what happens when.

pub mod determinism;
pub mod frame;
pub mod layer;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod report;
#[cfg(grpcrouter_sabotage)]
pub mod sabotages;
pub mod story;
pub mod sweep;
