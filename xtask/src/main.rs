//! Everything that is run from this repository, one file a task: `cargo xtask --help`.

mod bench;
mod cases;
mod ci;
mod codegen;
mod conformance;
mod containers;
mod controls;
mod demo;
mod judged;
mod ledger;
mod lockfile;
mod proves;
mod purity;
mod python;
mod results;
mod shell;
mod sim;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Everything that is run from this repository",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// What a call costs: directly, through this project, and through what one would use instead
    Bench(bench::Args),
    /// Everything that must hold before a change lands
    Ci(ci::Args),
    /// The case ledger: every case of behaviour, the tests that prove it, and their last result
    Cases(cases::Args),
    /// Takes generated code as it is now for right, or checks that it is as its snapshots are
    Codegen(codegen::Args),
    /// The conformance suite against every implementation here, and against broken ones
    Conformance(conformance::Args),
    /// The cases of the suite over networks between containers, which need a Docker daemon
    Containers,
    /// A gateway, two instances and a client on this machine: one call of each kind
    Demo,
    /// The simulation: seeds, each a world of gateways, instances and clients with its faults
    Sim(sim::Args),
    /// Rules about the text of the sources that no other tool checks
    Tidy,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        // Not returned from main, which would add a backtrace where RUST_BACKTRACE is set.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = workspace::Workspace::load()?;
    match task {
        Task::Bench(args) => bench::run(&workspace, &args),
        Task::Ci(args) => ci::run(&workspace, &args),
        Task::Cases(args) => cases::run(&workspace, &args),
        Task::Codegen(args) => codegen::run(&workspace, &args),
        Task::Conformance(args) => conformance::run(&workspace, &args),
        Task::Containers => containers::run(&workspace),
        Task::Demo => demo::run(&workspace),
        Task::Sim(args) => sim::run(&workspace, &args),
        Task::Tidy => tidy::run(&workspace),
    }
}
