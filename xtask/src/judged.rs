//! The conformance suite's verdicts on this project's own implementations, as results that the case ledger reads.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::results::{Outcome, TestResult};

/// Of the results, and before the name of a run in them.
pub(crate) const SUITE: &str = "conformance";

/// What is read of a run's report; `conformance/src/report` writes it.
#[derive(Deserialize)]
struct Report {
    name: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// One result a case: its program is the run, its name the case's id.
pub(crate) fn results(report: &Path) -> Result<Vec<TestResult>> {
    let text = std::fs::read_to_string(report)?;
    parse(&text).with_context(|| format!("cannot read {}", report.display()))
}

fn parse(text: &str) -> serde_json::Result<Vec<TestResult>> {
    let Report { name, rows } = serde_json::from_str(text)?;
    let result = |row: Row| TestResult {
        program: format!("{SUITE}: {name}"),
        name: row.id,
        outcome: match row.verdict {
            Verdict::Passed => Outcome::Ok,
            Verdict::Failed => Outcome::Failed,
            Verdict::Skipped => Outcome::Ignored,
        },
    };
    Ok(rows.into_iter().map(result).collect())
}

#[test]
fn a_report_is_read_case_by_case() {
    let text = r#"{"name": "gateway", "seed": 1, "rows": [
        {"id": "K1", "role": "gateway", "verdict": "passed", "took": {"secs": 0, "nanos": 1}},
        {"id": "K2", "verdict": "failed", "why": "saw <2>"},
        {"id": "K3", "verdict": "skipped", "why": "no setting"}
    ]}"#;
    let read = parse(text).unwrap();
    assert!(read.iter().all(|it| it.program == "conformance: gateway"));
    let read: Vec<_> = read
        .iter()
        .map(|it| (it.name.as_str(), it.outcome))
        .collect();
    let due = [
        ("K1", Outcome::Ok),
        ("K2", Outcome::Failed),
        ("K3", Outcome::Ignored),
    ];
    assert_eq!(read, due);
}
