//! Every workload on every path in turn, several times over.

use anyhow::{Result, bail};

use super::data::{Data, Failure, Missing, PathData, Sample};
use super::machine::Machine;
use super::many;
use super::measure::{hold, measure};
use super::paths::{self, Kind, Path};
use super::programs::Programs;
use super::workloads::{WORKLOADS, Workload};
use crate::workspace::Workspace;

pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
}

/// What of all paths and workloads is run.
pub(crate) struct Chosen {
    paths: Vec<&'static Kind>,
    workloads: Vec<&'static Workload>,
    /// Whether many instances are started too.
    many: bool,
}

impl Chosen {
    /// Those that are named; where no path is named all paths, and so for workloads.
    pub(crate) fn new(only: &[String]) -> Result<Self> {
        let is = |name: &str| only.iter().any(|it| it == name);
        let known = |name: &&String| {
            paths::ALL.iter().any(|it| it.name == **name)
                || WORKLOADS.iter().any(|it| it.name == **name)
                || **name == many::NAME
        };
        if let Some(unknown) = only.iter().find(|name| !known(name)) {
            let paths = paths::ALL.iter().map(|it| it.name);
            let names: Vec<_> = paths
                .chain(WORKLOADS.iter().map(|it| it.name))
                .chain([many::NAME])
                .collect();
            bail!(
                "--only {unknown}: no such path or workload; there are {}",
                names.join(", ")
            );
        }
        let any_path = paths::ALL.iter().any(|it| is(it.name));
        let any_workload = WORKLOADS.iter().any(|it| is(it.name)) || is(many::NAME);
        let paths = paths::ALL.iter();
        let workloads = WORKLOADS.iter();
        Ok(Self {
            paths: paths
                .filter(|it| !any_path || it.is_direct || is(it.name))
                .collect(),
            many: is(many::NAME) || only.is_empty(),
            workloads: workloads
                .filter(|it| !any_workload || is(it.name))
                .collect(),
        })
    }
}

/// Starts all paths, measures, and ends them.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &Programs,
    plan: &Plan,
    chosen: &Chosen,
) -> Result<Data> {
    let mut data = Data {
        machine: Machine::read(workspace),
        rounds: plan.rounds,
        seconds: plan.seconds,
        paths: Vec::new(),
        missing: Vec::new(),
        failures: Vec::new(),
        figures: Vec::new(),
        samples: Vec::new(),
    };
    let place = paths::Place::new(workspace, programs);
    let mut running = Vec::new();
    let paths: &[_] = if chosen.workloads.is_empty() {
        &[]
    } else {
        &chosen.paths
    };
    for kind in paths {
        match (kind.start)(&place, kind.name) {
            Ok(path) => {
                for command in &path.commands {
                    println!("{:<14} $ {command}", kind.name);
                }
                data.paths.push(PathData {
                    name: kind.name.to_owned(),
                    title: kind.title.to_owned(),
                    commands: path.commands.clone(),
                    idle_kib: path.memory()?,
                    streams_kib: std::collections::BTreeMap::new(),
                });
                running.push((*kind, path));
            }
            Err(error) if kind.is_peer => {
                println!("{:<14} did not run: {error:#}", kind.name);
                data.missing.push(Missing {
                    path: kind.name.to_owned(),
                    why: format!("{error:#}"),
                });
            }
            Err(error) => return Err(error.context(format!("path {}", kind.name))),
        }
    }
    for ((_, path), known) in running.iter().zip(&mut data.paths) {
        match streams(programs, path, &place) {
            Ok(memory) => known.streams_kib = memory,
            Err(error) => failed(&mut data.failures, path, "1,000 streams", &error),
        }
    }
    for round in 0..plan.rounds {
        for workload in &chosen.workloads {
            // Each round begins with another path, so that none always follows the same one.
            let mut order: Vec<_> = running.iter().collect();
            order.rotate_left(round as usize % running.len().max(1));
            for (kind, path) in order {
                if kind.is_wide && !workload.is_echo {
                    continue;
                }
                let name = format!("round {} {} {}", round + 1, path.name, workload.name);
                match measure(programs, path, workload, plan.seconds) {
                    Ok(parts) => {
                        for part in parts {
                            println!(
                                "{name:<42} {:<6} {:>10.0}/s {:>8.1} MB/s p50 {:>8.1} us p99 {:>8.1} us",
                                part.name,
                                part.per_second,
                                part.mb_per_second + part.bulk_mb_per_second.unwrap_or(0.0),
                                part.p50_us,
                                part.p99_us
                            );
                            data.samples.push(Sample {
                                round,
                                path: path.name.clone(),
                                workload: workload.name.to_owned(),
                                part,
                            });
                        }
                    }
                    Err(error) => {
                        let what = format!("round {} {}", round + 1, workload.name);
                        failed(&mut data.failures, path, &what, &error);
                    }
                }
            }
        }
    }
    // All else has ended by then: what is read of one gateway must not be moved by others.
    drop(running);
    if chosen.many {
        let failures = &mut data.failures;
        data.figures = many::run(&place, programs, plan.rounds, plan.seconds, failures);
    }
    Ok(data)
}

fn failed(failures: &mut Vec<Failure>, path: &Path, what: &str, error: &anyhow::Error) {
    let failure = Failure {
        path: path.name.clone(),
        what: what.to_owned(),
        why: format!("{error:#}"),
    };
    println!("FAILED {failure}");
    failures.push(failure);
}

/// Memory of a path with 1,000 open streams.
fn streams(
    programs: &Programs,
    path: &Path,
    place: &paths::Place<'_>,
) -> Result<std::collections::BTreeMap<String, u64>> {
    let held = hold(programs, path, &place.logs)?;
    let memory = path.memory();
    drop(held);
    memory
}
