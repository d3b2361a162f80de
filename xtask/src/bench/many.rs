//! What many instances cost a gateway: memory, heartbeats, and calls beside them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::data::{Failure, Figure};
use super::measure::measure;
use super::paths::{self, Path, Place};
use super::process::Running;
use super::programs::Programs;
use super::workloads::WORKLOADS;
use crate::shell;

/// The name by which `--only` knows it.
pub(super) const NAME: &str = "many-instances";
/// How many there are in the end.
const MANY: u32 = 10_000;
/// How long all of them may take until they are registered.
const REGISTERED: Duration = Duration::from_secs(120);
/// Over how many seconds their heartbeats are watched: two intervals.
const WATCHED: u64 = 10;
/// Files that a gateway and its instances may need beside one for each.
const ROOM: u64 = 500;
/// On one connection where they share it: nearly as many as `--max-streams` lets in.
const SHARED: u32 = 1_000;

/// All of it: figures with their names.
pub(super) fn run(
    place: &Place<'_>,
    programs: &Programs,
    rounds: u32,
    seconds: f64,
    failures: &mut Vec<Failure>,
) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut attempt = |what: &str, done: Result<()>| {
        if let Err(error) = done {
            let failure = Failure {
                path: "instance".to_owned(),
                what: what.to_owned(),
                why: format!("{error:#}"),
            };
            println!("FAILED {failure}");
            failures.push(failure);
        }
    };
    attempt("memory of tunnels", memory(place, programs, &mut figures));
    attempt(
        "calls beside tunnels",
        calls(place, programs, rounds, seconds, &mut figures),
    );
    figures
}

/// Resident memory of a gateway with tunnels, and what their heartbeats cost.
fn memory(place: &Place<'_>, programs: &Programs, figures: &mut Vec<Figure>) -> Result<()> {
    enough_files()?;
    for (per_connection, how) in [(1, "a connection each"), (SHARED, "1,000 on a connection")] {
        for instances in [1_000, MANY] {
            let mut path = Path::bare(&format!("{NAME}-{instances}-{per_connection}"));
            let tunnel = paths::gateway_for_many(&mut path, place)?;
            let idle = kib(&path)?;
            let many = start(place, programs, &tunnel, instances, per_connection)?;
            let with = kib(&path)?;
            let each = (with.saturating_sub(idle)) as f64 / f64::from(instances);
            let name = format!("{instances} idle tunnels, {how}");
            push(
                figures,
                format!("gateway idle, before {name}"),
                idle as f64 / 1024.0,
                "MiB",
            );
            push(
                figures,
                format!("gateway with {name}"),
                with as f64 / 1024.0,
                "MiB",
            );
            push(figures, format!("each of {name}"), each, "KiB");
            if instances == MANY {
                let cpu = cpu_percent(&path)?;
                push(figures, format!("heartbeats of {name}"), cpu, "% of a core");
            }
            drop(many);
        }
    }
    Ok(())
}

/// Unary calls through a gateway with one instance, and with 10,000 more of another service, in turn.
fn calls(
    place: &Place<'_>,
    programs: &Programs,
    rounds: u32,
    seconds: f64,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    enough_files()?;
    let alone = paths::instance_for_many(place, &format!("{NAME}-one"))?;
    let beside = paths::instance_for_many(place, &format!("{NAME}-beside"))?;
    let (path, tunnel) = &beside;
    let many = start(place, programs, tunnel, MANY, 1)?;
    let workload = WORKLOADS.iter().find(|it| it.name == "unary-64");
    let workload = workload.context("a workload of small unary calls")?;
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut rates = BTreeMap::new();
        let mut order = [("one", &alone.0), ("beside", path)];
        order.rotate_left(round as usize % 2);
        for (name, path) in order {
            let parts = measure(programs, path, workload, seconds)?;
            let rate = parts.first().context("an interval")?.per_second;
            rates.insert(name, rate);
        }
        ratios.push(rates["beside"] / rates["one"]);
    }
    drop(many);
    ratios.sort_by(f64::total_cmp);
    let lower = ratios[ratios.len() / 4];
    let median = ratios[ratios.len() / 2];
    let name = format!("unary, 64 in flight, with {MANY} more instances registered");
    push(
        figures,
        format!("{name}: median of the rounds"),
        median,
        "of one instance's",
    );
    push(
        figures,
        format!("{name}: lower quartile"),
        lower,
        "of one instance's",
    );
    Ok(())
}

fn start(
    place: &Place<'_>,
    programs: &Programs,
    tunnel: &str,
    instances: u32,
    per_connection: u32,
) -> Result<Running> {
    let mut many = Command::new(&programs.server);
    many.args([
        "many-instances",
        &format!("http://{tunnel}"),
        &instances.to_string(),
    ]);
    many.args(["--per-connection", &per_connection.to_string()]);
    let running = Running::start(&many, NAME, &place.logs)?;
    running.ready_within(REGISTERED)?;
    Ok(running)
}

fn kib(path: &Path) -> Result<u64> {
    Ok(path.memory()?.into_values().sum())
}

/// Processor time of a gateway while nothing happens, as a share of one core.
fn cpu_percent(path: &Path) -> Result<f64> {
    let (_, gateway) = path.processes.first().context("a gateway")?;
    let before = gateway.cpu_seconds()?;
    let begin = shell::now();
    pass(Duration::from_secs(WATCHED));
    let length = begin.elapsed().as_secs_f64();
    Ok((gateway.cpu_seconds()? - before) / length * 100.0)
}

/// Lets time pass that is itself what is measured.
fn pass(length: Duration) {
    let (_send, nothing) = sync_channel::<()>(0);
    assert_eq!(nothing.recv_timeout(length), Err(RecvTimeoutError::Timeout));
}

/// Whether the processes may have a socket for each instance: they inherit the limit.
fn enough_files() -> Result<()> {
    let needed = u64::from(MANY) + ROOM;
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let soft = soft.map_or(0, |soft| soft.parse().unwrap_or(u64::MAX));
    ensure!(
        soft >= needed,
        "{needed} open files are needed, and the limit is {soft} (mend: `ulimit -n {needed}` in this shell first)"
    );
    Ok(())
}

fn push(figures: &mut Vec<Figure>, name: String, value: f64, unit: &str) {
    println!("{name}: {value:.2} {unit}");
    figures.push(Figure {
        name,
        value,
        unit: unit.to_owned(),
    });
}
