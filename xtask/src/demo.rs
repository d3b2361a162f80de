//! `cargo xtask demo`: builds and runs the demo of examples/myservice.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::ci::Tally;
use crate::shell;
use crate::workspace::Workspace;

/// Builds the demo alone, which is faster on a fresh machine than the whole workspace.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    println!("[1/2] building (the first time takes a minute or two)");
    let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
    shell::run(cargo.args([
        "build",
        "-p",
        "grpcrouter-myservice",
        "--bin",
        "demo",
        "--locked",
    ]))?;
    println!("[2/2] running");
    let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
    let demo = [
        "run",
        "--quiet",
        "-p",
        "grpcrouter-myservice",
        "--bin",
        "demo",
        "--locked",
    ];
    shell::run(cargo.args(demo))
}

/// Runs the demo as the workspace's build made it, as a step of ci.
pub(crate) fn step(binary: &Path) -> Result<Tally> {
    let limit = std::time::Duration::from_secs(120);
    let status = shell::watch(&mut Command::new(binary), limit, |line| println!("{line}"))?;
    anyhow::ensure!(status.success(), "the demo ended with {status}");
    Ok(Tally {
        passed: 1,
        ..Tally::default()
    })
}
