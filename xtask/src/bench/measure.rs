//! Runs the load program once.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::data::Part;
use super::paths::Path;
use super::process::Running;
use super::programs::Programs;
use super::workloads::Workload;
use crate::shell;

/// How long connecting, and calls that end late, may take beside the intervals.
const ROOM: Duration = Duration::from_secs(60);
/// Before each interval, in seconds.
const WARM_UP: f64 = 0.5;

#[derive(Deserialize)]
struct Report {
    parts: Vec<Part>,
}

/// One workload on one path; an error where any answer was wrong.
pub(crate) fn measure(
    programs: &Programs,
    path: &Path,
    workload: &Workload,
    seconds: f64,
) -> Result<Vec<Part>> {
    let mut load = Command::new(&programs.load);
    load.args(["run", &path.address, workload.name]);
    load.args(["--seconds", &seconds.to_string()]);
    load.args(["--warm-up", &WARM_UP.to_string()]);
    load.args(header(path));
    for (group, process) in &path.processes {
        let pids: Vec<String> = process.pids().iter().map(ToString::to_string).collect();
        load.arg("--cpu").arg(format!("{group}={}", pids.join(",")));
    }
    let intervals = workload.parts.len().max(4) as f64;
    let limit = Duration::from_secs_f64((seconds + WARM_UP) * intervals) + ROOM;
    let mut last = String::new();
    let status = shell::watch(&mut load, limit, |line| line.clone_into(&mut last))?;
    ensure!(status.success(), "the load program ended with {status}");
    let report: Report = serde_json::from_str(&last).context("what the load program printed")?;
    for part in &report.parts {
        ensure!(
            part.errors == 0,
            "{} answers were not as they must be; the first: {}",
            part.errors,
            part.first_error.as_deref().unwrap_or("unknown")
        );
        let moved = part.count > 0 || part.bulk_mb_per_second > Some(0.0);
        ensure!(moved, "no answer within {seconds} s");
    }
    Ok(report.parts)
}

/// Whether a call passes.
pub(crate) fn passes(programs: &Programs, address: &str, header: Option<&str>) -> bool {
    let mut load = Command::new(&programs.load);
    load.args([
        "run",
        address,
        "unary-1",
        "--seconds",
        "0.01",
        "--warm-up",
        "0",
    ]);
    load.args(header.into_iter().flat_map(|header| ["--header", header]));
    // It fails where no call passes: not one of its answers may be wrong.
    load.arg("--strict");
    shell::is_there(&mut load)
}

/// Opens 1,000 streams on a path; they are open until this is dropped.
pub(crate) fn hold(programs: &Programs, path: &Path, logs: &std::path::Path) -> Result<Running> {
    let mut load = Command::new(&programs.load);
    load.args(["hold", &path.address, "--streams", "1000"])
        .args(header(path));
    let held = Running::start(&load, &format!("{}-hold", path.name), logs)?;
    held.ready()?;
    Ok(held)
}

fn header(path: &Path) -> Vec<String> {
    let header = path.header.iter();
    header
        .flat_map(|header| ["--header".to_owned(), header.clone()])
        .collect()
}
