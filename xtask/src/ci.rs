//! `cargo xtask ci`: everything that must hold before a change lands, step by step.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::results::{Outcome, Results, TestResult};
use crate::suite::Build;
use crate::workspace::Workspace;
use crate::{
    cases, conformance, containers, demo, lockfile, purity, python, shell, sim, suite, tidy,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps (repeatable); refused where CI=true
    #[arg(long, value_name = "STEP", conflicts_with = "skip")]
    only: Vec<String>,
    /// All but these steps (repeatable); refused where CI=true
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
}

/// What a step, or all of them, came to.
#[derive(Default)]
pub(crate) struct Tally {
    /// Tests that passed; a step without tests counts as one.
    pub(crate) passed: usize,
    /// One line for each that failed.
    pub(crate) failures: Vec<String>,
    /// Why the step did not run, where it lacks something that this machine truly has not.
    pub(crate) skipped: Option<String>,
}

impl Tally {
    pub(crate) fn skipped(why: &str) -> Self {
        Self {
            skipped: Some(why.to_owned()),
            ..Self::default()
        }
    }

    /// Counts the step itself as passed if nothing failed.
    pub(crate) fn pass_if_clean(&mut self) {
        self.passed += usize::from(self.failures.is_empty());
    }

    /// Adds the results of a program of tests, and what is wrong with the program itself.
    pub(crate) fn count(&mut self, results: &[TestResult], trouble: Option<String>) {
        for result in results {
            match result.outcome {
                Outcome::Ok => self.passed += 1,
                Outcome::Failed => {
                    self.failures
                        .push(format!("{} {}", result.program, result.name));
                }
                Outcome::Ignored => {}
            }
        }
        self.failures.extend(trouble);
    }
}

type Step = (&'static str, fn(&Ci<'_>) -> Result<Tally>);

/// Cheap checks first, then what compiles, then what runs; the ledger last, since it judges results.
const STEPS: &[Step] = &[
    ("fmt", |ci| ci.cargo(&["fmt", "--all", "--check"], &[])),
    ("tidy", |ci| tidy::check(ci.workspace)),
    ("core-purity", |ci| purity::run(ci.workspace)),
    ("deny", |ci| lockfile::run(ci.workspace)),
    ("clippy", |ci| {
        let flags = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        ci.cargo(&flags, &[])
    }),
    ("tests", |ci| suite::run(ci.workspace, ci.build()?)),
    ("doctests", |ci| suite::doctests(ci.workspace)),
    ("docs", |ci| {
        let flags = ["doc", "--workspace", "--no-deps", "--locked"];
        ci.cargo(&flags, &[("RUSTDOCFLAGS", "-D warnings")])
    }),
    ("grpcio", grpcio),
    ("plugins", plugins),
    ("demo", |ci| demo::step(ci.binary("demo")?)),
    ("sim", |ci| sim::step(ci.workspace)),
    ("conformance", |ci| {
        let programs = conformance::Programs {
            suite: ci.binary("grpcrouter-conformance")?,
            subject: ci.binary("grpcrouter-subject")?,
        };
        conformance::step(ci.workspace, &programs)
    }),
    ("containers", |ci| {
        containers::step(ci.workspace, ci.build()?)
    }),
    ("cases", |ci| cases::check(ci.workspace)),
];

/// Runs the steps, all of them even after one has failed, and sums up.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let steps = chosen(args, is_ci)?;
    if steps.len() == STEPS.len() {
        Results::clear(workspace)?;
    }
    let ci = Ci {
        workspace,
        build: OnceCell::new(),
    };
    let mut passed = 0;
    let mut failed = 0;
    let mut summary = Vec::new();
    for (index, (name, step)) in steps.iter().enumerate() {
        println!("[{}/{}] {name} ...", index + 1, steps.len());
        let start = shell::now();
        let tally = step(&ci).unwrap_or_else(|error| Tally {
            failures: vec![format!("{error:#}")],
            ..Tally::default()
        });
        let seconds = start.elapsed().as_secs_f64();
        let word = match (&tally.skipped, tally.failures.len()) {
            (Some(why), 0) => format!("skipped: {why}"),
            (_, 0) => "ok".to_owned(),
            (_, failures) => format!("FAILED ({failures})"),
        };
        println!(
            "[{}/{}] {name} {word} in {seconds:.1} s",
            index + 1,
            steps.len()
        );
        summary.push(format!("{name:<12} {seconds:>6.1} s  {word}"));
        for failure in &tally.failures {
            summary.push(format!("    {failure}"));
        }
        passed += tally.passed;
        failed += tally.failures.len();
    }
    println!("\nsummary\n{}", summary.join("\n"));
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        // The closing line is the last word; an error returned from main would be printed after it.
        std::process::exit(1);
    }
    Ok(())
}

