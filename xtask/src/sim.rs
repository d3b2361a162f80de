//! `cargo xtask sim`: builds the simulation, with its deliberate faults, and runs it.

use std::process::Command;

use anyhow::Result;

use crate::ci::Tally;
use crate::shell;
use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What to run: `cargo xtask sim --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The configurations that the simulation is built with: turmoil seeds tokio's random numbers only under the
/// first, and the deliberate faults exist only under the second.
const FLAGS: &str = "--cfg tokio_unstable --cfg grpcrouter_sabotage";

/// Runs seeds.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut command = built(workspace)?;
    shell::run(command.args(&args.args))
}

/// Everything that must hold of the simulation, as a step of ci.
pub(crate) fn step(workspace: &Workspace) -> Result<Tally> {
    let commit = commit(workspace);
    shell::run(built(workspace)?.args(["--check", &commit]))?;
    Ok(Tally {
        passed: 1,
        ..Tally::default()
    })
}

/// The program, built in a folder of its own: its flags are those of no other build.
fn built(workspace: &Workspace) -> Result<Command> {
    let target = workspace.target.join("sim");
    let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
    let build = [
        "build",
        "--quiet",
        "--profile",
        "sim",
        "-p",
        "grpcrouter-sim",
        "--locked",
    ];
    cargo
        .args(build)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target);
    shell::run(&mut cargo)?;
    let mut command = Command::new(target.join("sim/grpcrouter-sim"));
    command.args(["--commit", &commit(workspace)]);
    Ok(command)
}

/// The commit that is checked out; `unknown` outside of a repository.
fn commit(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    let git = git
        .current_dir(&workspace.root)
        .args(["rev-parse", "--short=12", "HEAD"]);
    shell::output(git).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
