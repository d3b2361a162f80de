//! What is printed: one line of JSON a run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Tally;

/// All that one run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The workload's name.
    pub workload: String,
    /// What is counted: `calls` or `messages`.
    pub unit: &'static str,
    /// In the order in which they ran. A name may come twice.
    pub parts: Vec<Part>,
}

/// One measured interval.
#[derive(Debug, Serialize)]
pub struct Part {
    /// `main`; or `alone`, `beside` and `bulk`.
    pub name: &'static str,
    /// Its length.
    pub seconds: f64,
    /// Calls or messages in it.
    pub count: u64,
    /// The same a second.
    pub per_second: f64,
    /// Payload both ways, in millions of bytes a second.
    pub mb_per_second: f64,
    /// Latency of a call, of a whole stream, or of a message to and fro, in microseconds.
    pub p50_us: f64,
    /// As `p50_us`.
    pub p99_us: f64,
    /// As `p50_us`.
    pub p999_us: f64,
    /// Payload of the bulk stream beside it.
    pub bulk_mb_per_second: Option<f64>,
    /// Answers that were not as they must be.
    pub errors: u64,
    /// What was wrong with the first of them.
    pub first_error: Option<String>,
    /// Processor seconds in the interval, by group of processes.
    pub cpu_seconds: BTreeMap<String, f64>,
}

impl Part {
    pub(super) fn new(
        name: &'static str,
        seconds: f64,
        tally: &Tally,
        bulk: Option<&Tally>,
        cpu_seconds: BTreeMap<String, f64>,
    ) -> Self {
        let mb = |tally: &Tally| tally.bytes as f64 / 1e6 / seconds;
        let of_bulk = bulk.and_then(|bulk| bulk.first_error.clone());
        Self {
            name,
            seconds,
            count: tally.count,
            per_second: tally.count as f64 / seconds,
            mb_per_second: mb(tally),
            p50_us: tally.micros(50.0),
            p99_us: tally.micros(99.0),
            p999_us: tally.micros(99.9),
            bulk_mb_per_second: bulk.map(mb),
            errors: tally.errors + bulk.map_or(0, |bulk| bulk.errors),
            first_error: tally.first_error.clone().or(of_bulk),
            cpu_seconds,
        }
    }
}
