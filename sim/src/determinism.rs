//! The same seed runs the same way: twice in a program, and in other programs.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::layer::Layer;
use crate::report::Watch;

/// Seeds that are run again.
pub const SEEDS: u64 = 20;
/// Seeds in which a clock is read.
const PLANTED: u64 = 4;

const WHOLE: Watch = Watch {
    whole: true,
    print: false,
    wall_clock: false,
};

/// The hashes of so many seeds from this one on, over every event and the bytes of every segment.
pub fn hashes(layer: Layer, from: u64, count: u64) -> Vec<u64> {
    watched(layer, from, count, WHOLE)
}

fn watched(layer: Layer, from: u64, count: u64, watch: Watch) -> Vec<u64> {
    let hash = |seed| layer.run(seed, None, watch).hash;
    (from..from + count).map(hash).collect()
}

/// A line of the command that prints hashes.
pub fn line(seed: u64, hash: u64) -> String {
    format!("{seed} {hash:016x}")
}

/// Runs seeds of a layer twice here, and meanwhile in two programs of their own; `another` is the command
/// that prints their lines. A clock that is read in the run must show.
///
/// # Errors
/// Names the first seed that differs.
pub fn check(layer: Layer, mut another: impl FnMut() -> Command) -> Result<()> {
    let mut start = || another().stdout(Stdio::piped()).spawn();
    let others = [start(), start()];
    let first = hashes(layer, 0, SEEDS);
    let again = hashes(layer, 0, SEEDS);
    compare("run again in the same program", &first, &again)?;
    for other in others {
        let other = printed(other.context("cannot start another program")?)?;
        compare("run in another program", &first, &other)?;
    }
    check_planted(layer, &first)
}

/// What another program printed.
fn printed(program: Child) -> Result<Vec<u64>> {
    let output = program.wait_with_output()?;
    let status = output.status;
    ensure!(status.success(), "another program failed: {status}");
    let text = String::from_utf8_lossy(&output.stdout);
    let hash = |line: &str| {
        let (_, hash) = line.split_once(' ').context("no hash in a line")?;
        u64::from_str_radix(hash, 16).context("not a hash")
    };
    text.lines().map(hash).collect()
}

fn compare(what: &str, first: &[u64], other: &[u64]) -> Result<()> {
    ensure!(first.len() == other.len(), "{what}: {} hashes", other.len());
    for (seed, (one, two)) in first.iter().zip(other).enumerate() {
        ensure!(one == two, "seed {seed}, {what}: {one:016x} and {two:016x}");
    }
    Ok(())
}

/// A clock that the run reads changes the course of every seed, and every time another way.
fn check_planted(layer: Layer, whole: &[u64]) -> Result<()> {
    let watch = Watch {
        wall_clock: true,
        ..WHOLE
    };
    let once = watched(layer, 0, PLANTED, watch);
    for (seed, (planted, whole)) in once.iter().zip(whole).enumerate() {
        let same = planted == whole;
        ensure!(
            !same,
            "seed {seed}: a clock was read, and the hash is {whole:016x} still"
        );
    }
    let again = watched(layer, 0, PLANTED, watch);
    ensure!(
        once != again,
        "a clock was read twice, and the hashes are the same"
    );
    Ok(())
}

/// The shortest planted delay: the network moves in steps of some milliseconds, and one that is shorter than a
/// step is as if it had not been.
const PLANTED_MIN: Duration = Duration::from_millis(20);

/// What must never be in a run: a delay, 20 to 520 ms, that a clock of this machine says. Nothing but what
/// waits for it tells the trace of it.
#[allow(
    clippy::disallowed_methods,
    reason = "planted, to show that the hashes would tell"
)]
pub(crate) fn machine_delay() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.subsec_nanos());
    PLANTED_MIN + Duration::from_nanos(u64::from(nanos) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_the_frame_level_run_the_same_way_and_a_clock_that_is_read_shows() {
        let first = hashes(Layer::Frame, 0, SEEDS);
        let again = hashes(Layer::Frame, 0, SEEDS);
        compare("run again", &first, &again).unwrap();
        check_planted(Layer::Frame, &first).unwrap();
    }

    #[test]
    fn a_seed_that_differs_is_named() {
        let error = compare("run again", &[1, 2], &[1, 3]).unwrap_err();
        assert!(error.to_string().starts_with("seed 1, run again: "));
        assert!(compare("run again", &[1, 2], &[1]).is_err());
    }
}
