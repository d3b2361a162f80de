//! Many seeds: on every core, with progress, and what they came to together.

use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Report;

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: usize,
    /// Calls of every seed, and so on.
    calls: Vec<u32>,
    messages: Vec<u32>,
    faults: Vec<u32>,
    /// Runs in which a rule was broken.
    pub failed: Vec<Report>,
}

/// Failed runs that are kept: who has so many needs no more.
const FAILED_MAX: usize = 20;

/// Runs every seed of these on `threads` threads; stops early where very many fail.
pub fn sweep(
    seeds: &[Range<u64>],
    layer: &'static str,
    threads: usize,
    progress: bool,
    run: &(dyn Fn(u64) -> Report + Sync),
) -> Summary {
    let total: u64 = seeds.iter().map(|range| range.end - range.start).sum();
    let bar = if progress {
        ProgressBar::new(total)
    } else {
        ProgressBar::hidden()
    };
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(seed) = nth(seeds, next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let report = guarded(seed, layer, run);
                    bar.inc(1);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    if summary.add(report) {
                        bar.set_message(format!("{} failed", summary.failed.len()));
                        stop.store(summary.failed.len() >= FAILED_MAX, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a seed; a panic is one more thing that must never happen.
pub fn guarded(seed: u64, layer: &'static str, run: &dyn Fn(u64) -> Report) -> Report {
    let report = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
    report.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Report::panicked(seed, layer, text.unwrap_or_default())
    })
}

/// The seed at this place among all of the ranges.
fn nth(seeds: &[Range<u64>], mut place: u64) -> Option<u64> {
    for range in seeds {
        let len = range.end - range.start;
        if place < len {
            return Some(range.start + place);
        }
        place -= len;
    }
    None
}

impl Summary {
    /// Adds a run. `true` when a rule was broken in it.
    fn add(&mut self, report: Report) -> bool {
        self.seeds += 1;
        self.calls.push(report.calls as u32);
        self.messages.push(report.messages as u32);
        self.faults.push(report.faults as u32);
        let failed = !report.is_clean();
        if failed {
            self.failed.push(report);
        }
        failed
    }

    /// The medians of calls, messages and counted faults.
    pub fn medians(&self) -> [u32; 3] {
        [&self.calls, &self.messages, &self.faults].map(|values| quantile(values, 0.5))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |values: &[u32]| values.iter().map(|v| u64::from(*v)).sum::<u64>();
        writeln!(
            f,
            "{:<9} {:>10} {:>6} {:>6} {:>6}  per seed",
            "", "in all", "p10", "median", "p90"
        )?;
        for (name, values) in [
            ("calls", &self.calls),
            ("messages", &self.messages),
            ("faults", &self.faults),
        ] {
            let [low, middle, high] = [0.1, 0.5, 0.9].map(|q| quantile(values, q));
            let all = sum(values);
            writeln!(f, "{name:<9} {all:>10} {low:>6} {middle:>6} {high:>6}")?;
        }
        writeln!(f, "faults per seed:")?;
        let most = self.faults.iter().max().copied().unwrap_or(0);
        let step = (most / 8 + 1).max(2);
        for from in (0..=most).step_by(step as usize) {
            let within = self
                .faults
                .iter()
                .filter(|n| (from..from + step).contains(n));
            let count = within.count();
            let bar = "#".repeat((count * 50).div_ceil(self.seeds.max(1)));
            writeln!(f, "{from:>4}-{:<4} {count:>8} {bar}", from + step - 1)?;
        }
        Ok(())
    }
}

fn quantile(values: &[u32], q: f64) -> u32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * q) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_every_range_is_run_once() {
        let seen = Mutex::new(Vec::new());
        let run = |seed| {
            seen.lock().unwrap().push(seed);
            Report {
                seed,
                layer: "frame",
                calls: 1,
                messages: 2,
                faults: 3,
                hash: 0,
                violations: Vec::new(),
                events: Vec::new(),
            }
        };
        let summary = sweep(&[3..5, 10..13], "frame", 2, false, &run);
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [3, 4, 10, 11, 12]);
        assert_eq!((summary.seeds, summary.medians()), (5, [1, 2, 3]));
    }
}
