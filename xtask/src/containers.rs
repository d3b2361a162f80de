//! `cargo xtask containers`: the cases over networks between containers, which need a Docker daemon.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::ci::Tally;
use crate::results::Results;
use crate::shell;
use crate::suite::{self, Build};
use crate::workspace::Workspace;

/// The program of the cases, as results name it.
pub(crate) const PROGRAM: &str = "grpcrouter-conformance/containers";
/// The label of all that its run makes; `daemon.rs` there has the same.
const LABEL: &str = "grpcrouter.containers";
/// Of the results.
const SUITE: &str = "containers";

/// Builds what they need, and runs them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tally = of_conformance(workspace)?;
    ensure!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    if tally.skipped.is_none() {
        println!("{} passed", tally.passed);
    }
    Ok(())
}

/// The same as a part of `cargo xtask conformance`.
pub(crate) fn of_conformance(workspace: &Workspace) -> Result<Tally> {
    // Nothing is built for what is not run.
    if let Some(why) = absent() {
        println!("skipped: the cases between containers ({why})");
        return Ok(Tally::skipped(why));
    }
    step(workspace, &suite::build(workspace)?)
}

/// All of them, as a step of ci: skipped where `docker info` does not answer, failed where it does and one of them
/// did not run.
pub(crate) fn step(workspace: &Workspace, build: &Build) -> Result<Tally> {
    if let Some(why) = absent() {
        println!("  skipped: the cases between containers ({why})");
        Results::store_absent(workspace, SUITE, "a Docker daemon")?;
        return Ok(Tally::skipped(why));
    }
    // With it a test that cannot reach the daemon fails, and its value names all that is made.
    let name = std::process::id().to_string();
    let environment = [("GRPCROUTER_CONTAINERS", name.as_str())];
    let tally = suite::run_program(workspace, build, PROGRAM, SUITE, &environment);
    sweep(&name);
    let mut tally = tally?;
    if tally.passed + tally.failures.len() == 0 {
        tally.failures.push(format!("{PROGRAM}: no test ran"));
    }
    Ok(tally)
}

/// Why no daemon can be used here; none where `docker info` answers.
fn absent() -> Option<&'static str> {
    if !shell::is_there(Command::new("docker").arg("--version")) {
        return Some("docker is absent");
    }
    let answers = shell::is_there(Command::new("docker").arg("info"));
    (!answers).then_some("`docker info` does not answer")
}

/// Removes what a program left behind that was killed because it hung; one that ends by itself leaves nothing.
/// Where that fails the daemon says why.
fn sweep(name: &str) {
    let filter = format!("label={LABEL}={name}");
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["ps", "--all", "--quiet"], &["rm", "--force"]),
        (&["network", "ls", "--quiet"], &["network", "rm"]),
        (&["images", "--quiet"], &["rmi"]),
    ];
    for (list, remove) in kinds {
        let listed = Command::new("docker")
            .args(list)
            .args(["--filter", &filter])
            .output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        let ids = String::from_utf8_lossy(&listed).into_owned();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            println!("  removing what was left behind: {}", ids.join(" "));
            let _ = Command::new("docker").args(remove).args(&ids).status();
        }
    }
}
