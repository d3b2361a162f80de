//! The same seed runs the same way: twice in a program, and in another program.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::layer::Layer;
use crate::report::Watch;

/// Seeds that are run again.
pub const SEEDS: u64 = 20;

const WHOLE: Watch = Watch {
    whole: true,
    print: false,
    wall_clock: false,
};

/// The hashes of so many seeds from this one on, over every event and the bytes of every segment.
pub fn hashes(layer: Layer, from: u64, count: u64) -> Vec<u64> {
    let hash = |seed| layer.run(seed, None, WHOLE).hash;
    (from..from + count).map(hash).collect()
}

/// Runs seeds of a layer twice here, and twice in programs of their own; `hashes` is the command that
/// prints them there. A clock that is read in the run must show.
///
/// # Errors
/// Names the first seed that differs.
pub fn check(layer: Layer, mut another: impl FnMut() -> Command) -> Result<()> {
    let first = hashes(layer, 0, SEEDS);
    compare(
        "run again in the same program",
        &first,
        &hashes(layer, 0, SEEDS),
    )?;
    for _ in 0..2 {
        let output = another().output().context("cannot start another program")?;
        ensure!(
            output.status.success(),
            "another program failed: {}",
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let parse = |line: &str| u64::from_str_radix(line, 16);
        let other: Result<Vec<u64>, _> = text.lines().map(parse).collect();
        compare(
            "run in another program",
            &first,
            &other.context("no hashes")?,
        )?;
    }
    let planted = Watch {
        wall_clock: true,
        ..WHOLE
    };
    if layer.run(0, None, planted).hash == layer.run(0, None, planted).hash {
        bail!("{layer}: a clock was read in the run, and the hash does not show it");
    }
    Ok(())
}

fn compare(what: &str, first: &[u64], other: &[u64]) -> Result<()> {
    ensure!(first.len() == other.len(), "{what}: {} hashes", other.len());
    for (seed, (one, two)) in first.iter().zip(other).enumerate() {
        ensure!(one == two, "seed {seed}, {what}: {one:016x} and {two:016x}");
    }
    Ok(())
}
