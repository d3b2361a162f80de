//! `cargo xtask bench`: what a call costs, directly, through this project and through what one would use instead.
//!
//! [`paths`] starts what is called, [`rounds`] calls all of it in turn by the load program, [`many`] has many instances, [`data`] is what came of it,
//! raw; [`figures`] makes medians and ratios of that, [`report`] and [`plot`] show them. benches/README.md is the method.
//! [`check`] counts instructions instead.

mod check;
mod data;
mod figures;
mod machine;
mod many;
mod measure;
mod paths;
mod plot;
mod process;
mod programs;
mod report;
mod rounds;
mod summary;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;
use data::Data;
use figures::Figures;
use programs::Programs;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds, each of every workload on every path
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measured interval
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// Only this path or workload (repeatable); what is measured directly is always there
    #[arg(long, value_name = "PATH|WORKLOAD")]
    only: Vec<String>,
    /// One round of 1 s: whether it works, not how fast it is
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// What the files of results are called
    #[arg(long, default_value = "latest")]
    name: String,
    /// Also keep the results in benches/results
    #[arg(long)]
    save: bool,
    /// Measure no time: count instructions of the hot paths and compare them with benches/baseline.toml
    #[arg(long, conflicts_with_all = ["quick", "only", "save", "from"])]
    check: bool,
    /// With --check: take what is counted for right
    #[arg(long, requires = "check")]
    bless: bool,
    /// Measure nothing: report what this file of raw data holds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only"])]
    from: Option<PathBuf>,
}

/// Measures, or reads what was measured, and reports it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check {
        return check::run(workspace, args.bless);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        args.name.chars().all(plain) && !args.name.is_empty(),
        "--name `{}`: letters, digits, `-` and `_` only, for it names files",
        args.name
    );
    let nameless =
        "--save keeps figures of a commit, and files differ from it (mend: commit them first)";
    // Before the long part, and of what was read.
    let repeatable = args.from.is_some() || machine::Machine::read(workspace).can_be_repeated();
    ensure!(!args.save || repeatable, nameless);
    let data = match &args.from {
        Some(file) => Data::read(file)?,
        None => measured(workspace, args)?,
    };
    ensure!(!args.save || data.machine.can_be_repeated(), nameless);
    let figures = Figures::of(&data);
    let report = report::markdown(&data, &figures);
    let plot = plot::svg(&figures);
    let mut folders = vec![workspace.target.join("bench")];
    if args.save {
        folders.push(workspace.root.join("benches/results"));
    }
    for folder in &folders {
        std::fs::create_dir_all(folder)?;
        data.write(&folder.join(format!("{}.json", args.name)))?;
        std::fs::write(folder.join(format!("{}.md", args.name)), &report)?;
        std::fs::write(folder.join("throughput.svg"), &plot)?;
    }
    println!("\n{}", summary::markdown(&data, &figures));
    println!(
        "report: {}",
        folders[0].join(format!("{}.md", args.name)).display()
    );
    // What a peer cannot do is a result.
    let is_peer = |path: &str| paths::ALL.iter().any(|it| it.name == path && it.is_peer);
    let ours: Vec<String> = data
        .failures
        .iter()
        .filter(|failure| !is_peer(&failure.path))
        .map(ToString::to_string)
        .collect();
    ensure!(ours.is_empty(), "failed:\n{}", ours.join("\n"));
    Ok(())
}

fn measured(workspace: &Workspace, args: &Args) -> Result<Data> {
    let chosen = rounds::Chosen::new(&args.only)?;
    let programs = Programs::build(workspace).context("the programs to measure")?;
    let (rounds, seconds) = if args.quick {
        (1, 1.0)
    } else {
        (args.rounds, args.seconds)
    };
    let plan = rounds::Plan { rounds, seconds };
    rounds::run(workspace, &programs, &plan, &chosen)
}
