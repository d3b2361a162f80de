//! Builds everything once and runs every test program, keeping the result of every test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::ci::Tally;
use crate::containers;
use crate::proves::program;
use crate::results::{Outcome, Results, TestResult, rust_line, rust_summary};
use crate::shell;
use crate::workspace::Workspace;

/// One test program may take this long; the socket suites take minutes, a hang takes for ever.
const LIMIT: Duration = Duration::from_secs(15 * 60);

impl TestProgram {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("CARGO_PKG_NAME", &self.package)
            .env("CARGO_PKG_VERSION", &self.version)
            .env("PROTOC", "/nonexistent")
            .env("INSTA_UPDATE", "no");
        command
    }
}

/// What one build of the workspace made.
pub(crate) struct Build {
    tests: Vec<TestProgram>,
    /// Paths of the binaries and examples, by name.
    pub(crate) binaries: BTreeMap<String, PathBuf>,
}

struct TestProgram {
    name: String,
    path: PathBuf,
    package: String,
    version: String,
    folder: PathBuf,
}

/// Builds all targets of all packages in one go: the features are then the same for tests, demo and
/// scripts, and nothing is compiled twice.
pub(crate) fn build(workspace: &Workspace) -> Result<Build> {
    let text = shell::output(shell::cargo(&workspace.root, &workspace.target)?.args([
        "build",
        "--workspace",
        "--all-targets",
        "--locked",
        "--message-format=json-render-diagnostics",
    ]))?;
    let mut build = Build {
        tests: Vec::new(),
        binaries: BTreeMap::new(),
    };
    for line in text.lines() {
        let Message::CompilerArtifact {
            manifest_path,
            target,
            profile,
            executable,
        } = serde_json::from_str(line).context("cargo's JSON")?
        else {
            continue;
        };
        let Some(path) = executable else { continue };
        let of = |it: &&crate::workspace::Package| Some(it.folder()) == manifest_path.parent();
        let Some(package) = workspace.packages.iter().find(of) else {
            continue;
        };
        if !profile.test {
            if target
                .kind
                .iter()
                .any(|kind| kind == "bin" || kind == "example")
            {
                build.binaries.insert(target.name, path);
            }
        } else if !target.kind.iter().any(|kind| kind == "bench") {
            build.tests.push(TestProgram {
                name: program(package, &target.name, &target.kind),
                path,
                package: package.name.clone(),
                version: package.version.clone(),
                folder: package.folder().to_owned(),
            });
        }
    }
    build.tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(build)
}

/// Runs every test program, as `cargo test` would, each to its end.
///
/// They are started here and not by `cargo test` because cargo announces them on stderr and the
/// tests' own stderr would mix with the lines that are read.
pub(crate) fn run(workspace: &Workspace, build: &Build) -> Result<Tally> {
    let mut all = Vec::new();
    let mut tally = Tally::default();
    // What needs a daemon is a step of its own.
    let here = |test: &&TestProgram| test.name != containers::PROGRAM;
    for test in build.tests.iter().filter(here) {
        println!("  running {}", test.name);
        let (results, trouble) = run_one(&mut test.command(), &test.name);
        tally.count(&results, trouble);
        all.extend(results);
    }
    Results::store(workspace, "tests", &all)?;
    Ok(tally)
}

/// Runs one test program, with more in its environment, and keeps the results as a suite of their own.
pub(crate) fn run_program(
    workspace: &Workspace,
    build: &Build,
    name: &str,
    suite: &str,
    environment: &[(&str, &str)],
) -> Result<Tally> {
    let test = build.tests.iter().find(|test| test.name == name);
    let test = test.with_context(|| format!("the workspace has no test program `{name}`"))?;
    let mut command = test.command();
    command.envs(environment.iter().copied());
    let (results, trouble) = run_one(&mut command, name);
    let mut tally = Tally::default();
    tally.count(&results, trouble);
    Results::store(workspace, suite, &results)?;
    Ok(tally)
}

/// Runs the examples in the documentation.
pub(crate) fn doctests(workspace: &Workspace) -> Result<Tally> {
    let mut command = shell::cargo(&workspace.root, &workspace.target)?;
    command.args(["test", "--doc", "--workspace", "--locked", "--no-fail-fast"]);
    let (results, trouble) = run_one(&mut command, "doc");
    let mut tally = Tally::default();
    tally.count(&results, trouble);
    if tally.passed + tally.failures.len() == 0 {
        tally.passed = 1; // No example anywhere: that the documentation was searched is the check.
    }
    Results::store(workspace, "doc", &results)?;
    Ok(tally)
}

/// Runs one program of tests: its results, and what is wrong beside failed tests.
fn run_one(command: &mut Command, program: &str) -> (Vec<TestResult>, Option<String>) {
    let mut results = Vec::new();
    let mut announced = 0;
    let mut summaries = 0;
    let status = shell::watch(command, LIMIT, |line| {
        println!("{line}");
        if let Some((name, outcome)) = rust_line(line) {
            results.push(TestResult {
                program: program.to_owned(),
                name: name.to_owned(),
                outcome,
            });
        }
        if let Some(counts) = rust_summary(line) {
            summaries += 1;
            announced += counts.iter().sum::<usize>();
        }
    });
    let trouble = match status {
        Err(error) => Some(format!("{error:#}")),
        Ok(status) if summaries == 0 => {
            // Not libtest (harness = false): the program is one test.
            let outcome = if status.success() {
                Outcome::Ok
            } else {
                Outcome::Failed
            };
            if results.is_empty() && program != "doc" {
                let name = program.rsplit('/').next().unwrap_or(program).to_owned();
                results.push(TestResult {
                    program: program.to_owned(),
                    name,
                    outcome,
                });
                None
            } else {
                (!status.success()).then(|| format!("ended early: {status}"))
            }
        }
        Ok(_) if announced != results.len() => Some(format!(
            "says {announced} tests, but {} results were read",
            results.len()
        )),
        Ok(status) => {
            let explained = results.iter().any(|it| it.outcome == Outcome::Failed);
            (!status.success() && !explained).then(|| format!("ended with {status}"))
        }
    };
    (results, trouble.map(|text| format!("{program}: {text}")))
}

/// The part of cargo's messages that is used.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: ArtifactTarget,
        profile: Profile,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> (Vec<TestResult>, Option<String>) {
        run_one(Command::new("sh").args(["-c", text]), "p/t")
    }

    #[test]
    fn reads_a_run() {
        let (results, trouble) = script(
            "echo 'test a ... ok'; echo 'test b ... FAILED'; \
             echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured'; exit 101",
        );
        assert_eq!(results.len(), 2);
        assert_eq!(trouble, None, "the failed test says it all");
    }

    #[test]
    fn a_run_that_breaks_off_is_trouble() {
        let (results, trouble) = script("echo 'test a ... ok'; exit 6");
        assert_eq!(results.len(), 1);
        assert!(trouble.unwrap().contains("ended early"));
    }

    #[test]
    fn a_result_that_was_not_read_is_trouble() {
        let text = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'";
        assert!(script(text).1.unwrap().contains("says 2 tests"));
    }

    #[test]
    fn a_program_without_libtest_is_one_test() {
        let (results, trouble) = script("exit 3");
        assert_eq!(
            (results[0].name.as_str(), results[0].outcome),
            ("t", Outcome::Failed)
        );
        assert_eq!(trouble, None);
    }
}
