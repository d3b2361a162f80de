//! What one worker, or all of them, saw.

use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::Gate;

/// The longest latency that is told apart, in nanoseconds: 60 s. Longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// After so many errors a worker gives up: a path that is down is not to be hammered.
const ERRORS_MAX: u64 = 10;

/// Counts and latencies.
#[derive(Debug)]
pub(super) struct Tally {
    /// Calls or messages that ended as they should while it was measured.
    pub(super) count: u64,
    /// Bytes of payload that moved with them, both ways.
    pub(super) bytes: u64,
    /// Calls that ended otherwise, measured or not: none of them is expected.
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) latencies: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1_000, LONGEST_NS, 3);
        Ok(Self {
            count: 0,
            bytes: 0,
            errors: 0,
            first_error: None,
            latencies: latencies.context("the bounds of a histogram")?,
        })
    }

    /// Something ended well that began at `start`.
    pub(super) fn ended(&mut self, gate: &Gate, start: Instant, count: u64, bytes: u64) {
        if gate.is_measured() {
            let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(ns);
            self.count += count;
            self.bytes += bytes;
        }
    }

    /// Messages of something that goes on.
    pub(super) fn moved(&mut self, gate: &Gate, count: u64, bytes: u64) {
        if gate.is_measured() {
            self.count += count;
            self.bytes += bytes;
        }
    }

    /// An answer that was not as it must be.
    pub(super) fn failed(&mut self, why: impl std::fmt::Display) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| why.to_string());
    }

    /// Whether to begin something more.
    pub(super) fn goes_on(&self, gate: &Gate) -> bool {
        !gate.is_over() && self.errors < ERRORS_MAX
    }

    /// Of all together.
    pub(super) fn add(&mut self, other: Self) -> Result<()> {
        self.count += other.count;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latencies
            .add(other.latencies)
            .context("histograms of the same bounds")
    }

    /// A percentile in microseconds.
    pub(super) fn micros(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1_000.0
    }
}
