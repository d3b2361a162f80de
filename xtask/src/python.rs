//! The suites in Python: real gRPC clients and servers around gateway and agent, and real protoc and buf
//! around the plugin.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::ci::Tally;
use crate::results::{Outcome, Results, TestResult, python_line};
use crate::shell;
use crate::workspace::Workspace;

/// One script may take this long, including its virtual environment.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Runs `python3 script args...`; its checks are the tests of the suite `name`.
pub(crate) fn run(ws: &Workspace, name: &str, script: &str, args: &[&OsStr]) -> Result<Tally> {
    if !shell::is_there(Command::new("python3").arg("--version")) {
        Results::store_absent(ws, name, "python3")?;
        return Ok(Tally::skipped("python3 is absent"));
    }
    ensure!(ws.root.join(script).exists(), "{script} is missing");
    let mut results = Vec::new();
    let mut command = Command::new("python3");
    command.current_dir(&ws.root).env("PYTHONUNBUFFERED", "1");
    command.arg(script).args(args);
    let mut keep = |check: &str, outcome| {
        results.push(TestResult {
            program: name.to_owned(),
            name: check.to_owned(),
            outcome,
        });
    };
    let mut reported = false;
    let status = shell::watch(&mut command, LIMIT, |line| {
        println!("{line}");
        if let Some((check, outcome)) = python_line(line) {
            reported = true;
            keep(check, outcome);
        }
    });
    let mut trouble = None;
    match status {
        Err(error) => trouble = Some(format!("{error:#}")),
        Ok(status) if !reported => {
            keep(
                name,
                if status.success() {
                    Outcome::Ok
                } else {
                    Outcome::Failed
                },
            );
        }
        Ok(status) if !status.success() => trouble = Some(format!("{script} ended with {status}")),
        Ok(_) => {}
    }
    if results.iter().any(|it| it.outcome == Outcome::Failed) {
        trouble = None; // Explained by the failed check.
    }
    Results::store(ws, name, &results)?;
    let mut tally = Tally::default();
    tally.count(&results, trouble);
    Ok(tally)
}
