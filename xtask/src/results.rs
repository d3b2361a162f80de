//! Results of tests: read from the output of test programs, kept for the case ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// What a test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    Failed,
    Ignored,
}

/// One test that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TestResult {
    /// The program that it is part of: `package` or `package/target`, `doc`, or the name of a script.
    pub(crate) program: String,
    /// Full path of the test in its program: `module::tests::name`.
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

/// The last results, by suite; a suite that runs replaces its own and leaves the others.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) suites: BTreeMap<String, Vec<TestResult>>,
    /// Suites that could not run because this machine lacks what they need, and what that is.
    pub(crate) absent: BTreeMap<String, String>,
}

impl Results {
    /// Those of the last run; empty when there was none.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self> {
        let path = path(workspace);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path)?;
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Forgets every result, so that none from an earlier run can stand for one that did not run.
    pub(crate) fn clear(workspace: &Workspace) -> Result<()> {
        Self::default().save(workspace)
    }

    /// Replaces the results of one suite.
    pub(crate) fn store(workspace: &Workspace, suite: &str, results: &[TestResult]) -> Result<()> {
        let mut all = Self::load(workspace)?;
        all.absent.remove(suite);
        all.suites.insert(suite.to_owned(), results.to_vec());
        all.save(workspace)
    }

    /// Notes that a suite cannot run on this machine.
    pub(crate) fn store_absent(workspace: &Workspace, suite: &str, needs: &str) -> Result<()> {
        let mut all = Self::load(workspace)?;
        all.suites.remove(suite);
        all.absent.insert(suite.to_owned(), needs.to_owned());
        all.save(workspace)
    }

    fn save(&self, workspace: &Workspace) -> Result<()> {
        let path = path(workspace);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
        std::fs::write(path, serde_json::to_string_pretty(self)?)?;
        Ok(())
    }
}

/// Reads a line that libtest prints: `test a::b ... ok`.
pub(crate) fn rust_line(line: &str) -> Option<(&str, Outcome)> {
    let (name, rest) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match rest.split([',', ' ']).next()? {
        "ok" => Outcome::Ok,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    let name = [" - should panic", " - compile fail", " - compile"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    Some((name, outcome))
}

/// Reads libtest's closing line: how many it says passed, failed and were ignored.
pub(crate) fn rust_summary(line: &str) -> Option<[usize; 3]> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |word: &str| {
        let before = rest.split(word).next()?;
        before.trim_end().rsplit(' ').next()?.parse().ok()
    };
    Some([count(" passed;")?, count(" failed;")?, count(" ignored;")?])
}

/// Reads a line of a Python suite: `ok   name` or `FAIL name`, with anything after the name.
pub(crate) fn python_line(line: &str) -> Option<(&str, Outcome)> {
    let (word, rest) = line.split_once(' ')?;
    let outcome = match word {
        "ok" => Outcome::Ok,
        "FAIL" => Outcome::Failed,
        _ => return None,
    };
    let name = rest.split_whitespace().next()?.trim_end_matches(':');
    Some((name, outcome))
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.target.join("xtask/tests.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_libtest() {
        assert_eq!(rust_line("test a::b ... ok"), Some(("a::b", Outcome::Ok)));
        assert_eq!(
            rust_line("test a::b ... FAILED"),
            Some(("a::b", Outcome::Failed))
        );
        assert_eq!(
            rust_line("test a ... ignored, slow"),
            Some(("a", Outcome::Ignored))
        );
        assert_eq!(
            rust_line("test a - should panic ... ok"),
            Some(("a", Outcome::Ok))
        );
        let doc = "test router/src/lib.rs - Gateway::bind (line 3) - compile ... ok";
        assert_eq!(
            rust_line(doc),
            Some(("router/src/lib.rs - Gateway::bind (line 3)", Outcome::Ok))
        );
        assert_eq!(
            rust_line("test a has been running for over 60 seconds"),
            None
        );
        assert_eq!(rust_line("testing a ... ok"), None);
    }

    #[test]
    fn reads_the_closing_line_of_libtest() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(rust_summary(line), Some([12, 3, 1]));
        assert_eq!(rust_summary("test a ... ok"), None);
    }

    #[test]
    fn reads_the_lines_of_a_python_suite() {
        assert_eq!(python_line("ok   unary"), Some(("unary", Outcome::Ok)));
        assert_eq!(
            python_line("FAIL bidi: no answer"),
            Some(("bidi", Outcome::Failed))
        );
        assert_eq!(python_line("okay then"), None);
        assert_eq!(python_line("ok"), None);
    }
}
