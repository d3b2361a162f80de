//! The client side of a measurement, on one thread.
//!
//! A [`Workload`] is run by [`run`] as one or more parts. In each, workers call without a pause, first unmeasured and
//! then for as long as was asked for; a gate tells them which it is, and a tally keeps what each saw.

mod client;
mod cpu;
mod gate;
mod hold;
mod report;
mod run;
mod tally;
mod workers;
mod workload;

pub use client::{Client, Settings};
pub use cpu::{Group, Processes};
pub use hold::hold;
pub use report::{Part, Report};
pub use run::{Plan, run};
pub use workload::Workload;

use gate::Gate;
use tally::Tally;

/// The one reading of the clock: latencies of some microseconds need more than `grpcrouter::Clock` gives.
#[expect(
    clippy::disallowed_methods,
    reason = "this is no part of the router, and measures"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