fn chosen(args: &Args, is_ci: bool) -> Result<Vec<&'static Step>> {
    let named = args.only.iter().chain(&args.skip);
    if is_ci && named.clone().next().is_some() {
        bail!("--only and --skip are for local use: here every step runs (CI=true)");
    }
    for name in named {
        if !STEPS.iter().any(|step| step.0 == name) {
            let names: Vec<_> = STEPS.iter().map(|step| step.0).collect();
            bail!("no step `{name}`; steps are {}", names.join(", "));
        }
    }
    let is_chosen = |step: &&Step| {
        let is = |name: &String| name == step.0;
        (args.only.is_empty() || args.only.iter().any(is)) && !args.skip.iter().any(is)
    };
    Ok(STEPS.iter().filter(is_chosen).collect())
}

/// What the steps share: the workspace, and one build of it.
struct Ci<'a> {
    workspace: &'a Workspace,
    build: OnceCell<Result<Build, String>>,
}

impl Ci<'_> {
    /// A cargo command as a step of its own.
    fn cargo(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Tally> {
        let mut command = shell::cargo(&self.workspace.root, &self.workspace.target)?;
        shell::run(command.args(args).envs(env.iter().copied()))?;
        Ok(Tally {
            passed: 1,
            ..Tally::default()
        })
    }

    /// The workspace, built by the first step that needs it.
    fn build(&self) -> Result<&Build> {
        let build = self.build.get_or_init(|| {
            suite::build(self.workspace).map_err(|error| format!("no build: {error:#}"))
        });
        build.as_ref().map_err(|text| anyhow!(text.clone()))
    }

    fn binary(&self, name: &str) -> Result<&Path> {
        let found = self.build()?.binaries.get(name);
        Ok(found.with_context(|| format!("the workspace has no binary `{name}`"))?)
    }
}

/// Real gRPC clients and servers, with their load while the agent is killed again and again: the same
/// environment serves both.
fn grpcio(ci: &Ci<'_>) -> Result<Tally> {
    let binary = ci.binary("grpcrouter")?.as_os_str();
    let args = ["--grpcrouter".as_ref(), binary, "--churn".as_ref()];
    python::run(ci.workspace, "grpcio", "examples/grpcio/run.py", &args)
}

/// Real protoc and buf run the plugin, and the library writes the same.
fn plugins(ci: &Ci<'_>) -> Result<Tally> {
    let plugin = ci.binary("protoc-gen-grpcrouter")?.as_os_str();
    let generate = ci.binary("generate")?.as_os_str();
    let args = ["--plugin".as_ref(), plugin, "--generate".as_ref(), generate];
    python::run(ci.workspace, "plugins", "codegen/tests/plugins.py", &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chosen_by_name() {
        let names = |only: &[&str], skip: &[&str], is_ci| {
            let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            let args = Args {
                only: own(only),
                skip: own(skip),
            };
            chosen(&args, is_ci).map(|steps| steps.iter().map(|step| step.0).collect::<Vec<_>>())
        };
        assert_eq!(names(&[], &[], true).unwrap().len(), STEPS.len());
        assert_eq!(
            names(&["docs", "fmt"], &[], false).unwrap(),
            ["fmt", "docs"]
        );
        assert_eq!(names(&[], &["fmt"], false).unwrap().len(), STEPS.len() - 1);
        assert!(names(&["format"], &[], false).is_err(), "no such step");
        assert!(
            names(&["fmt"], &[], true).is_err(),
            "a part of ci is not ci"
        );
    }
}
