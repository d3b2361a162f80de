//! `cargo xtask codegen`: takes generated code as it is now for right; with `--check` only compares.

use anyhow::{Context, Result};

use crate::shell;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail where the generated code is not as its snapshots are
    #[arg(long)]
    check: bool,
}

/// Runs the tests that hold the snapshots.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let tests = || -> Result<_> {
        let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
        cargo
            .args(["test", "--locked", "-p", "grpcrouter-build"])
            .args(["--test", "snapshots", "--test", "errors"]);
        Ok(cargo)
    };
    shell::run(tests()?.arg("--no-run")).context("the generator does not compile")?;
    let mut cargo = tests()?;
    cargo.env("INSTA_UPDATE", if args.check { "no" } else { "always" });
    let done = shell::run(&mut cargo);
    if args.check {
        return done.context(
            "generated code differs from its snapshots: mend it, or run `cargo xtask codegen` and read \
             `git diff -- codegen/tests`",
        );
    }
    done?;
    println!("read `git diff -- codegen/tests` before you commit it");
    Ok(())
}
